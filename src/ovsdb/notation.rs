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
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Values that are nearly OVSDB's.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(map|set|uuid|[a-z]{0,4})".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 4, |inner| {
            let object = vec(("(rows|new|[a-z])", inner.clone()), 0..4);
            prop_oneof![vec(inner, 0..4).prop_map(Value::from), object.prop_map(|pairs| Value::Object(pairs.into_iter().collect()))]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_harm(value in values()) {
            for row in rows(&value) {
                optional(row.values().next());
            }
            optional(Some(&value));
            for (key, text) in pairs(Some(&value)) {
                prop_assert!(value.to_string().contains(&key) && value.to_string().contains(&text));
            }
        }

        #[test]
        fn a_map_comes_back(written in proptest::collection::btree_map(".*", ".*", 0..5)) {
            let sent = map(written.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert_eq!(pairs(Some(&sent)), written);
        }
    }

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
