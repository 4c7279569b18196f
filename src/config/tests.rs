use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use super::*;

pub(super) fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kuryr.conf");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::load(&Sources::new(vec![file], vec![dir.path().join("d")], environment))
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = load_with("", &[]).unwrap();
    assert_eq!(config.kuryr_uri, None);
    assert_eq!(config.capability_scope, "local");
    assert_eq!(config.subnetpool_name_prefix, "kuryrPool");
    assert_eq!(config.state_path, PathBuf::from("/var/lib/kuryr"));
    assert_eq!(config.socket, PathBuf::from("/run/docker/plugins/kuryr.sock"));
    assert_eq!(config.request_timeout, Duration::from_secs(20));
    assert_eq!(config.neutron.default_subnetpool_v6, "kuryr6");
    assert_eq!(config.neutron.endpoint_type, "public");
    assert!(config.neutron.enable_dhcp && config.process_external_connectivity && !config.neutron.insecure);
    assert!(config.neutron.vif_plugging_timeout.is_none() && config.auth.auth_type.is_none() && !config.host.is_empty());
}

/// A name that the reader asks for and the table does not have would silently be unset.
#[test]
fn every_option_asked_for_is_in_the_table() {
    let source = concat!(include_str!("reader.rs"), include_str!("port_driver.rs"));
    let mut asked = 0;
    for group in ["DEFAULT", "kuryr", "neutron", "binding"] {
        let start = format!("(\"{group}\", \"");
        for part in source.split(&start).skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(options::find(group, name).is_some(), "[{group}] {name}");
            asked += 1;
        }
    }
    for (start, group) in [("self.must(\"", "DEFAULT"), (" get(\"", "neutron"), ("self.pool(\"", "neutron"), ("self.neutron(\"", "neutron")]
    {
        for part in source.split(start).skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(options::find(group, name).is_some(), "[{group}] {name}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
}

#[test]
fn the_environment_wins_over_files_and_old_names_count() {
    let text = "[neutron]\nusername = file\ntenant-name = p\n[binding]\ndriver = a.veth\n[DEFAULT]\nlogdir = /l\n";
    let config = load_with(text, &[("OS_NEUTRON__USERNAME", "env"), ("CAPABILITY_SCOPE", "global")]).unwrap();
    assert_eq!(config.auth.username.as_deref(), Some("env"));
    assert_eq!(config.auth.project_name.as_deref(), Some("p"));
    assert_eq!(config.log.file, Some("/l/kuryr-server.log".into()));
    assert_eq!(config.capability_scope, "global");
}

#[test]
fn a_value_may_name_other_options() {
    let text = "[DEFAULT]\nbindir = $pybasedir/b\n[neutron]\nusername = u\nproject_name = of-$username\n[kuryr]\nstate_path = $DEFAULT.bindir/s\n\
                socket = ${bindir}/k.sock\n";
    let config = load_with(text, &[]).unwrap();
    assert_eq!(config.auth.project_name.as_deref(), Some("of-u"));
    assert_eq!((config.state_path, config.socket), ("/usr/b/s".into(), "/usr/b/k.sock".into()));
}

#[test]
fn later_files_win() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().join("d");
    fs::create_dir(&d).unwrap();
    for (name, value) in [("one", "1"), ("two", "2"), ("d/b.conf", "4"), ("d/a.conf", "3"), ("d/c.txt", "5")] {
        fs::write(dir.path().join(name), format!("[DEFAULT]\nbindir = /{value}\n")).unwrap();
    }
    let load = |dirs| Config::load(&Sources::new(vec![dir.path().join("one"), dir.path().join("two")], dirs, [])).unwrap().bindir;
    assert_eq!(load(vec![d]), PathBuf::from("/4"));
    assert_eq!(load(vec![]), PathBuf::from("/2"));
}

#[test]
fn a_home_is_searched() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".kuryr")).unwrap();
    fs::write(home.path().join(".kuryr/kuryr.conf"), "[DEFAULT]\nhost = found\n").unwrap();
    let environment = [("HOME".to_owned(), home.path().display().to_string())];
    assert_eq!(Config::load(&Sources::new(vec![], vec![], environment)).unwrap().host, "found");
}

#[test]
fn a_wrong_value_names_place_option_value_and_what_is_allowed() {
    for (text, words) in [
        ("[DEFAULT]\ndebug = maybe\n", ["kuryr.conf:2", "[DEFAULT] debug = maybe", "true or false"]),
        ("[neutron]\nendpoint_type = Public\n", ["kuryr.conf:2", "endpoint_type = Public", "public, admin, internal"]),
        ("[neutron]\n\nvif_plugging_timeout = -1\n", ["kuryr.conf:3", "vif_plugging_timeout = -1", "from 0"]),
        ("[kuryr]\nrequest_timeout = 0\n", ["kuryr.conf:2", "request_timeout = 0", "from 1"]),
        ("[DEFAULT]\nbindir = $bindir\n", ["kuryr.conf:2", "[DEFAULT] bindir", "refers to itself"]),
        ("[neutron]\npassword = a$word\n", ["kuryr.conf:2", "[neutron] password", "write $$"]),
        ("[DEFAULT]\nkuryr_uri = nonsense\n", ["kuryr.conf:2", "[DEFAULT] kuryr_uri = nonsense", "http://127.0.0.1:23750"]),
        ("[DEFAULT]\nhost = two words\n", ["kuryr.conf:2", "[DEFAULT] host = two words", "without spaces"]),
        ("[DEFAULT]\nsubnetpool_name_prefix =\n", ["kuryr.conf:2", "[DEFAULT] subnetpool_name_prefix = ", "1 to 211"]),
        ("[DEFAULT]\ndefault_log_levels = a=DEBUG, odd\n", ["kuryr.conf:2", "default_log_levels = a=DEBUG, odd", "target=LEVEL"]),
        ("[binding]\nveth_dst_prefix = a/b\n", ["kuryr.conf:2", "[binding] veth_dst_prefix = a/b", "1 to 13"]),
        ("[neutron]\nenable_dhcp = perhaps\n", ["kuryr.conf:2", "[neutron] enable_dhcp = perhaps", "True or False"]),
        ("[neutron]\nauth_url = controller\n", ["kuryr.conf:2", "[neutron] auth_url = controller", "a URL"]),
        ("[kuryr]\nmetrics_listen = 0.0.0.0:1\n", ["kuryr.conf:2", "metrics_listen = 0.0.0.0:1", "loopback"]),
        ("[kuryr]\nspec_file = /etc/kuryr\n", ["kuryr.conf:2", "spec_file = /etc/kuryr", ".spec or .json"]),
        ("[kuryr]\nrequest_timeout = 9000000000\n", ["kuryr.conf:2", "request_timeout = 9000000000", "to 2147483647"]),
        ("[neutron]\npassword\n", ["kuryr.conf:2", "neither '=' nor ':'", "key = value"]),
    ] {
        let error = load_with(text, &[]).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{text:?}: {error}");
    }
    let error = load_with("", &[("OS_NEUTRON__INSECURE", "x")]).unwrap_err().to_string();
    assert!(error.contains("OS_NEUTRON__INSECURE"), "{error}");
    let missing = Config::load(&Sources::new(vec!["/nonexistent/k.conf".into()], vec![], [])).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/k.conf"), "{missing}");
}

#[test]
fn mitaka_keys_stand_in_for_missing_ones() {
    let old = "[keystone_client]\nauth_uri = http://k/v2.0\nadmin_user = u\nadmin_tenant_name = t\nadmin_password = p\nauth_insecure = True\n\
               [neutron_client]\nneutron_uri = http://n:9696\nenable_dhcp = False\n";
    let config = load_with(old, &[]).unwrap();
    assert_eq!(config.auth.auth_type.as_deref(), Some("password"));
    assert_eq!(config.auth.auth_url.as_deref(), Some("http://k/v2.0"));
    assert_eq!(config.auth.project_name.as_deref(), Some("t"));
    assert_eq!(config.auth.password.map(|p| p.reveal().to_owned()).as_deref(), Some("p"));
    assert_eq!(config.neutron.endpoint_override.as_deref(), Some("http://n:9696"));
    assert!(config.neutron.insecure && !config.neutron.enable_dhcp);
    let both = load_with(&format!("{old}[neutron]\nusername = new\nenable_dhcp = true\n"), &[]).unwrap();
    assert_eq!(both.auth.username.as_deref(), Some("new"));
    assert!(both.neutron.enable_dhcp);
    let by_environment = load_with("", &[("SERVICE_TOKEN", "a$b"), ("SUBNET_POOLS_V4", "one,two")]).unwrap();
    assert_eq!(by_environment.auth.auth_type.as_deref(), Some("token"));
    assert_eq!(by_environment.auth.auth_url.as_deref(), Some("http://127.0.0.1:35357/v2.0"));
    assert_eq!(by_environment.auth.token.map(|t| t.reveal().to_owned()).as_deref(), Some("a$b"));
    assert_eq!(by_environment.neutron.default_subnetpool_v4, "one");
}

#[test]
fn a_modern_section_without_url_is_not_taken_for_mitakas() {
    let auth = load_with("[neutron]\nusername = u\npassword = p\n", &[]).unwrap().auth;
    assert_eq!((auth.auth_type, auth.auth_url), (None, None));
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let environment = [("OS_DEFAULT__LOG_FILE".to_owned(), "/environment".to_owned())];
    let empty = tempfile::tempdir().unwrap();
    let mut sources = Sources::new(vec![], vec![empty.path().to_owned()], environment);
    sources.command_line = [("log_file", "/flag".to_owned()), ("debug", "true".to_owned()), ("use_syslog", "true".to_owned())].into();
    let log = Config::load(&sources).unwrap().log;
    assert_eq!((log.file, log.debug, log.syslog.as_deref()), (Some("/flag".into()), true, Some("LOG_USER")));
    assert!(show::show(&sources).unwrap().contains("# the command line\nlog_file = /flag"));
    sources.command_line = [("syslog_log_facility", "LOG_NOBODY".to_owned())].into();
    let error = Config::load(&sources).unwrap_err().to_string();
    assert!(error.contains("the command line: [DEFAULT] syslog_log_facility = LOG_NOBODY") && error.contains("LOG_LOCAL0"), "{error}");
}

#[test]
fn what_has_no_effect_is_said_once_and_only_where_it_was_asked_for() {
    let text = "[DEFAULT]\nuse_eventlog = True\nlog_rotation_type = none\nrate_limit_burst = 7\nuse_json = True\nlog_color = False\n\
                default_log_levels = kuryr=DEBUG\n";
    let warnings = load_with(text, &[]).unwrap().warnings;
    let without: Vec<_> = warnings.iter().filter(|w| w.contains("does nothing with it")).collect();
    assert_eq!(without.len(), 2, "{warnings:?}");
    assert!(without[0].contains("kuryr.conf:2: [DEFAULT] use_eventlog") && without[1].contains("rate_limit_burst"), "{warnings:?}");
}

/// Case, numbers and all: a file that the Python was started with must not stop us.
#[test]
fn values_that_oslo_log_takes_are_taken() {
    let text = "[DEFAULT]\nlog_rotate_interval_type = days\nlog_rotation_type = NONE\nuse_syslog = True\nsyslog_log_facility = local0\n\
                default_log_levels = amqp=30, sqlalchemy=WARN\n";
    let config = load_with(text, &[]).unwrap();
    assert_eq!(config.log.syslog.as_deref(), Some("local0"));
    assert_eq!(config.log.levels, ["amqp=30", "sqlalchemy=WARN"]);
    // They are the defaults, whatever their case.
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn auth_section_names_another_section() {
    let text = "[neutron]\nauth_section = service\nusername = no\n[service]\nauth_type = password\nusername = yes\n";
    let auth = load_with(text, &[]).unwrap().auth;
    assert_eq!((auth.username.as_deref(), auth.auth_type.as_deref()), (Some("yes"), Some("password")));
}

#[test]
fn near_misses_and_open_files_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k.conf");
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(&file, "[default]\nhost = x\n[neutron]\npasword = x\npassword = y\n[elsewhere]\nkey = z\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = Config::load(&Sources::new(vec![file.clone()], vec![dir.path().join("d")], [])).unwrap().warnings;
    assert_eq!(warnings.iter().filter(|w| w.contains("did you mean password?")).count(), 1, "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("can be read by every user")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("[DEFAULT] in capitals")), "{warnings:?}");
    assert!(!warnings.iter().any(|w| w.contains("elsewhere")), "{warnings:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let warnings = Config::load(&Sources::new(vec![file], vec![dir.path().join("d")], [])).unwrap().warnings;
    assert!(!warnings.iter().any(|w| w.contains("every user")), "{warnings:?}");
}

#[test]
fn what_is_shown_reads_back_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let (file, shown_file, empty) = (dir.path().join("k"), dir.path().join("shown"), dir.path().join("d"));
    fs::create_dir(&empty).unwrap();
    fs::write(
        &file,
        "[neutron]\npassword = hidden-word\nusername = '\"q\"'\n[DEFAULT]\nlocal_default_address_space = \" a$$b \"\nbindir = a\n  b\n",
    )
    .unwrap();
    let sources = |f: &std::path::Path| Sources::new(vec![f.to_owned()], vec![empty.clone()], []);
    let shown = show::show(&sources(&file)).unwrap();
    assert!(!shown.contains("hidden-word") && shown.contains("password = ****"), "{shown}");
    assert!(shown.contains(&format!("# {}:2\npassword", file.display())), "{shown}");
    fs::write(&shown_file, &shown).unwrap();
    let (before, after) = (Config::load(&sources(&file)).unwrap(), Config::load(&sources(&shown_file)).unwrap());
    assert_eq!(
        (before.local_default_address_space.as_str(), &before.bindir, &before.auth.username),
        (" a$b ", &"a\nb".into(), &Some("\"q\"".to_owned()))
    );
    assert!(!format!("{before:?}").contains("hidden-word"));
    assert_eq!(
        (before.local_default_address_space, before.bindir, before.auth.username),
        (after.local_default_address_space, after.bindir, after.auth.username)
    );
}

/// The sample with every comment sign before a key taken away gives the defaults.
#[test]
fn the_sample_reads_back() {
    let text = sample::sample();
    assert!(oslo::parse(&text).unwrap().is_empty());
    let keys = |l: &str| l.starts_with('#') && !l.starts_with("# ") && !l.ends_with("<unset>");
    let live: String = text.lines().map(|l| if keys(l) { format!("{}\n", &l[1..]) } else { format!("{l}\n") }).collect();
    let config = load_with(&live, &[]).unwrap();
    let default = load_with("", &[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{default:?}"));
    assert!(options::OPTIONS.iter().all(|o| text.contains(&format!("\n#{} = ", o.name))));
}

#[test]
fn no_name_is_twice_in_a_section() {
    for (i, a) in options::OPTIONS.iter().enumerate() {
        assert!(a.default.is_none_or(|d| a.kind.accepts(d)), "{}", a.name);
        for b in &options::OPTIONS[i + 1..] {
            let names = |o: &options::Opt| std::iter::once(o.name).chain(o.old_names.iter().copied()).collect::<Vec<_>>();
            assert!(a.group != b.group || names(a).iter().all(|n| !names(b).contains(n)), "[{}] {} {}", a.group, a.name, b.name);
        }
    }
}
