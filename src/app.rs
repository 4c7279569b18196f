//! The only place where parts meet: configuration, cloud session, core, listeners, drain.

mod cloud;
mod listeners;
mod monitoring;
mod spec;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    binding,
    config::{self, Config},
    controller::{
        self, Controller, ControllerSettings,
        datapath::{self, Datapath},
    },
    core::{self, Core},
    http::{listen, tls},
    journal::{self, Journal},
    libnetwork::{self, Edge},
    metrics::Metrics,
    netlink::{self, MissingCapability},
    openstack::{self, CloudSettings, Neutron},
};

pub use cloud::cloud_settings;
pub use spec::Error as SpecError;

/// The network to the outside that the embedded controller makes at first start.
const EMBEDDED_EXTERNAL_NETWORK: &str = "kuryr";
/// An engine's call is shorter than this.
const DRAIN: Duration = Duration::from_secs(25);
/// A systemd unit kills after 90 s.
const LONGEST_END: Duration = Duration::from_secs(60);

/// Why the daemon does not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not do its work.
    #[error(transparent)]
    Capability(#[from] MissingCapability),
    /// The cloud's settings make no client.
    #[error(transparent)]
    Cloud(#[from] openstack::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The host in `kuryr_uri` has no address.
    #[error(
        "[DEFAULT] kuryr_uri is '{uri}', whose host has no address: {source}; write an address of this machine such as http://127.0.0.1:23750"
    )]
    Uri {
        /// The option's value.
        uri: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// `kuryr_uri` promises TLS, which is not set up.
    #[error("[DEFAULT] kuryr_uri is '{0}', but enable_ssl is not set; set it, with ssl_cert_file and ssl_key_file, or write http://")]
    UriWithoutTls(String),
    /// TLS cannot be served.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The machine's own interface cannot be looked up.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The machine has no such interface.
    #[error(
        "{origin}: [binding] link_iface = {name}: this machine has no such interface, or one without a MAC; name the interface whose Neutron \
         port carries the containers"
    )]
    LinkIface {
        /// Where the option stands.
        origin: config::Origin,
        /// Its value.
        name: String,
    },
    /// A file that the configuration names cannot be read.
    #[error(
        "{}: [{}] {} = {}: cannot read it: {source}; name a PEM file that is there and that kuryr may read",
        file.origin, file.group, file.option, file.path.display()
    )]
    File {
        /// What names it.
        file: Box<config::NamedFile>,
        /// What the system said.
        source: io::Error,
    },
    /// The engine cannot be told of the address.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The embedded controller does not start.
    #[error(transparent)]
    Controller(#[from] controller::Error),
    /// The embedded datapath does not start.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Runs the daemon until SIGTERM or SIGINT; then finishes the calls and tasks that run. With `embedded` the cloud is the controller in this
/// process, which ends after the last of them.
pub async fn serve(mut config: Config, embedded: Option<ControllerSettings>) -> Result<(), Error> {
    netlink::check_capability(netlink::Capability::NetAdmin)?;
    if let Some(config::LinkIface { name, origin }) = missing_link_iface(&config.port_drivers)? {
        return Err(Error::LinkIface { origin: origin.clone(), name: name.clone() });
    }
    if let Some((file, source)) = unreadable(&config.files) {
        return Err(Error::File { file: Box::new(file.clone()), source });
    }
    // First of all, since its lock keeps a second daemon away from everything that follows.
    let (journal, records) = Journal::open(&config.state_path)?;
    let (cloud, datapath) = match embedded {
        Some(settings) => {
            config.external_network.get_or_insert_with(|| EMBEDDED_EXTERNAL_NETWORK.to_owned());
            let (cloud, datapath) = embed(settings).await?;
            (cloud, Some(datapath))
        }
        None => (cloud_settings(&config, std::env::vars_os())?, None),
    };
    // Reads all certificates of the system, while the datapath starts.
    let neutron = Neutron::new(within_a_call(cloud, config.request_timeout))?;
    // The datapath follows the controller until it is dropped; what it has built then stands. No container may start before it guards them.
    let _datapath = match datapath {
        Some(starting) => Some(starting.await.map_err(|source| Error::System { what: "start the datapath", source: source.into() })??),
        None => None,
    };
    let requests = neutron.requests().clone();
    let core = Arc::new(Core::new(core_settings(&config), neutron, journal, records));
    let metrics = Arc::new(Metrics::new().with(&requests, core.findings()));
    let edge = Edge::new(core.clone(), edge_settings(&config), metrics.clone());
    // The engine's plugin file goes when this does.
    let listeners::Listeners { all: listeners, tls, spec: _spec } = listeners::open(&config).await?;
    let unheard = |source| Error::System { what: "listen for signals", source };
    let ended = await_signal().map_err(unheard)?;
    let hang_up = signal(SignalKind::hangup()).map_err(unheard)?;
    let monitors = monitoring::open(&config.metrics_listen).await?;
    let (stop, stopped) = watch::channel(false);
    let (finish, finished) = watch::channel(false);
    let backlog = tokio::spawn(core.clone().run_backlog(finished));
    let mut work = JoinSet::new();
    work.spawn(core.clone().run_port_pool(stopped.clone()));
    work.spawn(core.clone().run_collector(stopped.clone()));
    work.spawn(reload(hang_up, tls, stopped.clone()));
    for listener in listeners {
        let (router, stopped) = (edge.router(), stopped.clone());
        work.spawn(async move {
            if !listener.serve(router, stopped, DRAIN).await {
                tracing::warn!("some calls of the engine were cut off");
            }
        });
    }
    let monitored = monitoring::Monitored { metrics, core: core.clone(), requests };
    for listener in monitors {
        let (router, stopped) = (monitoring::router(monitored.clone(), &listener), stopped.clone());
        work.spawn(async move {
            listener.serve(router, stopped, DRAIN).await;
        });
    }
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(socket = %config.socket.display(), "ready");
    ended.await;
    tracing::info!("stopping: finishing what runs");
    stop.send_replace(true);
    let rest = async {
        while work.join_next().await.is_some() {}
        edge.idle().await;
        // Only now, since calls make promises up to their end.
        finish.send_replace(true);
        let _ = backlog.await;
    };
    if tokio::time::timeout(LONGEST_END, rest).await.is_err() {
        tracing::warn!("ending with work half done; the journal knows it and the next start finishes it");
    }
    Ok(())
}

/// The interface on which those of nested containers are to be made, if the machine has none of that name.
fn missing_link_iface(drivers: &config::PortDrivers) -> Result<Option<&config::LinkIface>, netlink::Error> {
    match drivers.link_iface.as_ref().filter(|_| drivers.normal != config::PortDriver::Veth) {
        Some(link) if binding::link_iface(&link.name)?.is_none() => Ok(Some(link)),
        _ => Ok(None),
    }
}

/// The first of the files that kuryr may not read; what is in them is looked at by whoever needs it.
fn unreadable(files: &[config::NamedFile]) -> Option<(&config::NamedFile, io::Error)> {
    files.iter().find_map(|file| Some((file, std::fs::read(&file.path).err()?)))
}

/// The cloud with a limit for each request that lets the engine hear what the cloud did before the deadline of its call passes.
fn within_a_call(cloud: CloudSettings, call: Duration) -> CloudSettings {
    CloudSettings { timeout: cloud.timeout.min(call * 9 / 10), ..cloud }
}

/// Starts the controller in this process and says how to reach it, while its datapath is still starting. It runs until the process ends: the last
/// task of the backlog needs it.
async fn embed(settings: ControllerSettings) -> Result<(CloudSettings, JoinHandle<Result<Datapath, datapath::Error>>), Error> {
    netlink::check_capability(netlink::Capability::SysAdmin)?;
    let address = settings.listen;
    let controller = Controller::open(settings)?;
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| Error::System { what: "listen for the embedded controller", source })?;
    let credentials = controller.service_credentials()?;
    let starting = controller.clone();
    let datapath = tokio::task::spawn_blocking(move || starting.start_datapath());
    tokio::spawn(async move {
        if let Err(error) = controller.serve(listener, std::future::pending()).await {
            tracing::error!("the embedded controller has ended: {error}");
        }
    });
    let cloud = CloudSettings::from_options(&credentials.options())?;
    Ok((cloud, datapath))
}

/// Reads the certificates again at every SIGHUP, until `stop` turns true.
async fn reload(mut hang_up: Signal, tls: Option<Arc<tls::ServerTls>>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = hang_up.recv() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        match tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("the certificates were read again; new connections use them"),
            Some(Err(error)) => tracing::error!("{error}; the certificates read before stay in use"),
            None => tracing::info!("SIGHUP reads certificates again, and there are none without enable_ssl"),
        }
    }
}

/// Takes SIGTERM and SIGINT over from now on; what it returns ends at the first of them.
pub fn await_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn edge_settings(config: &Config) -> libnetwork::Settings {
    libnetwork::Settings {
        scope: config.capability_scope.clone(),
        address_space: config.local_default_address_space.clone(),
        global_space: config.global_default_address_space.clone(),
        requires_mac: config.ports_by_mac,
        request_timeout: config.request_timeout,
    }
}

fn core_settings(config: &Config) -> core::Settings {
    core::Settings {
        host: config.host.clone(),
        subnetpool_name_prefix: config.subnetpool_name_prefix.clone(),
        default_subnetpool_v4: config.neutron.default_subnetpool_v4.clone(),
        default_subnetpool_v6: config.neutron.default_subnetpool_v6.clone(),
        enable_dhcp: config.neutron.enable_dhcp,
        veth_dst_prefix: config.veth_dst_prefix.clone(),
        binding: binding::Settings {
            ovsdb_socket: config.ovsdb_socket.clone(),
            ovs_bridge: config.ovs_bridge.clone(),
            bindir: config.bindir.clone(),
            ..binding::Settings::default()
        },
        port_driver: config.port_drivers.normal,
        sriov: config.port_drivers.sriov,
        link_iface: config.port_drivers.link_iface.as_ref().map(|link| link.name.clone()).unwrap_or_default(),
        process_external_connectivity: config.process_external_connectivity,
        external_network: config.external_network.clone(),
        vif_plugging_is_fatal: config.neutron.vif_plugging_is_fatal,
        vif_plugging_timeout: plugging_timeout(config),
        port_pool: pool_settings(config.port_pool),
    }
}

fn pool_settings(port_pool: config::PortPool) -> core::PoolSettings {
    let config::PortPool { enabled, min, max, batch, idle_time, share } = port_pool;
    core::PoolSettings { enabled, min, max, batch, idle_time, share, ..core::PoolSettings::default() }
}

/// How long a start waits for its port: as configured, but so that the engine hears of the port before the deadline of its call passes.
fn plugging_timeout(config: &Config) -> Duration {
    let most = config.request_timeout * 9 / 10;
    config.neutron.vif_plugging_timeout.map_or(most, |wanted| wanted.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_start_never_waits_for_its_port_longer_than_the_engine_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kuryr.conf");
        let waits = |text: &str| {
            std::fs::write(&file, text).unwrap();
            plugging_timeout(&Config::load(&Sources::new(vec![file.clone()], Vec::new(), [])).unwrap())
        };
        let seconds = Duration::from_secs;
        assert_eq!(waits("[neutron]\nvif_plugging_timeout = 5\n"), seconds(5));
        // Endless for the Python.
        assert_eq!(waits("[neutron]\nvif_plugging_timeout = 0\n"), seconds(18));
        assert_eq!(waits(""), seconds(18));
        assert_eq!(waits("[neutron]\nvif_plugging_timeout = 300\n[kuryr]\nrequest_timeout = 100\n"), seconds(90));
    }
}
