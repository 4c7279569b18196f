//! Our reading of a file beside that of the real oslo.config and oslo.log, in the Python that `KURYR_OSLO_PYTHON` names.

use std::{ffi::OsStr, fs, path::Path};

use kuryr::config::{
    Settings, Sources,
    options::{self, Kind, OPTIONS},
};
use serde_json::{Value, json};

/// What a program of tests/oslo prints, or `None` where oslo.config is not installed and need not be.
#[allow(clippy::print_stdout, reason = "a skipped comparison says so")]
fn python<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Option<Value> {
    let Ok(python) = std::env::var("KURYR_OSLO_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "KURYR_OSLO_PYTHON must name a Python that has oslo.config");
        println!("skipped: KURYR_OSLO_PYTHON names no Python that has oslo.config");
        return None;
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oslo").join(program);
    #[allow(clippy::disallowed_methods, reason = "the reference is a Python program; it reads what it is given and ends")]
    let out = std::process::Command::new(python).arg(program).args(args).env_clear().output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

/// What oslo.config reads.
fn theirs(file: &Path) -> Option<Value> {
    let options: Vec<_> = OPTIONS.iter().map(|o| json!([o.group, o.name, is_list(o.kind), o.old_names, o.default])).collect();
    python("reference.py", &[file.as_os_str(), OsStr::new(&json!(options).to_string())])
}

fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::List | Kind::Levels | Kind::LocalPlaces)
}

fn ours(file: &Path) -> Result<Value, kuryr::config::Error> {
    let none = tempfile::tempdir().unwrap();
    let settings = Settings::read(&Sources::new(vec![file.to_owned()], vec![none.path().to_owned()], []))?;
    let mut answer = json!({});
    for opt in OPTIONS {
        let text = settings.get(opt)?.map(|s| s.text);
        answer[format!("{}.{}", opt.group, opt.name)] = match (opt.kind, text) {
            (kind, Some(text)) if is_list(kind) => {
                let text = text.trim().trim_end_matches(',').to_owned();
                json!(text.split(',').map(str::trim).filter(|_| !text.is_empty()).collect::<Vec<_>>())
            }
            (_, text) => json!(text),
        };
    }
    Ok(answer)
}

#[test]
fn a_nasty_file_reads_as_in_oslo_config() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oslo/nasty.conf"));
    let ours = ours(file).unwrap();
    assert_eq!(ours["DEFAULT.bindir"], "/second/bin");
    if let Some(theirs) = theirs(file) {
        for (name, value) in theirs.as_object().unwrap() {
            assert_eq!(&ours[name], value, "{name}");
        }
        assert_eq!(theirs.as_object().unwrap().len(), OPTIONS.len());
    }
}

#[test]
fn carriage_returns_end_lines_as_in_oslo_config() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cr.conf");
    fs::write(&file, "[DEFAULT]\r\nlocal_default_address_space = a\r\n  b\rbindir = c\r").unwrap();
    let ours = ours(&file).unwrap();
    assert_eq!((&ours["DEFAULT.local_default_address_space"], &ours["DEFAULT.bindir"]), (&json!("a\nb"), &json!("c")));
    if let Some(theirs) = theirs(&file) {
        assert_eq!(
            (&ours["DEFAULT.local_default_address_space"], &ours["DEFAULT.bindir"]),
            (&theirs["DEFAULT.local_default_address_space"], &theirs["DEFAULT.bindir"])
        );
    }
}

#[test]
fn what_oslo_config_refuses_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["k = v\n", "[a]\nword\n", "[a\n", "[]\n", "[a]\n= v\n", "[a]\n k = v\n", "[DEFAULT]\nbindir = $nowhere\n"] {
        let file = dir.path().join("bad.conf");
        fs::write(&file, text).unwrap();
        assert!(ours(&file).is_err(), "{text:?}");
        if let Some(theirs) = theirs(&file) {
            assert!(theirs["error"].is_string(), "{text:?}: {theirs}");
        }
    }
}

/// Values of oslo.log's options with a grammar of their own, and whether a start with them succeeds.
#[test]
fn values_of_oslo_logs_options_are_taken_as_in_oslo_log() {
    let values = [
        ("log_rotate_interval_type", "days", true),
        ("log_rotate_interval_type", "MIDNIGHT", true),
        ("log_rotate_interval_type", "years", false),
        ("log_rotation_type", "None", true),
        ("log_rotation_type", "never", false),
        ("syslog_log_facility", "LOG_DAEMON", true),
        ("syslog_log_facility", "local0", true),
        ("syslog_log_facility", "log_Mail", true),
        ("syslog_log_facility", "local8", false),
        ("default_log_levels", "amqp=WARN,sqlalchemy=30", true),
        ("default_log_levels", "amqp=-5, boto=0", true),
        ("default_log_levels", "amqp", false),
        ("default_log_levels", "amqp=LOUD", false),
        ("default_log_levels", "amqp=1.5", false),
    ];
    for (name, value, taken) in values {
        assert_eq!(options::find("DEFAULT", name).unwrap().kind.accepts(value), taken, "{name} = {value}");
    }
    if let Some(theirs) = python("log_values.py", &[json!(values).to_string()]) {
        assert_eq!(theirs, json!(values.map(|(_, _, taken)| taken)));
    }
}
