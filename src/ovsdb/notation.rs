//! RFC 7047 section 5.1: how values stand in JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A map as `["map", [[key, value], ...]]`.
pub(super) fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| json!([key, value])).collect();
    json!(["map", pairs])
}

/// Rows of the answer to a `select`.
pub(super) fn rows(result: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    result.get("rows").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// The pairs of a map of texts; anything else has none.
pub(super) fn pairs(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some([Value::String(kind), Value::Array(pairs)]) = value.and_then(Value::as_array).map(Vec::as_slice) else {
        return BTreeMap::new();
    };
    if kind != "map" {
        return BTreeMap::new();
    }
    let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    pairs.iter().filter_map(pair).collect()
}

/// An optional value: the empty set stands for none, and a set of one for its element, which is written bare as well.
pub(super) fn optional(value: Option<&Value>) -> Option<&Value> {
    let value = value?;
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(kind), Value::Array(elements)]) if kind == "set" => elements.first(),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let written = map([("iface-id", "x"), ("owner", "kuryr")]);
        assert_eq!(written.to_string(), r#"["map",[["iface-id","x"],["owner","kuryr"]]]"#);
        assert_eq!(pairs(Some(&written)).get("owner").map(String::as_str), Some("kuryr"));
        assert!(pairs(Some(&json!(["set", [["a", "b"]]]))).is_empty());
        assert!(pairs(None).is_empty());
    }

    #[test]
    fn an_optional_value_has_three_spellings() {
        assert_eq!(optional(Some(&json!(["set", []]))), None);
        assert_eq!(optional(Some(&json!(["set", [7]]))), Some(&json!(7)));
        assert_eq!(optional(Some(&json!(7))), Some(&json!(7)));
        assert_eq!(optional(Some(&json!(["uuid", "x"]))), Some(&json!(["uuid", "x"])));
    }
}
