//! What a list's query string asks for: filters, tags, `fields`, sorting and paging.

use std::{cmp::Ordering, collections::HashSet};

use serde_json::{Value, json};

use super::{
    attributes::{boolean, named, plain},
    error::ApiError,
    resource::Resource,
    store::Object,
};

/// The pairs of a query string; a name may stand there several times.
pub type Query = Vec<(String, String)>;

/// Names that a query may hold besides attributes.
const RESERVED: &[&str] =
    &["fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse", "tags", "tags-any", "not-tags", "not-tags-any"];

fn values<'q>(query: &'q Query, name: &str) -> Vec<&'q str> {
    query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
}

/// Filters, sorts and cuts `objects`; the second part is the `<collection>_links`, present when paging was asked for.
pub fn page(resource: &Resource, mut objects: Vec<Object>, query: &Query, url: &str) -> Result<(Vec<Object>, Option<Value>), ApiError> {
    let names: HashSet<&str> = query.iter().map(|(name, _)| name.as_str()).filter(|name| !RESERVED.contains(name)).collect();
    for name in names {
        if named(resource.attributes, name).is_none() {
            return Err(ApiError::bad_request("HTTPBadRequest", format!("['{name}'] is invalid attribute for filtering")));
        }
        let wanted = values(query, name);
        if name == "fixed_ips" {
            objects.retain(|object| has_address(object, &wanted));
            continue;
        }
        objects.retain(|object| object.get(name).is_some_and(|value| wanted.iter().any(|text| matches(value, text))));
    }
    objects.retain(|object| tags_match(object, query));
    let limit = match values(query, "limit").last() {
        Some(text) => Some(text.parse::<usize>().map_err(|_| {
            ApiError::bad_request("BadRequest", format!("Bad limit request: Limit must be an integer 0 or greater and not '{text}'"))
        })?),
        None => None,
    };
    let reverse = values(query, "page_reverse").last().is_some_and(|text| boolean(&json!(text)) == Some(true));
    sort(resource, &mut objects, query, limit.is_some())?;
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return Ok((objects, None)) };

    let marker = values(query, "marker").last().map(|marker| (*marker).to_owned());
    let position = match &marker {
        Some(marker) => {
            let at = objects.iter().position(|object| object.get("id") == Some(&json!(marker)));
            Some(at.ok_or_else(|| ApiError::not_found(resource.not_found, resource.title, marker))?)
        }
        None => None,
    };
    let range = match (position, reverse) {
        (Some(at), false) => at + 1..(at + 1 + limit).min(objects.len()),
        (Some(at), true) => at.saturating_sub(limit)..at,
        (None, false) => 0..limit.min(objects.len()),
        (None, true) => objects.len().saturating_sub(limit)..objects.len(),
    };
    let (more_before, more_after) = (range.start > 0, range.end < objects.len());
    let objects: Vec<Object> = objects.drain(range).collect();
    let mut links = Vec::new();
    let mut link = |rel: &str, object: Option<&Object>, back: bool| {
        let Some(id) = object.and_then(|object| object.get("id")) else { return };
        let kept = query.iter().filter(|(name, _)| name != "marker" && name != "page_reverse");
        let mut pairs: Vec<String> = kept.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        pairs.push(format!("marker={}", plain(id)));
        if back {
            pairs.push("page_reverse=True".to_owned());
        }
        links.push(json!({"rel": rel, "href": format!("{url}?{}", pairs.join("&"))}));
    };
    if more_after {
        link("next", objects.last(), false);
    }
    if more_before {
        link("previous", objects.first(), true);
    }
    Ok((objects, Some(Value::Array(links))))
}

/// Keeps only the `fields` asked for.
pub fn project_fields(object: Object, query: &Query) -> Object {
    let fields = values(query, "fields");
    if fields.is_empty() {
        return object;
    }
    object.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect()
}

/// Whether one of a port's addresses is as `fixed_ips=key=value` asks, given several times: values of one key are alternatives, those of
/// different keys must be true of the same address.
fn has_address(port: &Object, wanted: &[&str]) -> bool {
    let pairs: Option<Vec<(&str, &str)>> = wanted.iter().map(|text| text.split_once('=')).collect();
    let Some(pairs) = pairs else { return false };
    let keys: HashSet<&str> = pairs.iter().map(|(key, _)| *key).collect();
    let fits = |entry: &Value, key: &str, value: &str| match key {
        "ip_address_substr" => entry.get("ip_address").is_some_and(|address| plain(address).contains(value)),
        _ => entry.get(key).is_some_and(|found| plain(found) == value),
    };
    let list = port.get("fixed_ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().any(|entry| keys.iter().all(|key| pairs.iter().any(|(name, value)| name == key && fits(entry, key, value))))
}

fn matches(value: &Value, text: &str) -> bool {
    match value {
        Value::Bool(flag) => boolean(&json!(text)) == Some(*flag),
        Value::Null => text.is_empty() || text == "None",
        Value::Array(list) => list.iter().any(|entry| plain(entry) == text),
        other => plain(other) == text,
    }
}

/// Whether an object's tags are as `tags`, `tags-any`, `not-tags` and `not-tags-any` ask.
pub fn tags_match(object: &Object, query: &Query) -> bool {
    let held: HashSet<&str> = object.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let asked = |name: &str| -> Option<Vec<&str>> {
        let list: Vec<&str> = values(query, name).into_iter().flat_map(|value| value.split(',')).collect();
        (!list.is_empty()).then_some(list)
    };
    let all = |list: Vec<&str>| list.iter().all(|tag| held.contains(tag));
    let any = |list: Vec<&str>| list.iter().any(|tag| held.contains(tag));
    asked("tags").is_none_or(all)
        && asked("tags-any").is_none_or(any)
        && asked("not-tags").is_none_or(|list| !all(list))
        && asked("not-tags-any").is_none_or(|list| !any(list))
}

fn sort(resource: &Resource, objects: &mut [Object], query: &Query, paged: bool) -> Result<(), ApiError> {
    let mut keys = values(query, "sort_key");
    let directions = values(query, "sort_dir");
    if !directions.is_empty() && directions.len() != keys.len() {
        return Err(ApiError::bad_request("HTTPBadRequest", "The number of sort_keys and sort_dirs must be same"));
    }
    for key in &keys {
        if named(resource.attributes, key).is_none() {
            return Err(ApiError::bad_request("HTTPBadRequest", format!("['{key}'] is invalid attribute for sort key")));
        }
    }
    if let Some(wrong) = directions.iter().find(|direction| !["asc", "desc"].contains(direction)) {
        let message = format!("'{wrong}' is invalid value for sort_dirs, must be asc or desc");
        return Err(ApiError::bad_request("HTTPBadRequest", message));
    }
    // Pages need one order for all requests.
    if paged && !keys.contains(&"id") {
        keys.push("id");
    }
    objects.sort_by(|left, right| {
        for (at, key) in keys.iter().enumerate() {
            let order = compare(left.get(*key), right.get(*key));
            let order = if directions.get(at) == Some(&"desc") { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    });
    Ok(())
}

fn compare(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left.and_then(Value::as_i64), right.and_then(Value::as_i64)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.map(plain).cmp(&right.map(plain)),
    }
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
