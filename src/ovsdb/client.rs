//! JSON-RPC 1.0 over the local socket (RFC 7047 section 4): messages without framing, the server's own requests among them.

use std::{
    io::{self, BufReader, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout},
    time::TimeVal,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;

/// The database of the switch; ovsdb-server may serve others beside it.
const DATABASE: &str = "Open_vSwitch";

/// One conversation with ovsdb-server. All its calls together have the time given to [`Client::connect`].
#[derive(Debug)]
pub struct Client {
    reader: BufReader<Timed>,
    clock: Clock,
    last_id: u64,
    /// The last change that ovs-vswitchd has taken up, once it is followed.
    pub(super) taken_up: Option<i64>,
}

/// The time the conversation has.
#[derive(Debug, Clone, Copy)]
struct Clock {
    end: Instant,
    whole: Duration,
}

impl Clock {
    /// What is left, or the error of a call that came too late. A zero would switch the socket's limit off.
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_millis(1))) }
    }
}

/// A stream that gives up when the conversation's time is over.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    clock: Clock,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.clock.left()?))?;
        self.stream.read(buffer)
    }
}

impl Client {
    /// Opens a conversation of at most `time`.
    pub fn connect(path: &Path, time: Duration) -> Result<Self, Error> {
        let clock = Clock { end: Instant::now() + time, whole: time };
        let stream = open(path, time).map_err(|source| Error::Connect { socket: path.to_owned(), source })?;
        Ok(Self { reader: BufReader::new(Timed { stream, clock }), clock, last_id: 0, taken_up: None })
    }

    /// Carries out operations as one transaction, all of them or none, and returns their results in order. `what` says in an error what
    /// they were to do.
    ///
    /// # Errors
    /// [`Error::Refused`] when one of them cannot be done; [`Error::Timeout`] after which the outcome is not known.
    pub fn transact(&mut self, what: &str, operations: &[Value]) -> Result<Vec<Value>, Error> {
        let mut params = vec![json!(DATABASE)];
        params.extend_from_slice(operations);
        let bad = |detail: &str| Error::BadReply { what: what.to_owned(), detail: detail.to_owned() };
        let Value::Array(results) = self.call(what, "transact", params)? else { return Err(bad("no list of results")) };
        // A refusal stands in its operation's place, one at commit behind them all; operations not tried have null.
        for (operation, result) in results.iter().enumerate() {
            let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            if result.get("error").is_some() {
                return Err(Error::Refused { what: what.to_owned(), operation, error: text("error"), details: text("details") });
            }
        }
        if results.len() < operations.len() {
            return Err(bad("fewer results than operations"));
        }
        Ok(results)
    }

    /// Follows `cur_cfg`, which ovs-vswitchd raises to `next_cfg` when it has taken a change up, until it is at least `wanted`.
    pub(super) fn await_switch(&mut self, what: &str, wanted: i64) -> Result<(), Error> {
        if self.taken_up.is_none() {
            let columns = json!({DATABASE: {"columns": ["cur_cfg"]}});
            let first = self.call(what, "monitor", vec![json!(DATABASE), Value::Null, columns])?;
            self.note(&first);
        }
        while self.taken_up.is_none_or(|done| done < wanted) {
            match self.next_message(what) {
                // An answer here would be to a question not asked.
                Ok(_) => {}
                Err(Error::Timeout { what, seconds }) => return Err(Error::SwitchTimeout { what, seconds }),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn call(&mut self, what: &str, method: &str, params: Vec<Value>) -> Result<Value, Error> {
        self.last_id += 1;
        let id = json!(self.last_id);
        self.send(what, &json!({"method": method, "params": params, "id": id}))?;
        loop {
            let Some(mut reply) = self.next_message(what)? else { continue };
            if reply.get("id") != Some(&id) {
                continue;
            }
            // The whole request was refused, as for a database that is not there.
            let error = reply["error"].take();
            if !error.is_null() {
                let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
                let name = text("error").or_else(|| error.as_str().map(str::to_owned)).unwrap_or_else(|| error.to_string());
                let details = text("details").unwrap_or_default();
                return Err(Error::Refused { what: what.to_owned(), operation: 0, error: name, details });
            }
            return Ok(reply["result"].take());
        }
    }

    /// Reads one message; `None` for one that is no answer, which is dealt with: an echo is answered, so that the server does not hang up,
    /// and an update noted.
    fn next_message(&mut self, what: &str) -> Result<Option<Value>, Error> {
        let mut source = serde_json::Deserializer::from_reader(&mut self.reader);
        let message = Value::deserialize(&mut source).map_err(|error| match error.io_error_kind() {
            None if error.is_eof() => self.failed(what, io::ErrorKind::UnexpectedEof.into()),
            None => Error::BadReply { what: what.to_owned(), detail: error.to_string() },
            Some(_) => self.failed(what, error.into()),
        })?;
        match message.get("method").and_then(Value::as_str) {
            None => Ok(Some(message)),
            Some("echo") => {
                self.send(what, &json!({"id": message["id"], "result": message["params"], "error": null}))?;
                Ok(None)
            }
            Some("update") => {
                self.note(&message["params"][1]);
                Ok(None)
            }
            Some(_) => Ok(None),
        }
    }

    fn note(&mut self, updates: &Value) {
        let rows = updates.get(DATABASE).and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values);
        for row in rows {
            if let Some(number) = row.pointer("/new/cur_cfg").and_then(Value::as_i64) {
                self.taken_up = Some(number);
            }
        }
    }

    fn send(&mut self, what: &str, message: &Value) -> Result<(), Error> {
        let write = |stream: &mut UnixStream| {
            stream.set_write_timeout(Some(self.clock.left()?))?;
            stream.write_all(message.to_string().as_bytes())
        };
        write(&mut self.reader.get_mut().stream).map_err(|source| self.failed(what, source))
    }

    fn failed(&self, what: &str, source: io::Error) -> Error {
        let what = what.to_owned();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout { what, seconds: self.clock.whole.as_secs() },
            _ => Error::Broken { what, source },
        }
    }
}

/// Connects within `time`: a server that is stopped has its queue filled up, and a plain connect would then wait for ever.
fn open(path: &Path, time: Duration) -> io::Result<UnixStream> {
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(1000);
    setsockopt(&fd, SendTimeout, &TimeVal::new(micros / 1_000_000, micros % 1_000_000))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// A conversation with a server that first says `greeting`, then answers each message by the next of `answers` and hangs up after
    /// the last; returns what it heard.
    fn converse<T>(greeting: &str, answers: &[&str], time: Duration, ask: impl FnOnce(&mut Client) -> T) -> (T, Vec<Value>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(greeting.as_bytes()).unwrap();
                let mut heard = Vec::new();
                let mut messages = serde_json::Deserializer::from_reader(stream.try_clone().unwrap()).into_iter::<Value>();
                for answer in answers {
                    let Some(Ok(message)) = messages.next() else { break };
                    heard.push(message);
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                heard
            });
            let mut client = Client::connect(&path, time).unwrap();
            let outcome = ask(&mut client);
            drop(client);
            (outcome, server.join().unwrap())
        })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn answers_the_servers_echo_and_passes_over_what_is_not_its_answer() {
        let greeting =
            r#"{"id":"echo","method":"echo","params":["x"]} {"method":"locked","params":[],"id":null}{"id":77,"result":[],"error":null}"#;
        let answers = ["", r#"{"id":1,"error":null,"result":[{"count":3}]}"#, ""];
        let (results, heard) = converse(greeting, &answers, LONG, |client| client.transact("count", &[json!({"op": "mutate"})]));
        assert_eq!(results.unwrap(), [json!({"count": 3})]);
        assert_eq!(heard[0].to_string(), r#"{"id":1,"method":"transact","params":["Open_vSwitch",{"op":"mutate"}]}"#);
        assert_eq!(heard[1].to_string(), r#"{"error":null,"id":"echo","result":["x"]}"#);
    }

    #[test]
    fn a_refusal_is_kept_word_for_word() {
        let cases = [
            (r#"{"id":1,"error":null,"result":[{},{"error":"constraint violation","details":"no"},null]}"#, 1, "constraint violation (no)"),
            (r#"{"id":1,"error":null,"result":[{},{},{},{"error":"referential integrity violation"}]}"#, 3, "referential integrity"),
            (r#"{"id":1,"error":{"error":"unknown database","details":"no database Open_vSwitch"},"result":null}"#, 0, "(no database"),
            (r#"{"id":1,"error":"unknown method","result":null}"#, 0, "unknown method"),
        ];
        for (answer, place, words) in cases {
            let (outcome, _) = converse("", &[answer], LONG, |client| client.transact("add port tap1", &vec![json!({}); 3]));
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::Refused { operation, .. } if *operation == place), "{error:?}");
            assert!(error.to_string().contains(words) && error.to_string().starts_with("add port tap1: "), "{error}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for (answer, words) in [
            ("not json", "not understood"),
            (r#"{"id":1,"error":null,"result":7}"#, "no list of results"),
            (r#"{"id":1,"error":null,"result":[]}"#, "fewer results"),
            ("", "broke"),
            (r#"{"id":1,"#, "broke"),
        ] {
            let (outcome, _) = converse("", &[answer], LONG, |client| client.transact("list", &[json!({})]));
            let text = outcome.unwrap_err().to_string();
            assert!(text.contains(words), "{answer}: {text}");
        }
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let time = Duration::from_millis(50);
        let (outcome, heard) = converse("", &["", ""], time, |client| client.transact("add port tap1", &[json!({})]));
        assert!(matches!(outcome.unwrap_err(), Error::Timeout { .. }));
        assert_eq!(heard.len(), 1);
        // The time is the conversation's, not the call's.
        let again = |client: &mut Client| (client.transact("a", &[]).is_err(), client.transact("b", &[]).unwrap_err());
        let (outcome, heard) = converse("", &["", ""], time, again);
        assert!(matches!(outcome, (true, Error::Timeout { .. })));
        assert_eq!(heard.len(), 1);
    }

    #[test]
    fn follows_the_switch_until_it_has_caught_up() {
        let first = r#"{"id":1,"error":null,"result":{"Open_vSwitch":{"u":{"new":{"cur_cfg":4}}}}}
            {"method":"update","id":null,"params":[null,{"Open_vSwitch":{"u":{"old":{"cur_cfg":4},"new":{"cur_cfg":5}}}}]}
            {"method":"update","id":null,"params":[null,{"Open_vSwitch":{"u":{"old":{"cur_cfg":5},"new":{"cur_cfg":7}}}}]}"#;
        let ask = |client: &mut Client| {
            client.await_switch("add port", 6)?;
            // Known by now, without another question.
            client.await_switch("add port", 7)?;
            client.await_switch("add port", 8)
        };
        let (outcome, heard) = converse("", &[first, ""], Duration::from_millis(300), ask);
        assert!(matches!(outcome.unwrap_err(), Error::SwitchTimeout { .. }));
        assert_eq!(
            heard[0].to_string(),
            r#"{"id":1,"method":"monitor","params":["Open_vSwitch",null,{"Open_vSwitch":{"columns":["cur_cfg"]}}]}"#
        );
        assert_eq!(heard.len(), 1);
    }

    #[test]
    fn a_missing_socket_is_named() {
        let error = Client::connect(Path::new("/nonexistent/db.sock"), LONG).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/db.sock") && error.contains("ovsdb_socket"), "{error}");
    }

    #[test]
    fn a_server_that_accepts_nobody_ends_at_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut queued = Vec::new();
        // Fill its queue, of whatever length.
        let error = loop {
            match Client::connect(&path, Duration::from_millis(20)) {
                Ok(client) => queued.push(client),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Connect { .. }) && !queued.is_empty());
    }
}
