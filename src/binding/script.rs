//! Any other vif_type: a script of the operator's, called as kuryr-libnetwork calls it.
//!
//! ```text
//! SCRIPT bind   PORT TAP ENDPOINT MAC NETWORK PROJECT DETAILS
//! SCRIPT unbind PORT TAP ENDPOINT MAC DETAILS NETWORK
//! ```
//! DETAILS is `binding:vif_details` as Python prints it, in double quotes, or `None`: scripts search it for `'ovs_hybrid_plug': True`.

use std::{
    fmt::Write as _,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;

use super::{Error, Settings, Vif, names::tap_name};

/// How much of a script's output is kept, of each stream.
const LONGEST_OUTPUT: u64 = 4096;
/// How far apart the looks are whether a script has ended: at first, and at the most.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The script for a vif_type. A type is a word to Neutron, and a path only if it is one.
pub(super) fn path(settings: &Settings, vif_type: &str) -> Option<PathBuf> {
    let word = !vif_type.is_empty() && vif_type.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    word.then(|| settings.bindir.join(vif_type)).filter(|path| path.exists())
}

/// Runs `SCRIPT bind`.
pub(super) fn bind(script: &Path, vif: &Vif, time: Duration) -> Result<(), Error> {
    let [port, tap, mac, network, details] = words(vif);
    run(script, vif, "bind", &[&port, &tap, &vif.endpoint, &mac, &network, &vif.project, &details], time)
}

/// Runs `SCRIPT unbind`.
pub(super) fn unbind(script: &Path, vif: &Vif, time: Duration) -> Result<(), Error> {
    let [port, tap, mac, network, details] = words(vif);
    run(script, vif, "unbind", &[&port, &tap, &vif.endpoint, &mac, &details, &network], time)
}

fn words(vif: &Vif) -> [String; 5] {
    [vif.port.to_string(), tap_name(vif.port), vif.mac.to_string(), vif.network.to_string(), details(&vif.vif_details)]
}

fn run(script: &Path, vif: &Vif, verb: &'static str, arguments: &[&str], time: Duration) -> Result<(), Error> {
    let port = vif.port;
    let failed = |source| Error::ScriptStart { port, script: script.to_owned(), source };
    #[allow(clippy::disallowed_methods, reason = "the operator's own script is the contract of this plug; it runs with a deadline")]
    let mut child = Command::new(script)
        .arg(verb)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // So that what it has started is stopped with it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = wait(&mut child, time).map_err(failed)?;
    let (stdout, stderr) = (stdout.text(), stderr.text());
    if !stdout.is_empty() {
        tracing::debug!(%port, script = %script.display(), "{stdout}");
    }
    if !stderr.is_empty() {
        tracing::error!(%port, script = %script.display(), "{stderr}");
    }
    let output = [stderr, stdout].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    let script = script.to_owned();
    match status {
        None => Err(Error::ScriptTimeout { port, script, verb, seconds: time.as_secs(), output }),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Script { port, script, verb, status: status.to_string(), output }),
    }
}

/// Waits for the end; `None` when the time was over first and the script was killed.
fn wait(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + time;
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Not yet waited for, so the number is still the script's.
            if let Ok(group) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// What a stream has said, read beside the script so that it is never held up.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Output {
    let text = Arc::new(Mutex::new(Vec::new()));
    let kept = text.clone();
    let reader = stream.map(|mut stream| {
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = (LONGEST_OUTPUT as usize).saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..length.min(room)]);
            }
        })
    });
    Output { text, reader }
}

impl Output {
    /// The output of a script that has ended. A program it has left behind may hold the stream open, and is not waited for.
    fn text(self) -> String {
        let end = Instant::now() + LAST_LOOK * 4;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < end {
            thread::sleep(FIRST_LOOK);
        }
        let bytes = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// The argument DETAILS. The keys are in order; Neutron promises none.
fn details(details: &Value) -> String {
    match details {
        Value::Object(map) if !map.is_empty() => {
            let mut text = String::from("\"");
            python(details, &mut text);
            text.push('"');
            text
        }
        _ => "None".to_owned(),
    }
}

/// Appends `repr()` of a value.
fn python(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => python_text(string, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                python(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                python_text(key, text);
                text.push_str(": ");
                python(item, text);
            }
            text.push('}');
        }
    }
}

fn python_text(string: &str, text: &mut String) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for c in string.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if c == quote => text.extend(['\\', c]),
            _ if c.is_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            _ => text.push(c),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_are_printed_as_python_does() {
        for (value, text) in [
            (
                json!({"port_filter": true, "ovs_hybrid_plug": true, "n": null}),
                "\"{'n': None, 'ovs_hybrid_plug': True, 'port_filter': True}\"",
            ),
            (json!({"a": [1, 2.5, false], "b": {}, "c": []}), "\"{'a': [1, 2.5, False], 'b': {}, 'c': []}\""),
            (
                json!({"q": "it's", "r": "\"", "s": "'\"", "t": "\\\n\t\u{1}é"}),
                r#""{'q': "it's", 'r': '"', 's': '\'"', 't': '\\\n\t\x01é'}""#,
            ),
            (json!({}), "None"),
            (Value::Null, "None"),
        ] {
            assert_eq!(details(&value), text);
        }
    }

    #[test]
    fn only_a_word_names_a_script() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("midonet"), "").unwrap();
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        let settings = Settings { bindir: directory.path().join("bin"), ..Settings::default() };
        for vif_type in ["../midonet", ".", "..", "", "/etc/passwd", "a b", "midonet"] {
            assert_eq!(path(&settings, vif_type), None, "{vif_type}");
        }
        let settings = Settings { bindir: directory.path().to_owned(), ..settings };
        assert_eq!(path(&settings, "midonet"), Some(directory.path().join("midonet")));
    }
}
