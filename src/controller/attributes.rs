//! What a resource's body may hold: each attribute's type, default, and who may set it when. Everything else is refused with 400.

use std::net::IpAddr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{context::Context, error::ApiError, store::Object};

/// The type of an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text(usize),
    /// A boolean, also as Python's or a shell's text for one.
    Bool,
    /// A whole number, also as text, or null.
    Integer,
    /// A UUID as text, or null.
    Id,
    /// An IP address or null.
    Address,
    /// A list.
    List,
    /// An object; null is an empty one.
    Map,
    /// Anything; the resource looks at it itself.
    Any,
}

/// What a create without the attribute gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// 400: it must be given.
    Required,
    /// Nothing: the resource fills it in.
    Absent,
    /// `null`.
    Null,
    /// `""`.
    Empty,
    /// `true`.
    True,
    /// `false`.
    False,
    /// `[]`.
    List,
    /// `{}`.
    Map,
}

/// One attribute of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// Its name in the API.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What a create without it gets.
    pub preset: Preset,
    /// Whether a create may give it.
    pub post: bool,
    /// Whether an update may give it.
    pub put: bool,
    /// Whether only an administrator may give it.
    pub admin: bool,
}

/// An attribute for create and update.
pub const fn writable(name: &'static str, kind: Kind, preset: Preset) -> Attribute {
    Attribute { name, kind, preset, post: true, put: true, admin: false }
}

/// An attribute for create only.
pub const fn fixed(name: &'static str, kind: Kind, preset: Preset) -> Attribute {
    Attribute { name, kind, preset, post: true, put: false, admin: false }
}

/// An attribute that the controller sets; it is a name for filters and sorting.
pub const fn computed(name: &'static str) -> Attribute {
    Attribute { name, kind: Kind::Any, preset: Preset::Absent, post: false, put: false, admin: false }
}

impl Attribute {
    /// The same attribute, for administrators only.
    pub const fn for_admins(mut self) -> Self {
        self.admin = true;
        self
    }
}

/// The attributes of every resource.
pub const STANDARD: &[Attribute] = &[
    computed("id"),
    computed("created_at"),
    computed("updated_at"),
    computed("revision_number"),
    computed("tags"),
    fixed("project_id", Kind::Text(255), Preset::Absent),
    fixed("tenant_id", Kind::Text(255), Preset::Absent),
    writable("description", Kind::Text(255), Preset::Empty),
];

/// Finds an attribute of a resource by name.
pub fn named(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().chain(STANDARD).find(|attribute| attribute.name == name)
}

/// Checks a create's body and completes it with the presets.
pub fn for_create(attributes: &'static [Attribute], context: &Context, mut body: Object) -> Result<Object, ApiError> {
    refuse_unknown(attributes, &body)?;
    for attribute in attributes.iter().chain(STANDARD) {
        match body.remove(attribute.name) {
            Some(_) if !attribute.post => {
                return Err(ApiError::bad_request("HTTPBadRequest", format!("Attribute '{}' not allowed in POST", attribute.name)));
            }
            Some(value) => {
                let value = check(attribute, value)?;
                let unset = preset(attribute.preset) == Some(value.clone());
                if attribute.admin && !context.admin && !unset {
                    return Err(ApiError::forbidden(&format!("rule:create_{}", attribute.name)));
                }
                body.insert(attribute.name.to_owned(), value);
            }
            None if attribute.preset == Preset::Required => {
                let message = format!("Failed to parse request. Required attribute '{}' not specified", attribute.name);
                return Err(ApiError::bad_request("HTTPBadRequest", message));
            }
            None => {
                if let Some(value) = preset(attribute.preset) {
                    body.insert(attribute.name.to_owned(), value);
                }
            }
        }
    }
    Ok(body)
}

/// Checks an update's body.
pub fn for_update(attributes: &'static [Attribute], context: &Context, body: Object) -> Result<Object, ApiError> {
    refuse_unknown(attributes, &body)?;
    let mut changes = Object::new();
    for (name, value) in body {
        let Some(attribute) = named(attributes, &name) else { continue };
        if !attribute.put {
            return Err(ApiError::bad_request("HTTPBadRequest", format!("Cannot update read-only attribute {name}")));
        }
        if attribute.admin && !context.admin {
            return Err(ApiError::forbidden(&format!("rule:update_{name}")));
        }
        changes.insert(name, check(attribute, value)?);
    }
    Ok(changes)
}

fn refuse_unknown(attributes: &'static [Attribute], body: &Object) -> Result<(), ApiError> {
    let unknown: Vec<&str> = body.keys().map(String::as_str).filter(|name| named(attributes, name).is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request("HTTPBadRequest", format!("Unrecognized attribute(s) '{}'", unknown.join(", "))))
}

fn preset(preset: Preset) -> Option<Value> {
    match preset {
        Preset::Required | Preset::Absent => None,
        Preset::Null => Some(Value::Null),
        Preset::Empty => Some(json!("")),
        Preset::True => Some(json!(true)),
        Preset::False => Some(json!(false)),
        Preset::List => Some(json!([])),
        Preset::Map => Some(json!({})),
    }
}

/// Converts a value to its attribute's type, in Neutron's words where it cannot be.
fn check(attribute: &Attribute, value: Value) -> Result<Value, ApiError> {
    let refused = |reason: String| Err(ApiError::invalid_input(attribute.name, reason));
    // Neutron converts before it checks, and then no longer says which attribute it is about.
    let unconverted = |reason: String| Err(ApiError::bad_request("InvalidInput", format!("Invalid input for operation: {reason}.")));
    match (attribute.kind, value) {
        (Kind::Text(limit), Value::String(text)) if text.chars().count() <= limit => Ok(Value::String(text)),
        (Kind::Text(limit), Value::String(text)) => refused(format!("'{text}' exceeds maximum length of {limit}")),
        (Kind::Text(_), Value::Null) if attribute.preset == Preset::Empty => Ok(json!("")),
        (Kind::Text(_), other) => refused(format!("'{other}' is not a valid string")),
        (Kind::Bool, value) => match boolean(&value) {
            Some(flag) => Ok(Value::Bool(flag)),
            None => unconverted(format!("'{}' cannot be converted to boolean", plain(&value))),
        },
        (Kind::Integer | Kind::Id | Kind::Address, Value::Null) => Ok(Value::Null),
        (Kind::Integer, value) => match plain(&value).parse::<i64>() {
            Ok(number) => Ok(json!(number)),
            Err(_) => unconverted(format!("'{}' is not an integer", plain(&value))),
        },
        (Kind::Id, value) => match Uuid::parse_str(&plain(&value)) {
            Ok(id) => Ok(json!(id.to_string())),
            Err(_) => refused(format!("'{}' is not a valid UUID", plain(&value))),
        },
        (Kind::Address, value) => match plain(&value).parse::<IpAddr>() {
            Ok(address) => Ok(json!(address.to_string())),
            Err(_) => refused(format!("'{}' is not a valid IP address", plain(&value))),
        },
        (Kind::List, Value::Array(list)) => Ok(Value::Array(list)),
        (Kind::List, Value::Null) => Ok(json!([])),
        (Kind::List, other) => refused(format!("'{}' is not a list", plain(&other))),
        (Kind::Map, Value::Object(map)) => Ok(Value::Object(map)),
        (Kind::Map, Value::Null) => Ok(json!({})),
        (Kind::Map, other) => refused(format!("'{}' is not a dictionary", plain(&other))),
        (Kind::Any, value) => Ok(value),
    }
}

/// A boolean in any of the spellings that Neutron takes.
pub fn boolean(value: &Value) -> Option<bool> {
    match plain(value).to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A value as a query writes it: text without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
