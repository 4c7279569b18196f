//! Reading the engine's JSON: null, absent and the empty value are one, unknown fields do not matter, and a wrong value is named.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::Error;
use crate::{
    core::request::{DockerId, DriverOptions, MTU_OPTION},
    mac::MacAddr,
};

/// How much of a wrong value is shown, in characters.
const SHOWN: usize = 200;
/// The longest value that an option of ours can have: a list of security groups.
const LONGEST: usize = 4096;

/// One JSON object of a request.
#[derive(Debug)]
pub struct Fields<'a> {
    call: &'a str,
    object: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Takes the body of `call`.
    pub fn parse(call: &'a str, body: &[u8]) -> Result<Self, Error> {
        if body.trim_ascii().is_empty() {
            return Err(Error::EmptyBody { call: call.to_owned() });
        }
        let refused = |reason: String| Error::NotJson { call: call.to_owned(), body: shorten(&String::from_utf8_lossy(body)), reason };
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(Self { call, object }),
            Ok(_) => Err(refused("another JSON value".to_owned())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn refused(&self, field: &str, value: &str, expected: &'static str) -> Error {
        Error::Field { call: self.call.to_owned(), field: field.to_owned(), value: shorten(value), expected }
    }

    fn wrong_type(&self, field: &str, value: &Value, expected: &'static str) -> Error {
        self.refused(field, &value.to_string(), expected)
    }

    /// A text; empty when absent.
    pub fn text(&self, field: &str) -> Result<&str, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong_type(field, other, "a text")),
        }
    }

    /// A truth value, also as a text; false when absent.
    pub fn flag(&self, field: &str) -> Result<bool, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" || text.is_empty() => Ok(false),
            Some(other) => Err(self.wrong_type(field, other, "true or false")),
        }
    }

    /// A whole number that its type can hold; 0 when absent.
    pub fn number<N: TryFrom<u64> + Default>(&self, field: &str, expected: &'static str) -> Result<N, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(N::default()),
            Some(value) => {
                value.as_u64().and_then(|number| N::try_from(number).ok()).ok_or_else(|| self.wrong_type(field, value, expected))
            }
        }
    }

    /// An inner object; an empty one when absent.
    pub fn object(&self, field: &str) -> Result<Fields<'a>, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(Fields { call: self.call, object: Map::new() }),
            Some(Value::Object(object)) => Ok(Fields { call: self.call, object: object.clone() }),
            Some(other) => Err(self.wrong_type(field, other, "an object")),
        }
    }

    /// A list of objects; empty when absent.
    pub fn objects(&self, field: &str) -> Result<Vec<Fields<'a>>, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    Value::Object(object) => Ok(Fields { call: self.call, object: object.clone() }),
                    other => Err(self.wrong_type(field, other, "a list of objects")),
                })
                .collect(),
            Some(other) => Err(self.wrong_type(field, other, "a list of objects")),
        }
    }

    /// A network or endpoint id, which must be there.
    pub fn id(&self, field: &str) -> Result<DockerId, Error> {
        let text = self.text(field)?;
        DockerId::parse(text).ok_or_else(|| self.refused(field, text, "an id of 64 digits [0-9a-f] or 25 characters [0-9a-z]"))
    }

    /// A pool id as this daemon gave it out.
    pub fn pool_id(&self, field: &str) -> Result<Uuid, Error> {
        let text = self.text(field)?;
        Uuid::parse_str(text).map_err(|_| self.refused(field, text, "a pool id (UUID) that this driver gave out"))
    }

    /// A subnet in CIDR form with no host bits; none when empty.
    pub fn subnet(&self, field: &str) -> Result<Option<IpNet>, Error> {
        let Some(net) = self.interface_address(field)? else { return Ok(None) };
        if net.addr() == net.network() {
            return Ok(Some(net));
        }
        Err(self.refused(
            field,
            self.text(field)?,
            "the first address of a subnet with its prefix length: it has bits set behind the prefix",
        ))
    }

    /// An address with its prefix length; none when empty.
    pub fn interface_address(&self, field: &str) -> Result<Option<IpNet>, Error> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| self.refused(field, text, "an address with a prefix length such as 10.0.0.0/24"))
    }

    /// A bare address; none when empty.
    pub fn address(&self, field: &str) -> Result<Option<IpAddr>, Error> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| self.refused(field, text, "an address without a prefix length"))
    }

    /// The address of a gateway or an auxiliary address: with a prefix length as engines write it, or bare.
    pub fn address_with_or_without_prefix(&self, field: &str) -> Result<Option<IpAddr>, Error> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse());
        parsed.map(Some).map_err(|_| self.refused(field, text, "an address, bare or with a prefix length"))
    }

    /// A MAC address: as text in `Interface` and in IPAM options, as base64 of the six bytes (Go's `[]byte`) in endpoint options.
    pub fn mac(&self, field: &str) -> Result<Option<MacAddr>, Error> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(mac) = text.parse() {
            return Ok(Some(mac));
        }
        let octets = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        octets.map(|octets| Some(MacAddr(octets))).ok_or_else(|| self.refused(field, text, "a MAC address such as fa:16:3e:00:00:01"))
    }

    /// A list of texts; empty when absent.
    pub fn texts(&self, field: &str) -> Result<Vec<&str>, Error> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or_else(|| self.wrong_type(field, item, "a list of texts"))).collect()
            }
            Some(other) => Err(self.wrong_type(field, other, "a list of texts")),
        }
    }

    /// The error for a subnet in `field` whose family is not the one asked for.
    pub fn wrong_family(&self, field: &str, v6: bool) -> Result<Error, Error> {
        Ok(self.refused(field, self.text(field)?, if v6 { "an IPv6 subnet" } else { "an IPv4 subnet" }))
    }

    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// [`Fields::options`], of which those that kuryr reads must be scalars that make one line.
    pub fn driver_options(&self) -> Result<DriverOptions, Error> {
        for (name, value) in self.object.iter().filter(|(name, _)| is_ours(name)) {
            match value {
                Value::Array(_) | Value::Object(_) => return Err(self.wrong_type(name, value, "a text")),
                Value::String(text) if text.chars().any(char::is_control) => return Err(self.refused(name, text, "a text of one line")),
                Value::String(text) if text.len() > LONGEST => return Err(self.refused(name, text, "a text of at most 4096 bytes")),
                _ => {}
            }
        }
        Ok(self.options())
    }

    /// The scalars of this object as text. What a driver option holds is its reader's affair: lists and objects (the port map) are passed over.
    pub fn options(&self) -> DriverOptions {
        let scalar = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        self.object.iter().filter_map(|(name, value)| Some((name.clone(), scalar(value)?))).collect()
    }
}

/// Whether an option is read by kuryr, and not by the engine or another driver.
fn is_ours(name: &str) -> bool {
    name.starts_with("neutron.") || name.starts_with("kuryr.") || name == MTU_OPTION
}

/// A text of the engine's as it may stand in one line of an error.
fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN).flat_map(escaped).collect();
    if characters.next().is_some() { shown + "..." } else { shown }
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let (plain, escape) = if character.is_control() { (None, Some(character.escape_default())) } else { (Some(character), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_shown_in_one_line_of_bounded_length() {
        assert_eq!(shorten("grün\n\"x\"\u{7}"), r#"grün\n"x"\u{7}"#);
        assert_eq!(shorten(&"ü".repeat(SHOWN)).chars().count(), SHOWN);
        assert!(shorten(&"ü".repeat(SHOWN + 1)).ends_with("ü..."));
    }
}
