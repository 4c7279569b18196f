//! The thread that owns the database.

use std::sync::mpsc;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{Change, Lasting};

/// Changes that belong together and where to say how they fared.
pub(super) struct Batch {
    pub changes: Vec<Change>,
    pub lasting: Lasting,
    pub done: oneshot::Sender<Result<(), String>>,
}

/// Commits what arrives until every sender is gone.
pub(super) fn run(mut connection: Connection, waiting: &mpsc::Receiver<Batch>) {
    while let Ok(first) = waiting.recv() {
        let batches: Vec<Batch> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let outcome = commit(&mut connection, &batches);
        // One batch that cannot be written, for its size say, must not take its neighbours down.
        if outcome.is_err() && batches.len() > 1 {
            for batch in batches {
                let alone = commit(&mut connection, std::slice::from_ref(&batch));
                answer(batch, alone);
            }
        } else {
            for batch in batches {
                answer(batch, outcome.clone());
            }
        }
    }
}

fn answer(batch: Batch, outcome: Result<(), String>) {
    // The request may have met its deadline; what it promised stands in the journal all the same.
    let _ = batch.done.send(outcome);
}

fn commit(connection: &mut Connection, batches: &[Batch]) -> Result<(), String> {
    let lasting = batches.iter().any(|batch| batch.lasting == Lasting::PowerLoss);
    let mut write = || -> rusqlite::Result<()> {
        connection.execute_batch(if lasting { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
        let transaction = connection.transaction()?;
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            match &change.body {
                Some(body) => transaction
                    .prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body")?
                    .execute(params![change.kind, change.id, body])?,
                None => transaction
                    .prepare_cached("DELETE FROM record WHERE kind = ?1 AND id = ?2")?
                    .execute(params![change.kind, change.id])?,
            };
        }
        transaction.commit()
    };
    write().map_err(|error| error.to_string())
}
