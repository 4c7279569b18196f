//! What a tag may be and how a list of them changes. The same for every resource; the limits are Neutron's (`neutron/extensions/tagging.py`).

/// Most tags on one object.
pub const MAX_TAGS: usize = 50;

/// Longest tag, in characters; older Neutrons take 60.
pub const MAX_LENGTH: usize = 255;

/// Why a change of tags is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TagError {
    /// Empty, too long, or not text.
    #[error("Invalid input for operation: '{0}' is not a valid tag: 1 to {MAX_LENGTH} characters are.")]
    Invalid(String),
    /// The body is not `{"tags": [..]}`.
    #[error("Invalid tags body: a body like {{\"tags\": [\"red\", \"blue\"]}} is wanted.")]
    Body,
    /// The object would have too many.
    #[error("Invalid input for operation: Number of tags exceeds limit for resource: {MAX_TAGS}, would be {0}.")]
    TooMany(usize),
    /// To be removed, but not there.
    #[error("Tag {0} could not be found.")]
    NotFound(String),
}

impl TagError {
    /// The `type` in Neutron's error body.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::TooMany(_) => "InvalidInput",
            Self::Body => "HTTPBadRequest",
            Self::NotFound(_) => "TagNotFound",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        if matches!(self, Self::NotFound(_)) { 404 } else { 400 }
    }
}

/// Reads `{"tags": [..]}`; duplicates are dropped, order is kept.
///
/// # Errors
/// [`TagError`] when the body has another form or a tag is not allowed.
pub fn parse(body: &serde_json::Value) -> Result<Vec<String>, TagError> {
    let only_key = body.as_object().is_some_and(|object| object.len() == 1);
    let list = body.get("tags").and_then(serde_json::Value::as_array).filter(|_| only_key).ok_or(TagError::Body)?;
    let tags = list.iter().map(|tag| tag.as_str().ok_or_else(|| TagError::Invalid(tag.to_string())));
    add(&[], tags.collect::<Result<Vec<&str>, TagError>>()?)
}

/// `present` with `more` behind it; a tag that is there already changes nothing.
///
/// # Errors
/// [`TagError::Invalid`] and [`TagError::TooMany`].
pub fn add<'a>(present: &[String], more: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, TagError> {
    let mut tags = present.to_vec();
    for tag in more {
        check(tag)?;
        if !tags.iter().any(|have| have == tag) {
            tags.push(tag.to_owned());
        }
    }
    // Counted at the end: adding a tag twice to a full list is no error.
    if tags.len() > MAX_TAGS { Err(TagError::TooMany(tags.len())) } else { Ok(tags) }
}

/// `present` without `tag`.
///
/// # Errors
/// [`TagError::NotFound`].
pub fn remove(present: &[String], tag: &str) -> Result<Vec<String>, TagError> {
    let rest: Vec<String> = present.iter().filter(|have| *have != tag).cloned().collect();
    if rest.len() == present.len() { Err(TagError::NotFound(tag.to_owned())) } else { Ok(rest) }
}

fn check(tag: &str) -> Result<(), TagError> {
    // A body with a tag of megabytes must not come back whole in the error.
    let shown = || tag.chars().take(MAX_LENGTH).collect();
    if tag.is_empty() || tag.chars().count() > MAX_LENGTH { Err(TagError::Invalid(shown())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{MAX_TAGS, TagError, add, parse, remove};

    #[test]
    fn bodies_of_the_right_form_are_read() {
        assert_eq!(parse(&json!({"tags": ["red", "blue", "red"]})).unwrap(), ["red", "blue"]);
        assert_eq!(parse(&json!({"tags": []})).unwrap(), Vec::<String>::new());
        for body in [json!({}), json!({"tags": "red"}), json!(["red"]), json!({"tag": []}), json!({"tags": [], "more": 1}), json!(null)] {
            assert_eq!(parse(&body), Err(TagError::Body), "{body}");
        }
        for tag in [json!(""), json!(7), json!(null), json!("é".repeat(256))] {
            assert!(matches!(parse(&json!({"tags": [tag]})), Err(TagError::Invalid(_))));
        }
        assert!(parse(&json!({"tags": ["é".repeat(255)]})).is_ok());
    }

    #[test]
    fn fifty_fit_and_one_more_does_not() {
        let full: Vec<String> = (0..MAX_TAGS).map(|n| n.to_string()).collect();
        assert_eq!(add(&full[..49], ["49"]).unwrap(), full);
        assert_eq!(add(&full, ["7"]).unwrap(), full);
        assert_eq!(add(&full, ["new"]), Err(TagError::TooMany(51)));
        assert_eq!(remove(&full, "new").map_err(|error| error.status()), Err(404));
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_removed(present in prop::collection::hash_set("[a-z]{1,4}", 0..20), tag in "[A-Z]{1,255}") {
            let present: Vec<String> = present.into_iter().collect();
            let more = add(&present, [tag.as_str()]).unwrap();
            prop_assert_eq!(remove(&more, &tag).unwrap(), present);
        }
    }
}
