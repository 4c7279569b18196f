//! Every option of the table with wrong values: each time a refusal that names file, line, option, value and what is allowed.

use super::{options::*, tests::load_with};

/// What an option of a kind cannot be; nothing where any text will do.
fn wrong(kind: Kind) -> Vec<String> {
    let long = "x".repeat(256);
    let fixed: &[&str] = match kind {
        Kind::Text | Kind::List => &[],
        Kind::Flag | Kind::NeutronFlag => &["maybe", "2", "", "[True]"],
        Kind::Integer(least) => return vec![(least - 1).to_string(), "1.5".into(), "many".into(), "2147483648".into(), String::new()],
        Kind::Percent => &["101", "-1", "1.5", "20%", ""],
        Kind::Levels => &["odd", "kuryr=LOUD", "kuryr=INFO,odd"],
        Kind::Choice(_) | Kind::AnyCase(_) => &["no-such-word", "1", ""],
        Kind::Host => return vec!["two words".into(), long],
        Kind::Listen => &["nonsense", "http://127.0.0.1", "http://127.0.0.1:99999", "ftp://127.0.0.1:1"],
        Kind::LocalPlaces => &["relative", "0.0.0.0:9751", "127.0.0.1"],
        Kind::Url => &["controller", "controller:9696", "ftp://controller", "http://"],
        Kind::AbsolutePath => &["relative", ""],
        Kind::SpecFile => &["kuryr.spec", "/etc/kuryr"],
        Kind::Interface => &["a/b", "two words", "sixteen-letters-"],
        Kind::InterfacePrefix => &["", "a/b", "two words", "fourteen-long-"],
        Kind::PoolPrefix => return vec![String::new(), long],
    };
    fixed.iter().map(|text| (*text).to_owned()).collect()
}

/// Texts and lists that are names of our own.
const DRIVERS: [(&str, &str); 4] = [
    ("DEFAULT", "default_port_driver"),
    ("DEFAULT", "enabled_port_drivers"),
    ("binding", "default_driver"),
    ("binding", "enabled_drivers"),
];

/// Texts that nobody but the cloud, the engine or the file system can call wrong; where one names a file to be read, the daemon does when it
/// starts. Whoever adds an option says here that any text will do, or gives it a kind.
const ANY_TEXT: &[(&str, &[&str])] = &[
    (
        "DEFAULT",
        &[
            "pybasedir",
            "local_default_address_space",
            "global_default_address_space",
            "port_driver",
            "ssl_cert_file",
            "ssl_key_file",
            "bindir",
            "deployment_type",
            "log_file",
            "log_dir",
            "log_config_append",
            "log_date_format",
            "logging_context_format_string",
            "logging_default_format_string",
            "logging_debug_format_suffix",
            "logging_exception_prefix",
            "logging_user_identity_format",
            "instance_format",
            "instance_uuid_format",
            "rate_limit_except_level",
        ],
    ),
    ("kuryr", &["external_network", "ssl_client_ca_file", "spec_ca_file", "spec_cert_file", "spec_key_file"]),
    (
        "neutron",
        &[
            "default_subnetpool_v4",
            "default_subnetpool_v6",
            "region_name",
            "cafile",
            "certfile",
            "keyfile",
            "auth_section",
            "username",
            "user_id",
            "password",
            "project_name",
            "project_id",
            "user_domain_name",
            "user_domain_id",
            "project_domain_name",
            "project_domain_id",
            "default_domain_name",
            "default_domain_id",
            "domain_name",
            "domain_id",
            "trust_id",
            "token",
            "application_credential_id",
            "application_credential_name",
            "application_credential_secret",
        ],
    ),
    ("keystone_client", &["admin_user", "admin_tenant_name", "admin_password", "admin_token", "auth_ca_cert"]),
    ("neutron_client", &["default_subnetpool_v4", "default_subnetpool_v6"]),
];

#[test]
fn every_wrong_value_of_every_option_stops_the_start_with_its_place_and_what_is_allowed() {
    for opt in OPTIONS {
        let is_driver = DRIVERS.contains(&(opt.group, opt.name));
        let values = if is_driver { vec!["no.such.driver".to_owned()] } else { wrong(opt.kind) };
        let any = ANY_TEXT.iter().any(|(group, names)| *group == opt.group && names.contains(&opt.name));
        assert_ne!(any, !values.is_empty(), "[{}] {}: either any text will do, or something is wrong", opt.group, opt.name);
        for name in std::iter::once(&opt.name).chain(opt.old_names) {
            for value in &values {
                let text = format!("# A comment.\n[{}]\n\n{name} = {value}\n", opt.group);
                let error = load_with(&text, &[]).unwrap_err().to_string();
                let place = format!("kuryr.conf:4: [{}] {} = {value}", opt.group, opt.name);
                let allowed = if is_driver { "by short name or by Python path".to_owned() } else { opt.kind.allowed() };
                assert!(error.contains(&place) && error.ends_with(&allowed), "{text:?}: {error}");
            }
        }
        // The environment is told by its variable.
        for value in &values {
            let variable = format!("OS_{}__{}", opt.group.to_uppercase(), opt.name.to_uppercase());
            let error = load_with("", &[(&variable, value)]).unwrap_err().to_string();
            assert!(error.contains(&variable) && error.contains(&format!("{} = {value}", opt.name)), "{variable}={value}: {error}");
        }
    }
}

#[test]
fn a_wrong_secret_is_not_shown() {
    let error = load_with("[neutron]\npassword = a$hidden\n", &[]).unwrap_err().to_string();
    assert!(!error.contains("hidden") && error.contains("kuryr.conf:2: [neutron] password") && error.contains("write $$"), "{error}");
}
