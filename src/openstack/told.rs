//! What an error body says, whoever wrote it.

use serde_json::{Map, Value};

/// The most that is kept of a text that is not the service's own.
const EXCERPT: usize = 200;

/// The parts of an error body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Neutron's `type` or Keystone's `title`.
    pub kind: String,
    pub message: String,
    /// Neutron's `detail`.
    pub detail: String,
}

impl Told {
    /// Reads, in this order of shapes:
    ///
    /// * Neutron: `{"NeutronError": {"type", "message", "detail"}}`, the older `{"NeutronError": "text"}`;
    /// * Keystone and its middleware: `{"error": {"code", "title", "message"}}`;
    /// * the policy layer and WSME: `{"message": "text"}`, `{"faultstring": "text"}`;
    /// * webob: `{"badRequest": {"code", "message"}}` under the name of the status;
    /// * a page or a plain line of a proxy.
    pub fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Self::of_object(&members),
            Ok(Value::String(text)) => Self::of_text(&text),
            _ => Self::of_text(&plain(&String::from_utf8_lossy(body))),
        }
    }

    fn of_object(members: &Map<String, Value>) -> Self {
        for name in ["NeutronError", "error", "message", "faultstring"] {
            match members.get(name) {
                Some(Value::Object(inside)) => return Self::of_error(inside),
                Some(Value::String(text)) => return Self { message: text.clone(), ..Self::default() },
                _ => {}
            }
        }
        let inside = members.values().find_map(Value::as_object);
        inside.map_or_else(|| Self::of_text(&Value::Object(members.clone()).to_string()), Self::of_error)
    }

    fn of_error(inside: &Map<String, Value>) -> Self {
        let text = |name: &str| match inside.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let kind = if inside.contains_key("type") { text("type") } else { text("title") };
        Self { kind, message: text("message"), detail: text("detail") }
    }

    fn of_text(text: &str) -> Self {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { message: line.chars().take(EXCERPT).collect(), ..Self::default() }
    }
}

/// The text of a page without its marks; other text as it is.
fn plain(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    let mut plain = String::new();
    // The title mostly says the same as the first heading.
    let body = text.split_once("</head>").map_or(text, |(_, body)| body);
    for part in body.split('<') {
        // What stands before the first mark has no end of one.
        plain.push_str(part.split_once('>').map_or("", |(_, words)| words));
        plain.push(' ');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, message: &str, detail: &str) -> Told {
        Told { kind: kind.to_owned(), message: message.to_owned(), detail: detail.to_owned() }
    }

    #[test]
    fn every_shape_of_error_body_is_read() {
        let page = "<html>\n <head>\n  <title>401 Unauthorized</title>\n </head>\n <body>\n  <h1>401 Unauthorized</h1>\n  Not allowed.<br /><br />\n </body>\n</html>";
        for (body, wanted) in [
            (r#"{"NeutronError": {"type": "OverQuota", "message": "m", "detail": "d"}}"#, told("OverQuota", "m", "d")),
            (r#"{"NeutronError": {"type": "X", "message": {"port": "m"}, "detail": null}}"#, told("X", r#"{"port":"m"}"#, "")),
            (r#"{"NeutronError": "Extension tag not found"}"#, told("", "Extension tag not found", "")),
            (r#"{"error": {"code": 401, "title": "Unauthorized", "message": "m"}}"#, told("Unauthorized", "m", "")),
            (
                r#"{"code": 403, "message": "rule:create_port is disallowed by policy", "title": null}"#,
                told("", "rule:create_port is disallowed by policy", ""),
            ),
            (r#"{"debuginfo": null, "faultcode": "Client", "faultstring": "Invalid input"}"#, told("", "Invalid input", "")),
            (r#"{"badRequest": {"code": 400, "message": "m"}}"#, told("", "m", "")),
            (r#"{"status": "down"}"#, told("", r#"{"status":"down"}"#, "")),
            (r#""a text""#, told("", "a text", "")),
            ("Authentication required\n", told("", "Authentication required", "")),
            (page, told("", "401 Unauthorized Not allowed.", "")),
            ("", told("", "", "")),
        ] {
            assert_eq!(Told::read(body.as_bytes()), wanted, "{body}");
        }
        assert_eq!(Told::read("x".repeat(5000).as_bytes()).message.len(), EXCERPT);
        assert_eq!(Told::read(b"\xff\xfe").message, "\u{fffd}\u{fffd}");
    }
}
