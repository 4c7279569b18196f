//! The configuration in effect, as the program reads it.

use std::{path::PathBuf, time::Duration};

use super::{Origin, PortDrivers};

/// The configuration in effect.
#[derive(Debug, Clone)]
pub struct Config {
    /// `binding:host_id` of our ports.
    pub host: String,
    /// Where to listen on TCP, if at all.
    pub kuryr_uri: Option<String>,
    /// `local` or `global`.
    pub capability_scope: String,
    /// Default address space of local networks.
    pub local_default_address_space: String,
    /// Default address space of global networks.
    pub global_default_address_space: String,
    /// What makes the interfaces of ports.
    pub port_drivers: PortDrivers,
    /// Whether exposed ports get a security group.
    pub process_external_connectivity: bool,
    /// The TLS listener when `enable_ssl` is set.
    pub ssl: Option<Ssl>,
    /// The file that tells the engine of the TCP address, if one is wanted.
    pub spec: Option<Spec>,
    /// Directory of binding scripts.
    pub bindir: PathBuf,
    /// Prefix of the names of subnet pools.
    pub subnetpool_name_prefix: String,
    /// Logging.
    pub log: Log,
    /// Directory of the journal.
    pub state_path: PathBuf,
    /// Unix socket of the plugin.
    pub socket: PathBuf,
    /// External network, by name or id, to which every Docker network that is not internal gets a router.
    pub external_network: Option<String>,
    /// Where Open vSwitch's database listens.
    pub ovsdb_socket: PathBuf,
    /// Open vSwitch's integration bridge, where Neutron does not name it.
    pub ovs_bridge: String,
    /// Paths and addresses where operators' tools are answered.
    pub metrics_listen: Vec<String>,
    /// Whether the engine is to say the MAC with each address it asks for.
    pub ports_by_mac: bool,
    /// How long a call of the engine may take.
    pub request_timeout: Duration,
    /// `[port_pool]`.
    pub port_pool: PortPool,
    /// What `[neutron]` says besides authentication.
    pub neutron: Neutron,
    /// How to authenticate.
    pub auth: Auth,
    /// Prefix of interface names in the container.
    pub veth_dst_prefix: String,
    /// The files that kuryr is to read, of those options that are set and in effect.
    pub files: Vec<NamedFile>,
    /// What the operator should know but what does not stop the start.
    pub warnings: Vec<String>,
}

/// A file that an option names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The option's section.
    pub group: &'static str,
    /// The option.
    pub option: &'static str,
    /// Where the configuration has it from.
    pub origin: Origin,
    /// The file.
    pub path: PathBuf,
}

/// The files of the TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssl {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates a client must have, if it must have one.
    pub client_ca: Option<PathBuf>,
}

/// The file in which the engine finds the plugin's TCP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its path, which ends in `.spec` or `.json`.
    pub file: PathBuf,
    /// `CAFile` in it.
    pub ca: Option<PathBuf>,
    /// `CertFile` in it.
    pub certificate: Option<PathBuf>,
    /// `KeyFile` in it.
    pub key: Option<PathBuf>,
}

/// Logging options that have an effect.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Log debug messages.
    pub debug: bool,
    /// The file to append to, `log_dir` applied.
    pub file: Option<PathBuf>,
    /// Log to stderr too when there is a file.
    pub stderr: bool,
    /// Write JSON.
    pub json: bool,
    /// The facility under which to log to the system log too, such as `LOG_USER`.
    pub syslog: Option<String>,
    /// The facility under which to log to systemd's journal.
    pub journal: Option<String>,
    /// `target=LEVEL` items.
    pub levels: Vec<String>,
}

/// `[neutron]` without authentication.
#[derive(Debug, Clone)]
pub struct Neutron {
    /// `enable_dhcp` of new subnets.
    pub enable_dhcp: bool,
    /// Name of the default IPv4 subnet pool.
    pub default_subnetpool_v4: String,
    /// Name of the default IPv6 subnet pool.
    pub default_subnetpool_v6: String,
    /// Fail a container start when its port does not become ACTIVE in time.
    pub vif_plugging_is_fatal: bool,
    /// How long to wait for ACTIVE; `None`: as long as the call may take.
    pub vif_plugging_timeout: Option<Duration>,
    /// Region in the catalog.
    pub region_name: Option<String>,
    /// Interface in the catalog: public, internal or admin.
    pub endpoint_type: String,
    /// URL of Neutron in place of the catalog's.
    pub endpoint_override: Option<String>,
    /// Certificate authorities.
    pub cafile: Option<PathBuf>,
    /// The client's certificate.
    pub certfile: Option<PathBuf>,
    /// The client's key.
    pub keyfile: Option<PathBuf>,
    /// Do not verify certificates.
    pub insecure: bool,
    /// How long an HTTP request may take.
    pub timeout: Option<Duration>,
}

/// `[port_pool]`: ports made ahead of use.
#[derive(Debug, Clone, Copy)]
pub struct PortPool {
    /// Whether any are made.
    pub enabled: bool,
    /// Ports that each network always has ahead.
    pub min: usize,
    /// The most that it has.
    pub max: usize,
    /// Ports made at the same time.
    pub batch: usize,
    /// For how long a start counts.
    pub idle_time: Duration,
    /// Percent of a subnet's free addresses.
    pub share: usize,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// The text itself, for the request that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// The authentication keys of `[neutron]`, of its `auth_section`, or of Mitaka's `[keystone_client]`. Their meaning is keystoneauth's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the option of the same name, whose help stands in the table of options")]
pub struct Auth {
    pub auth_type: Option<String>,
    pub auth_url: Option<String>,
    pub username: Option<String>,
    pub user_id: Option<String>,
    pub password: Option<Secret>,
    pub project_name: Option<String>,
    pub project_id: Option<String>,
    pub user_domain_name: Option<String>,
    pub user_domain_id: Option<String>,
    pub project_domain_name: Option<String>,
    pub project_domain_id: Option<String>,
    pub default_domain_name: Option<String>,
    pub default_domain_id: Option<String>,
    pub domain_name: Option<String>,
    pub domain_id: Option<String>,
    pub system_scope: Option<String>,
    pub trust_id: Option<String>,
    pub token: Option<Secret>,
    pub application_credential_id: Option<String>,
    pub application_credential_name: Option<String>,
    pub application_credential_secret: Option<Secret>,
    pub endpoint: Option<String>,
}
