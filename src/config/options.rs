//! The one table of options: what a configuration file, the environment, `kuryr config sample` and `kuryr config show` know.
//!
//! Names, types and defaults are those of kuryr-libnetwork, kuryr-lib, oslo.log and keystoneauth; the group `kuryr` is our own.

pub use super::kind::Kind;

/// The value of a boolean as oslo.config reads it.
pub fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// The section.
    pub group: &'static str,
    /// The key.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// The value when nobody sets one, as it would stand in a file; `None` when it is then unset.
    pub default: Option<&'static str>,
    /// An environment variable that stands in for the default.
    pub default_env: Option<&'static str>,
    /// Older names in the same section.
    pub old_names: &'static [&'static str],
    /// Whether the value is never shown.
    pub secret: bool,
    /// Whether it may stand on the command line too, with dashes.
    pub flag: bool,
    /// What it does, for a reader of the sample file.
    pub help: &'static str,
}

const fn opt(group: &'static str, name: &'static str, kind: Kind, default: Option<&'static str>, help: &'static str) -> Opt {
    Opt { group, name, kind, default, default_env: None, old_names: &[], secret: false, flag: false, help }
}

impl Opt {
    const fn env(self, variable: &'static str) -> Self {
        Self { default_env: Some(variable), ..self }
    }
    const fn was(self, old_names: &'static [&'static str]) -> Self {
        Self { old_names, ..self }
    }
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
    const fn flag(self) -> Self {
        Self { flag: true, ..self }
    }

    /// Whether the text says the same as the default.
    pub fn is_default(&self, text: &str) -> bool {
        match self.kind {
            Flag => self.default.and_then(flag) == flag(text),
            AnyCase(_) => self.default.is_some_and(|default| default.eq_ignore_ascii_case(text)),
            _ => self.default.unwrap_or_default() == text,
        }
    }

    /// Whether it is only known so that a file with it is accepted.
    pub fn is_without_effect(&self) -> bool {
        self.help == NO_EFFECT
    }
}

use Kind::{
    AbsolutePath, AnyCase, Choice, Flag, Host, Integer, Interface, InterfacePrefix, Levels, List, Listen, LocalPlaces, NeutronFlag,
    Percent, PoolPrefix, SpecFile, Text, Url,
};

const D: &str = "DEFAULT";
const N: &str = "neutron";
const NO_EFFECT: &str = "Accepted for compatibility, without effect.";

/// The names that Python's syslog knows, with and without their prefix, as oslo.log takes them.
const FACILITIES: &[&str] = &[
    "LOG_KERN",
    "LOG_USER",
    "LOG_MAIL",
    "LOG_DAEMON",
    "LOG_AUTH",
    "LOG_SYSLOG",
    "LOG_LPR",
    "LOG_NEWS",
    "LOG_UUCP",
    "LOG_CRON",
    "LOG_AUTHPRIV",
    "LOG_FTP",
    "LOG_LOCAL0",
    "LOG_LOCAL1",
    "LOG_LOCAL2",
    "LOG_LOCAL3",
    "LOG_LOCAL4",
    "LOG_LOCAL5",
    "LOG_LOCAL6",
    "LOG_LOCAL7",
    "KERN",
    "USER",
    "MAIL",
    "DAEMON",
    "AUTH",
    "SYSLOG",
    "LPR",
    "NEWS",
    "UUCP",
    "CRON",
    "AUTHPRIV",
    "FTP",
    "LOCAL0",
    "LOCAL1",
    "LOCAL2",
    "LOCAL3",
    "LOCAL4",
    "LOCAL5",
    "LOCAL6",
    "LOCAL7",
];

/// Every option, in the order of the sample file.
pub static OPTIONS: &[Opt] = &[
    opt(D, "host", Host, None, "Name of this host as its Neutron agent knows it (binding:host_id). Unset: the host name."),
    opt(D, "pybasedir", Text, Some("/usr"), "Only for use as $pybasedir in other values."),
    opt(D, "kuryr_uri", Listen, None, "Where to listen on TCP, such as http://127.0.0.1:23750. Unset: only on the Unix socket.")
        .env("OS_KURYR_URI"),
    opt(D, "capability_scope", Choice(&["local", "global"]), Some("local"), "Scope reported to the container engine.")
        .env("CAPABILITY_SCOPE"),
    opt(D, "local_default_address_space", Text, Some("no_address_space"), "Default address space of local networks."),
    opt(D, "global_default_address_space", Text, Some("no_address_space"), "Default address space of global networks."),
    opt(D, "port_driver", Text, Some("veth"), NO_EFFECT),
    opt(
        D,
        "default_port_driver",
        Text,
        Some("veth"),
        "Port driver of ports of vnic_type normal: veth; or nested or vlan, for containers in a machine of the cloud. By short name or Python path.",
    ),
    opt(D, "enabled_port_drivers", List, Some("veth"), "Port drivers that may be used; sriov serves ports of vnic_type direct, macvtap and direct-physical."),
    opt(D, "process_external_connectivity", Flag, Some("true"), "Make security groups for exposed ports."),
    opt(D, "enable_ssl", Flag, Some("false"), "Serve kuryr_uri, or http://127.0.0.1:23750 when it is unset, by TLS."),
    opt(D, "ssl_cert_file", Text, Some("/var/lib/kuryr/certs/cert.pem"), "Certificate of the TLS listener."),
    opt(D, "ssl_key_file", Text, Some("/var/lib/kuryr/certs/key.pem"), "Key of the TLS listener."),
    opt(D, "bindir", Text, Some("/usr/libexec/kuryr"), "Directory of binding scripts."),
    opt(D, "subnetpool_name_prefix", PoolPrefix, Some("kuryrPool"), "Prefix of the names of subnet pools."),
    opt(D, "deployment_type", Text, Some("baremetal"), NO_EFFECT),
    opt(D, "debug", Flag, Some("false"), "Log debug messages.").flag(),
    opt(D, "log_file", Text, None, "Append the log to this file instead of stderr; relative to log_dir.").was(&["logfile"]).flag(),
    opt(D, "log_dir", Text, None, "Directory of log_file; alone, the file is kuryr-server.log.").was(&["logdir"]).flag(),
    opt(D, "use_stderr", Flag, Some("false"), "Log to stderr too when a log file is set."),
    opt(D, "default_log_levels", Levels, Some("hyper=INFO,reqwest=INFO,rustls=INFO"), "Least level of single targets, as target=LEVEL."),
    opt(D, "log_config_append", Text, None, NO_EFFECT).was(&["log_config", "log-config"]).flag(),
    opt(D, "log_date_format", Text, Some("%Y-%m-%d %H:%M:%S"), NO_EFFECT).flag(),
    opt(D, "watch_log_file", Flag, Some("false"), NO_EFFECT).flag(),
    opt(D, "use_syslog", Flag, Some("false"), "Log to the system log (/dev/log) as well.").flag(),
    opt(D, "use_journal", Flag, Some("false"), "Log to systemd's journal, and to stderr then only with use_stderr.").flag(),
    opt(D, "syslog_log_facility", AnyCase(FACILITIES), Some("LOG_USER"), "Facility of use_syslog and use_journal.").flag(),
    opt(D, "use_json", Flag, Some("false"), "Log one JSON object a line, with the names of oslo.log's JSON format.").flag(),
    opt(D, "use_eventlog", Flag, Some("false"), NO_EFFECT).flag(),
    opt(D, "log_color", Flag, Some("false"), NO_EFFECT).flag(),
    opt(D, "log_rotate_interval", Integer(0), Some("1"), NO_EFFECT),
    opt(D, "log_rotate_interval_type", AnyCase(&["Seconds", "Minutes", "Hours", "Days", "Weekday", "Midnight"]), Some("days"), NO_EFFECT),
    opt(D, "max_logfile_count", Integer(0), Some("30"), NO_EFFECT),
    opt(D, "max_logfile_size_mb", Integer(0), Some("200"), NO_EFFECT),
    opt(D, "log_rotation_type", AnyCase(&["interval", "size", "none"]), Some("none"), NO_EFFECT),
    opt(D, "logging_context_format_string", Text, None, NO_EFFECT),
    opt(D, "logging_default_format_string", Text, None, NO_EFFECT),
    opt(D, "logging_debug_format_suffix", Text, None, NO_EFFECT),
    opt(D, "logging_exception_prefix", Text, None, NO_EFFECT),
    opt(D, "logging_user_identity_format", Text, None, NO_EFFECT),
    opt(D, "instance_format", Text, None, NO_EFFECT),
    opt(D, "instance_uuid_format", Text, None, NO_EFFECT),
    opt(D, "publish_errors", Flag, Some("false"), NO_EFFECT),
    opt(D, "fatal_deprecations", Flag, Some("false"), NO_EFFECT),
    opt(D, "rate_limit_interval", Integer(0), Some("0"), NO_EFFECT),
    opt(D, "rate_limit_burst", Integer(0), Some("0"), NO_EFFECT),
    opt(D, "rate_limit_except_level", Text, Some("CRITICAL"), NO_EFFECT),
    opt("kuryr", "state_path", AbsolutePath, Some("/var/lib/kuryr"), "Directory of the journal."),
    opt(
        "kuryr",
        "socket",
        AbsolutePath,
        Some("/run/docker/plugins/kuryr.sock"),
        "Unix socket on which the container engine finds the plugin.",
    ),
    opt(
        "kuryr",
        "external_network",
        Text,
        None,
        "Name or id of an external Neutron network: every Docker network that is not --internal gets a router to it.",
    ),
    opt("kuryr", "ovsdb_socket", AbsolutePath, Some("/run/openvswitch/db.sock"), "Unix socket of Open vSwitch's database."),
    opt(
        "kuryr",
        "ovs_bridge",
        Interface,
        Some("br-int"),
        "Integration bridge of Open vSwitch, where Neutron does not name it for the port.",
    ),
    opt(
        "kuryr",
        "ssl_client_ca_file",
        Text,
        None,
        "PEM file of certificate authorities: only clients with a certificate of theirs are served by TLS.",
    ),
    opt(
        "kuryr",
        "spec_file",
        SpecFile,
        None,
        "Tell the container engine of kuryr_uri in this file while the daemon runs, such as /usr/lib/docker/plugins/kuryr/kuryr.json (or .spec).",
    ),
    opt("kuryr", "spec_ca_file", Text, None, "CAFile in a .json spec_file: the authority of ssl_cert_file, as the engine finds it."),
    opt("kuryr", "spec_cert_file", Text, None, "CertFile in a .json spec_file: the certificate that the engine shows to kuryr."),
    opt("kuryr", "spec_key_file", Text, None, "KeyFile in a .json spec_file: the key of spec_cert_file."),
    opt(
        "kuryr",
        "metrics_listen",
        LocalPlaces,
        Some("/run/kuryr/metrics.sock"),
        "Where /metrics, /healthz and /readyz are answered: Unix sockets, which kuryr gc asks as well, and loopback addresses such as \
         127.0.0.1:9751. Empty: nowhere.",
    ),
    opt(
        "kuryr",
        "ports_by_mac",
        Flag,
        Some("False"),
        "Have the engine say the MAC with each address it asks for, so that --mac-address alone finds a port that is there. The engine then \
         chooses every container's MAC, and Neutron is asked for it at every start.",
    ),
    opt("kuryr", "request_timeout", Integer(1), Some("20"), "Seconds a call of the container engine may take."),
    opt("port_pool", "enabled", Flag, Some("false"), "Make ports ahead on every network, so that a start waits for no call to Neutron."),
    opt("port_pool", "min", Integer(0), Some("0"), "Ports that each network always has ahead; -o kuryr.pool.min for one network."),
    opt(
        "port_pool",
        "max",
        Integer(0),
        Some("16"),
        "The most ports that a network has ahead, however often containers start on it; -o kuryr.pool.max for one network.",
    ),
    opt(
        "port_pool",
        "batch",
        Integer(1),
        Some("3"),
        "Ports made at the same time; a Neutron that gets more at once is slower, not faster.",
    ),
    opt(
        "port_pool",
        "idle_time",
        Integer(0),
        Some("300"),
        "Seconds for which a start counts: a network has as many ports ahead as containers were started on it in this time. -o \
         kuryr.pool.idle_time for one network.",
    ),
    opt("port_pool", "share", Percent, Some("20"), "Percent of a subnet's free addresses that may be held ahead on this host."),
    opt(N, "enable_dhcp", NeutronFlag, Some("True"), "enable_dhcp of new subnets: True or False."),
    opt(N, "default_subnetpool_v4", Text, Some("kuryr"), "Subnet pool for IPv4 networks without --subnet.").env("SUBNET_POOLS_V4"),
    opt(N, "default_subnetpool_v6", Text, Some("kuryr6"), "Subnet pool for IPv6 networks without --subnet.").env("SUBNET_POOLS_V6"),
    opt(N, "vif_plugging_is_fatal", Flag, Some("false"), "Fail a container start when its port does not become ACTIVE in time."),
    opt(N, "vif_plugging_timeout", Integer(0), Some("0"), "Seconds to wait for ACTIVE; 0 means as long as the call may take."),
    opt(N, "region_name", Text, None, "Region in the service catalog."),
    opt(N, "endpoint_type", Choice(&["public", "admin", "internal"]), Some("public"), "Interface in the service catalog."),
    opt(N, "endpoint_override", Url, None, "URL of Neutron, in place of the catalog's."),
    opt(N, "cafile", Text, None, "PEM file of certificate authorities."),
    opt(N, "certfile", Text, None, "PEM file of the client's certificate."),
    opt(N, "keyfile", Text, None, "PEM file of the client's key."),
    opt(N, "insecure", Flag, Some("false"), "Do not verify the servers' certificates."),
    opt(N, "timeout", Integer(1), None, "Seconds an HTTP request may take."),
    opt(N, "collect_timing", Flag, Some("false"), NO_EFFECT),
    opt(N, "split_loggers", Flag, Some("false"), NO_EFFECT),
    opt(
        N,
        "auth_type",
        Choice(&[
            "password",
            "v2password",
            "v3password",
            "token",
            "v2token",
            "v3token",
            "v3applicationcredential",
            "none",
            "noauth",
            "admin_token",
        ]),
        None,
        "How to authenticate.",
    )
    .was(&["auth_plugin"]),
    opt(N, "auth_section", Text, None, "Take the authentication keys from this section."),
    opt(N, "auth_url", Url, None, "URL of Keystone."),
    opt(N, "username", Text, None, "User name.").was(&["user_name", "user-name"]),
    opt(N, "user_id", Text, None, "User id.").was(&["user-id"]),
    opt(N, "password", Text, None, "Password of the user.").secret(),
    opt(N, "project_name", Text, None, "Project name.").was(&["tenant_name", "tenant-name", "project-name"]),
    opt(N, "project_id", Text, None, "Project id.").was(&["tenant_id", "tenant-id", "project-id"]),
    opt(N, "user_domain_name", Text, None, "Domain name of the user.").was(&["user-domain-name"]),
    opt(N, "user_domain_id", Text, None, "Domain id of the user.").was(&["user-domain-id"]),
    opt(N, "project_domain_name", Text, None, "Domain name of the project.").was(&["project-domain-name"]),
    opt(N, "project_domain_id", Text, None, "Domain id of the project.").was(&["project-domain-id"]),
    opt(N, "default_domain_name", Text, None, "Domain name of user and project where they have none.").was(&["default-domain-name"]),
    opt(N, "default_domain_id", Text, None, "Domain id of user and project where they have none.").was(&["default-domain-id"]),
    opt(N, "domain_name", Text, None, "Domain name to scope to.").was(&["domain-name"]),
    opt(N, "domain_id", Text, None, "Domain id to scope to.").was(&["domain-id"]),
    opt(N, "system_scope", Choice(&["all"]), None, "Scope to the system: all.").was(&["system-scope"]),
    opt(N, "trust_id", Text, None, "Trust to scope to.").was(&["trust-id"]),
    opt(N, "token", Text, None, "Token, for the token methods.").secret(),
    opt(N, "application_credential_id", Text, None, "Id of the application credential."),
    opt(N, "application_credential_name", Text, None, "Name of the application credential; needs the user too."),
    opt(N, "application_credential_secret", Text, None, "Secret of the application credential.").secret(),
    opt(N, "endpoint", Url, None, "URL of Neutron, for auth_type none and admin_token."),
    opt("binding", "veth_dst_prefix", InterfacePrefix, Some("eth"), "Prefix of interface names in the container."),
    opt(
        "binding",
        "default_driver",
        Text,
        Some("kuryr.lib.binding.drivers.veth"),
        "What default_port_driver makes interfaces with: veth; with nested macvlan or ipvlan; with vlan vlan. By short name or Python path.",
    )
    .was(&["driver"]),
    opt(
        "binding",
        "enabled_drivers",
        List,
        Some("kuryr.lib.binding.drivers.veth"),
        "Binding drivers that may be used. Left alone, default_driver is.",
    ),
    opt("binding", "link_iface", Interface, Some(""), "The machine's own interface, whose Neutron port carries nested containers."),
    opt("keystone_client", "auth_uri", Url, None, "Mitaka's [neutron] auth_url.").env("IDENTITY_URL"),
    opt("keystone_client", "admin_user", Text, None, "Mitaka's [neutron] username.").env("SERVICE_USER"),
    opt("keystone_client", "admin_tenant_name", Text, None, "Mitaka's [neutron] project_name.").env("SERVICE_TENANT_NAME"),
    opt("keystone_client", "admin_password", Text, None, "Mitaka's [neutron] password.").env("SERVICE_PASSWORD").secret(),
    opt("keystone_client", "admin_token", Text, None, "Mitaka's [neutron] token.").env("SERVICE_TOKEN").secret(),
    opt("keystone_client", "auth_ca_cert", Text, None, "Mitaka's [neutron] cafile.").env("SERVICE_CA_CERT"),
    opt("keystone_client", "auth_insecure", Flag, None, "Mitaka's [neutron] insecure."),
    opt("neutron_client", "neutron_uri", Url, None, "Mitaka's [neutron] endpoint_override.").env("OS_URL"),
    opt("neutron_client", "enable_dhcp", NeutronFlag, None, "Mitaka's [neutron] enable_dhcp."),
    opt("neutron_client", "default_subnetpool_v4", Text, None, "Mitaka's [neutron] default_subnetpool_v4."),
    opt("neutron_client", "default_subnetpool_v6", Text, None, "Mitaka's [neutron] default_subnetpool_v6."),
    opt("neutron_client", "vif_plugging_is_fatal", Flag, None, "Mitaka's [neutron] vif_plugging_is_fatal."),
    opt("neutron_client", "vif_plugging_timeout", Integer(0), None, "Mitaka's [neutron] vif_plugging_timeout."),
];

/// The option of that section and key, by its present name.
pub fn find(group: &str, name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|o| o.group == group && o.name == name)
}
