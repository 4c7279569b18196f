//! How many objects a project may have: the table and its checks; [`usage`] counts, [`api`] serves.

use std::collections::BTreeMap;

pub mod api;
pub mod usage;

/// The resources with a quota, by name.
const RESOURCES: &[&str] = &["floatingip", "network", "port", "router", "security_group", "security_group_rule", "subnet", "subnetpool"];

/// A project's limit unless an administrator sets one: none. Neutron's own (500 ports) protect a cloud from its tenants; here they would
/// only stop a machine whose containers are its one tenant.
const DEFAULT: i64 = -1;

/// Neutron keeps limits in a 32-bit column.
const MAX_LIMIT: i64 = 2_147_483_647;

/// Why a set of limits, or a create, is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuotaError {
    /// No such resource.
    #[error("Unrecognized attribute(s) '{0}'")]
    Unknown(String),
    /// Not -1 or a 32-bit count.
    #[error("Invalid input for {resource}. Reason: '{value}' is not an integer from -1 to {MAX_LIMIT}.")]
    Limit {
        /// The resource.
        resource: &'static str,
        /// What was sent.
        value: String,
    },
    /// One more would be too many.
    #[error("Quota exceeded for resources: ['{0}'].")]
    Over(&'static str),
}

impl QuotaError {
    /// The `type` in Neutron's error body.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::Limit { .. } => "HTTPBadRequest",
            Self::Over(_) => "OverQuota",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        if matches!(self, Self::Over(_)) { 409 } else { 400 }
    }
}

/// The limits of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits(BTreeMap<&'static str, i64>);

impl Default for Limits {
    fn default() -> Self {
        Self(RESOURCES.iter().map(|resource| (*resource, DEFAULT)).collect())
    }
}

impl Limits {
    /// Resource and limit, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, i64)> + '_ {
        self.0.iter().map(|(resource, limit)| (*resource, *limit))
    }

    /// Reads the inside of `{"quota": {..}}`: only what is set, checked. Clients send numbers, or numbers as text.
    ///
    /// # Errors
    /// [`QuotaError::Unknown`] and [`QuotaError::Limit`].
    pub fn parse(body: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<(&'static str, i64)>, QuotaError> {
        body.iter()
            .map(|(name, value)| {
                let &resource = RESOURCES.iter().find(|known| *known == name).ok_or_else(|| QuotaError::Unknown(name.clone()))?;
                let number = value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|limit| (-1..=MAX_LIMIT).contains(limit));
                number.map(|limit| (resource, limit)).ok_or_else(|| QuotaError::Limit { resource, value: value.to_string() })
            })
            .collect()
    }

    /// Puts the project's own limits over the defaults.
    pub fn set(&mut self, limits: impl IntoIterator<Item = (&'static str, i64)>) {
        self.0.extend(limits);
    }

    /// Whether there is a limit for `resource`.
    pub fn is_limited(&self, resource: &str) -> bool {
        self.0.get(resource).is_some_and(|limit| *limit >= 0)
    }

    /// Whether `more` objects of `resource` fit beside the `used` ones; a resource without a quota always fits.
    ///
    /// # Errors
    /// [`QuotaError::Over`].
    pub fn check(&self, resource: &str, used: u64, more: u64) -> Result<(), QuotaError> {
        match self.0.get_key_value(resource) {
            // A negative limit does not convert, and is no limit.
            Some((name, limit)) if u64::try_from(*limit).is_ok_and(|limit| used.saturating_add(more) > limit) => {
                Err(QuotaError::Over(name))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Limits, QuotaError};

    fn parse(body: Value) -> Result<Vec<(&'static str, i64)>, QuotaError> {
        Limits::parse(body.as_object().unwrap())
    }

    #[test]
    fn limits_are_read_as_numbers_and_as_text() {
        assert_eq!(parse(json!({"port": 7, "network": "-1"})).unwrap().len(), 2);
        assert_eq!(parse(json!({"pool": 7})), Err(QuotaError::Unknown("pool".to_owned())));
        for value in [json!(-2), json!(2_147_483_648_i64), json!("many"), json!(1.5), json!(null)] {
            assert!(matches!(parse(json!({"port": value})), Err(QuotaError::Limit { resource: "port", .. })), "{value}");
        }
    }

    #[test]
    fn the_last_one_fits_and_the_next_does_not() {
        let mut limits = Limits::default();
        assert_eq!(limits.check("port", u64::MAX, 1), Ok(()));
        limits.set([("port", 500)]);
        assert_eq!(limits.check("port", 499, 1), Ok(()));
        assert_eq!(limits.check("port", 500, 1), Err(QuotaError::Over("port")));
        assert_eq!(limits.check("port", 498, 3), Err(QuotaError::Over("port")));
        assert_eq!(limits.check("subnetpool", u64::MAX, 1), Ok(()));
        assert_eq!(limits.check("agent", 1, 1), Ok(()));
        limits.set([("port", 0), ("router", -1)]);
        assert_eq!(limits.check("port", 0, 1), Err(QuotaError::Over("port")));
        assert_eq!(limits.check("router", 1000, 1), Ok(()));
        assert_eq!(limits.iter().count(), 8);
    }
}
