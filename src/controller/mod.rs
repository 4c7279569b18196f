//! The embedded Keystone and Neutron for one machine, and its datapath.
//!
//! `docs/controller.md` is the contract: which fields each resource takes and what happens to the others.

pub mod agents;
pub mod alloc;
pub mod attributes;
pub mod context;
mod credentials;
pub mod datapath;
pub mod error;
pub mod extension;
pub mod first_networks;
mod first_start;
pub mod floatingips;
pub mod groups;
pub mod keystone;
pub mod login;
pub mod networks;
pub mod neutron;
pub mod ports;
pub mod protocol;
pub mod query;
pub mod quota;
pub mod resource;
pub mod routers;
pub mod rule;
pub mod secrets;
pub mod security_group_rules;
pub mod security_groups;
pub mod store;
pub mod subnetpools;
pub mod subnets;
pub mod tag;
pub mod tagging;
pub mod tokens;
pub mod wiring;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use ipnet::Ipv4Net;
use tokio::{net::TcpListener, sync::watch};

use self::store::Store;
pub use self::{
    credentials::Credentials,
    error::{ApiError, Error},
};

/// How a controller is set up.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// The directory of `controller.db` and the password files.
    pub state_dir: PathBuf,
    /// The address that the catalog names.
    pub listen: SocketAddr,
    /// This machine's name, as in `binding:host_id`.
    pub host: String,
    /// The range of the external network `kuryr` that is made at first start.
    pub external_cidr: Ipv4Net,
}

/// The controller: its store and its API.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    store: Store,
    calls: Mutex<BTreeMap<(String, String), u64>>,
    /// In seconds since 1970.
    started: i64,
}

impl Controller {
    /// Opens the state directory, making what is missing.
    pub fn open(settings: ControllerSettings) -> Result<Arc<Self>, Error> {
        let refused = |source| Error::State { action: "create", path: settings.state_dir.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.state_dir).map_err(refused)?;
        let store = Store::open(&settings.state_dir.join("controller.db"))?;
        first_start::identities(&store, &settings.state_dir)?;
        first_networks::make(&store, &settings.host, settings.external_cidr)?;
        Ok(Arc::new(Self { settings, store, calls: Mutex::default(), started: context::seconds() }))
    }

    /// The whole API.
    pub fn router(self: &Arc<Self>) -> Router {
        neutron::router(Arc::clone(self))
    }

    /// Serves until `shutdown` is done and the last answers are out.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        axum::serve(listener, self.router()).with_graceful_shutdown(shutdown).await.map_err(Error::Listen)
    }

    /// The store, for the datapath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How the controller is set up.
    pub fn settings(&self) -> &ControllerSettings {
        &self.settings
    }

    /// What the daemon in the same process logs in with.
    pub fn service_credentials(&self) -> Result<Credentials, Error> {
        self.settings.credentials("kuryr", first_start::SERVICE_PASSWORD)
    }

    /// Changes whenever a committed write may concern the datapath.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }

    /// How many requests came in since the last reset, by method and collection.
    pub fn calls(&self) -> BTreeMap<(String, String), u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the count of [`Self::calls`] anew.
    pub fn reset_calls(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn count(&self, method: &str, collection: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry((method.to_owned(), collection.to_owned())).or_default() += 1;
    }
}
