//! The controller's durable state: one SQLite file, one connection, one transaction per request.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter, types::Value as Sql};
use rusqlite_migration::{M, Migrations};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    error::{ApiError, Error},
    groups, quota,
};

/// An object of the API as it is stored and answered.
pub type Object = Map<String, Value>;

/// The database behind a lock; clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens or makes the file and brings its tables up to date.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |message: String| Error::Database { path: path.to_owned(), message };
        // It holds tokens: SQLite gives its further files the mode of the first. One that is there is not opened here, since closing it again
        // would end the locks that a connection of this process may hold.
        if let Err(error) = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(refused(error.to_string()));
        }
        let mut connection = Connection::open(path).map_err(|error| refused(error.to_string()))?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
            .map_err(|error| refused(error.to_string()))?;
        let steps = Migrations::new(vec![
            M::up(include_str!("migrations/0001.sql")),
            M::up(groups::MIGRATION),
            M::up(quota::usage::MIGRATION),
            M::up(include_str!("migrations/0004.sql")),
        ]);
        steps.to_latest(&mut connection).map_err(|error| refused(error.to_string()))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), changed: Arc::new(watch::Sender::new(0)) })
    }

    /// Runs `work` in one transaction on a blocking thread; an error rolls everything back.
    pub async fn transaction<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, ApiError> + Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.transact(work)).await.map_err(ApiError::internal)?
    }

    /// The same on the calling thread, which must be one that may block.
    pub fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
        // A panic inside a transaction rolled it back when it was dropped: the connection is still sound.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// A receiver that sees every committed change which concerns the datapath.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether anyone waits for changes: the datapath does as long as it runs.
    pub fn is_watched(&self) -> bool {
        self.changed.receiver_count() > 0
    }

    /// Wakes the datapath.
    pub fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Sets the status of ports, for the datapath; ports that are gone are passed over. Blocks.
    pub fn set_port_status(&self, ids: &[String], status: &str) -> Result<(), ApiError> {
        self.transact(|tx| {
            for id in ids {
                tx.execute("UPDATE ports SET document = json_set(document, '$.status', ?2) WHERE id = ?1", (id, status))?;
            }
            Ok(())
        })
    }
}

/// Where a table's row takes its columns from: their names are those of the document's fields.
fn column(object: &Object, name: &str) -> Sql {
    match object.get(name) {
        Some(Value::String(text)) => Sql::Text(text.clone()),
        Some(Value::Bool(flag)) => Sql::Integer(i64::from(*flag)),
        Some(Value::Number(number)) => number.as_i64().map_or(Sql::Null, Sql::Integer),
        _ => Sql::Null,
    }
}

/// Adds an object; a broken UNIQUE or FOREIGN KEY is the caller's to name.
pub fn insert(tx: &Transaction<'_>, table: &str, columns: &[&str], object: &Object) -> rusqlite::Result<()> {
    let marks = vec!["?"; columns.len() + 1].join(", ");
    let sql = format!("INSERT INTO {table} ({}, document) VALUES ({marks})", columns.join(", "));
    let document = Sql::Text(Value::Object(object.clone()).to_string());
    let values = columns.iter().map(|name| column(object, name)).chain([document]);
    tx.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
}

/// Writes an object over the one with its id.
pub fn replace(tx: &Transaction<'_>, table: &str, columns: &[&str], object: &Object) -> rusqlite::Result<()> {
    let sets: Vec<String> = columns.iter().map(|name| format!("{name} = ?")).collect();
    let sql = format!("UPDATE {table} SET {}, document = ? WHERE id = ?", sets.join(", "));
    let document = Sql::Text(Value::Object(object.clone()).to_string());
    let values = columns.iter().map(|name| column(object, name)).chain([document, column(object, "id")]);
    tx.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
}

/// Removes an object; one that is gone already is no error.
pub fn remove(tx: &Transaction<'_>, table: &str, id: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?"))?.execute([id]).map(drop)
}

/// One object by its id.
pub fn find(tx: &Transaction<'_>, table: &str, id: &str) -> Result<Option<Object>, ApiError> {
    let mut query = tx.prepare_cached(&format!("SELECT document FROM {table} WHERE id = ?"))?;
    let text: Option<String> = query.query_row([id], |row| row.get(0)).optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// All objects of a table, or those whose column has the value, in the order of their creation.
pub fn select(tx: &Transaction<'_>, table: &str, filter: Option<(&str, &str)>) -> Result<Vec<Object>, ApiError> {
    let condition = filter.map(|(name, _)| format!(" WHERE {name} = ?")).unwrap_or_default();
    let mut query = tx.prepare_cached(&format!("SELECT document FROM {table}{condition} ORDER BY rowid"))?;
    let mut rows = query.query(params_from_iter(filter.map(|(_, value)| value)))?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        objects.push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(ApiError::internal)?)?);
    }
    Ok(objects)
}

/// Whether the error is a broken UNIQUE or FOREIGN KEY constraint.
pub fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
