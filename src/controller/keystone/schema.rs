//! The bodies that Keystone takes, checked as its JSON schemas do (keystone/*/schema.py) and refused in their words.

use std::collections::HashSet;

use serde_json::Value;

use super::{bad_request, expected};
use crate::controller::{ApiError, store::Object};

/// What a property may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A text of 1 to so many characters, not all blank; blanks around it are taken off, as Keystone does.
    Name(usize),
    /// Any text.
    Text,
    /// Letters, digits and dashes, 1 to 64 of them.
    Id,
    /// A real boolean.
    Flag,
    /// At most 80 different texts of 1 to 255 characters without comma and slash.
    Tags,
    /// An array, whose items are looked at where they are used.
    List,
    /// An object with these booleans.
    Options(&'static [&'static str]),
    /// Nothing but null.
    Nothing,
}

/// A property that a body may have.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

/// A property that is not null.
pub const fn property(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, nullable: false }
}

/// A property that may be null.
pub const fn nullable(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, nullable: true }
}

/// A body's one member: its name, its properties, which of them must be there, and whether others are kept beside them, as Keystone keeps
/// them for users and projects.
#[derive(Debug)]
pub struct Schema {
    /// Such as `user`.
    pub member: &'static str,
    /// What it may have.
    pub properties: &'static [Property],
    /// What it must have; without any, it must at least not be empty.
    pub required: &'static [&'static str],
    /// Whether properties of other names are welcome.
    pub open: bool,
}

/// A JSON object; an empty body counts as one.
pub fn object(body: &[u8]) -> Result<Object, ApiError> {
    if body.is_empty() {
        return Ok(Object::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(expected("valid JSON", "request body")),
    }
}

impl Schema {
    /// The member of a body, checked.
    pub fn read(&self, body: &[u8]) -> Result<Object, ApiError> {
        let mut body = object(body)?;
        let member = body.remove(self.member).ok_or_else(|| missing(self.member))?;
        if let Some(name) = body.keys().next() {
            return Err(unexpected(name));
        }
        let Value::Object(mut member) = member else { return Err(invalid(self.member, &not_of(&member, "object"))) };
        // A link in a body is the echo of an answer.
        member.remove("links");
        if member.is_empty() && self.required.is_empty() {
            return Err(invalid(self.member, "{} does not have enough properties"));
        }
        if let Some(name) = self.required.iter().find(|name| !member.contains_key(**name)) {
            return Err(missing(name));
        }
        for (name, value) in &mut member {
            match self.properties.iter().find(|property| property.name == name) {
                Some(property) => property.check(value)?,
                None if self.open => {}
                None => return Err(unexpected(name)),
            }
        }
        Ok(member)
    }
}

impl Property {
    fn check(&self, value: &mut Value) -> Result<(), ApiError> {
        if self.nullable && value.is_null() {
            return Ok(());
        }
        if let Some(fault) = self.kind.fault(value) {
            return Err(invalid(self.name, &fault));
        }
        if let (Kind::Name(_), Value::String(text)) = (self.kind, value) {
            *text = text.trim().to_owned();
        }
        Ok(())
    }
}

impl Kind {
    /// What is wrong with the value, if anything.
    fn fault(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Flag, Value::Bool(_)) | (Self::List, Value::Array(_)) => None,
            (Self::Name(limit), Value::String(text)) => {
                length(text, limit).or_else(|| text.trim().is_empty().then(|| format!("'{text}' does not match '[\\\\S]+'")))
            }
            (Self::Id, Value::String(text)) => length(text, 64).or_else(|| {
                let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                (!plain).then(|| format!("'{text}' does not match '^[a-zA-Z0-9-]+$'"))
            }),
            (Self::Tags, Value::Array(tags)) => tags_fault(tags),
            (Self::Options(known), Value::Object(options)) => options.iter().find_map(|(name, value)| {
                if !known.contains(&name.as_str()) {
                    return Some(format!("Additional properties are not allowed ('{name}' was unexpected)"));
                }
                // Null takes an option away.
                (!value.is_boolean() && !value.is_null()).then(|| not_of(value, "boolean"))
            }),
            (Self::Text | Self::Name(_) | Self::Id, other) => Some(not_of(other, "string")),
            (Self::Flag, other) => Some(not_of(other, "boolean")),
            (Self::List | Self::Tags, other) => Some(not_of(other, "array")),
            (Self::Options(_), other) => Some(not_of(other, "object")),
            (Self::Nothing, other) => Some(not_of(other, "null")),
        }
    }
}

fn length(text: &str, limit: usize) -> Option<String> {
    let length = text.chars().count();
    match length {
        0 => Some("'' is too short".to_owned()),
        _ if length > limit => Some(format!("'{text}' is too long")),
        _ => None,
    }
}

fn tags_fault(tags: &[Value]) -> Option<String> {
    let mut seen = HashSet::new();
    for tag in tags {
        let Some(text) = tag.as_str() else { return Some(not_of(tag, "string")) };
        if let Some(fault) = length(text, 255) {
            return Some(fault);
        }
        if text.contains([',', '/']) {
            return Some(format!("'{text}' does not match '^[^,/]*$'"));
        }
        if !seen.insert(text) {
            return Some(format!("{} has non-unique elements", Value::from(tags)));
        }
    }
    (tags.len() > 80).then(|| format!("{} is too long", Value::from(tags)))
}

fn not_of(value: &Value, kind: &str) -> String {
    match value.as_str() {
        Some(text) => format!("'{text}' is not of type '{kind}'"),
        None => format!("{value} is not of type '{kind}'"),
    }
}

/// 400 for a property that must be there.
pub fn missing(name: &str) -> ApiError {
    bad_request(format!("'{name}' is a required property"))
}

/// 400 for a property that nothing is known of.
pub fn unexpected(name: &str) -> ApiError {
    bad_request(format!("Additional properties are not allowed ('{name}' was unexpected)"))
}

/// 400 for a property's value.
pub fn invalid(name: &str, fault: &str) -> ApiError {
    bad_request(format!("Invalid input for field '{name}': {fault}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROPERTIES: &[Property] = &[
        property("name", Kind::Name(5)),
        nullable("description", Kind::Text),
        property("enabled", Kind::Flag),
        property("parent", Kind::Id),
        property("tags", Kind::Tags),
        property("options", Kind::Options(&["immutable"])),
    ];
    const OPEN: Schema = Schema { member: "thing", properties: PROPERTIES, required: &["name"], open: true };
    const CLOSED: Schema = Schema { member: "thing", properties: PROPERTIES, required: &[], open: false };

    fn fault(schema: &Schema, body: &str) -> String {
        schema.read(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn good_bodies_are_taken_as_they_are() {
        let thing = json!({"name": "a b", "description": null, "enabled": false, "parent": "a-1", "tags": ["x", "y"],
            "options": {"immutable": null}, "email": "a@b"});
        assert_eq!(Value::Object(OPEN.read(json!({"thing": thing}).to_string().as_bytes()).unwrap()), thing);
        assert!(CLOSED.read(br#"{"thing": {"enabled": true}}"#).is_ok());
    }

    #[test]
    fn bad_bodies_are_refused_in_keystones_words() {
        for (body, says) in [
            ("", "'thing' is a required property"),
            ("{", "Expecting to find valid JSON in request body"),
            ("[]", "Expecting to find valid JSON in request body"),
            (r#"{"thing": 5}"#, "5 is not of type 'object'"),
            (r#"{"thing": {}}"#, "'name' is a required property"),
            (r#"{"thing": {"name": "a"}, "other": 1}"#, "('other' was unexpected)"),
            (r#"{"thing": {"name": ""}}"#, "'name': '' is too short"),
            (r#"{"thing": {"name": "  "}}"#, "does not match"),
            (r#"{"thing": {"name": "abcdef"}}"#, "'abcdef' is too long"),
            (r#"{"thing": {"name": null}}"#, "null is not of type 'string'"),
            (r#"{"thing": {"name": "a", "enabled": "true"}}"#, "'enabled': 'true' is not of type 'boolean'"),
            (r#"{"thing": {"name": "a", "parent": "a_1"}}"#, "'a_1' does not match"),
            (r#"{"thing": {"name": "a", "tags": ["x", "x"]}}"#, "non-unique"),
            (r#"{"thing": {"name": "a", "tags": ["x,y"]}}"#, "does not match"),
            (r#"{"thing": {"name": "a", "options": {"other": true}}}"#, "('other' was unexpected)"),
            (r#"{"thing": {"name": "a", "options": {"immutable": 1}}}"#, "1 is not of type 'boolean'"),
        ] {
            let message = fault(&OPEN, body);
            assert!(message.contains(says), "{body}: {message}");
        }
        assert!(fault(&CLOSED, r#"{"thing": {}}"#).contains("does not have enough properties"));
        assert!(fault(&CLOSED, r#"{"thing": {"email": "a"}}"#).contains("('email' was unexpected)"));
    }
}
