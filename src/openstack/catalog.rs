//! Keystone's documents: a token with its catalog, and the list of API versions.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::error::Error;

/// `{"token": …}` of `POST /v3/auth/tokens`.
#[derive(Deserialize)]
pub(super) struct TokenDocument {
    pub token: TokenBody,
}

/// What kuryr reads of a token.
#[derive(Deserialize)]
pub(super) struct TokenBody {
    issued_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    pub catalog: Vec<Service>,
}

impl TokenBody {
    /// How long the token lives, from Keystone's own two times: this host's clock does not come into it.
    pub fn lifetime(&self) -> Option<Duration> {
        lifetime(self.issued_at.as_deref()?, self.expires_at.as_deref()?)
    }
}

/// `{"access": …}` of `POST /v2.0/tokens`.
#[derive(Deserialize)]
pub(super) struct AccessDocument {
    pub access: Access,
}

/// What kuryr reads of v2.0's answer.
#[derive(Deserialize)]
pub(super) struct Access {
    pub token: AccessToken,
    #[serde(default, rename = "serviceCatalog")]
    catalog: Vec<AccessService>,
}

/// v2.0's token.
#[derive(Deserialize)]
pub(super) struct AccessToken {
    pub id: String,
    issued_at: Option<String>,
    expires: Option<String>,
}

#[derive(Deserialize)]
struct AccessService {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<AccessEndpoint>,
}

/// One region, with a member for each interface.
#[derive(Deserialize)]
struct AccessEndpoint {
    region: Option<String>,
    #[serde(rename = "publicURL")]
    public: Option<String>,
    #[serde(rename = "internalURL")]
    internal: Option<String>,
    #[serde(rename = "adminURL")]
    admin: Option<String>,
}

impl Access {
    /// As [`TokenBody::lifetime`].
    pub fn lifetime(&self) -> Option<Duration> {
        lifetime(self.token.issued_at.as_deref()?, self.token.expires.as_deref()?)
    }

    /// The catalog in v3's shape: one endpoint for each interface.
    pub fn catalog(self) -> Vec<Service> {
        let service = |service: AccessService| {
            let endpoints = service.endpoints.into_iter().flat_map(|endpoint| {
                let region = endpoint.region;
                [("public", endpoint.public), ("internal", endpoint.internal), ("admin", endpoint.admin)].into_iter().filter_map(
                    move |(interface, url)| {
                        Some(Endpoint { interface: interface.to_owned(), region: region.clone(), region_id: None, url: url? })
                    },
                )
            });
            Service { kind: service.kind, endpoints: endpoints.collect() }
        };
        self.catalog.into_iter().map(service).collect()
    }
}

fn lifetime(issued: &str, expires: &str) -> Option<Duration> {
    // v2.0 writes one of the two without a zone and means UTC.
    let parse = |at: &str| OffsetDateTime::parse(at, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{at}Z"), &Rfc3339)).ok();
    Duration::try_from(parse(expires)? - parse(issued)?).ok()
}

/// One service of the catalog.
#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

/// Neutron's address in the catalog: the first endpoint of type `network` with this interface, in this region if one is wanted.
pub(super) fn network_endpoint(catalog: &[Service], interface: &str, region: Option<&str>) -> Result<String, Error> {
    let endpoints = || catalog.iter().filter(|service| service.kind == "network").flat_map(|service| &service.endpoints);
    let in_region = |endpoint: &Endpoint| {
        region.is_none_or(|wanted| [&endpoint.region_id, &endpoint.region].into_iter().flatten().any(|r| r == wanted))
    };
    if let Some(endpoint) = endpoints().find(|endpoint| endpoint.interface == interface && in_region(endpoint)) {
        return Ok(endpoint.url.clone());
    }
    let offered: BTreeSet<_> = endpoints()
        .map(|endpoint| {
            let region = endpoint.region_id.as_deref().or(endpoint.region.as_deref()).unwrap_or("no region");
            format!("'{}' in '{region}'", endpoint.interface)
        })
        .collect();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.into_iter().collect::<Vec<_>>().join(", ") };
    Err(Error::NoEndpoint { interface: interface.to_owned(), region: region.map(str::to_owned), offered })
}

/// Neutron's address without the version that kuryr adds itself; configurations have it with and without.
pub(super) fn without_version(endpoint: &str) -> &str {
    let endpoint = endpoint.trim_end_matches('/');
    endpoint.strip_suffix("/v2.0").unwrap_or(endpoint).trim_end_matches('/')
}

/// Keystone's version document, of the root (a list, with status 300) or of one version.
#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    List { versions: Values },
    One { version: Version },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Wrapped { values: Vec<Version> },
    Plain(Vec<Version>),
}

#[derive(Deserialize)]
struct Version {
    id: String,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
    href: String,
}

/// The link to v3 in a version document, if it is one and has v3.
pub(super) fn v3_link(body: &[u8]) -> Option<String> {
    let versions = match serde_json::from_slice(body).ok()? {
        Versions::List { versions: Values::Wrapped { values } | Values::Plain(values) } => values,
        Versions::One { version } => vec![version],
    };
    let v3 = versions.into_iter().find(|version| version.id.starts_with("v3"))?;
    v3.links.into_iter().find(|link| link.rel == "self").map(|link| link.href)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_from_issue_to_expiry_with_and_without_zone() {
        for (issued, expires, seconds) in [
            ("2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00.000000Z", Some(3600)),
            ("2014-01-31T15:30:58.123456", "2014-01-31T15:31:58Z", Some(59)),
            ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:05Z", Some(5)),
            ("2026-01-01T01:00:00Z", "2026-01-01T00:00:00Z", None),
            ("yesterday", "2026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(lifetime(issued, expires).map(|life| life.as_secs()), seconds, "{issued} {expires}");
        }
    }

    #[test]
    fn the_older_catalog_has_one_endpoint_for_each_interface() {
        let document = r#"{"access": {"token": {"id": "t", "expires": "2014-01-31T15:31:58Z"}, "serviceCatalog": [
            {"type": "network", "name": "neutron", "endpoints_links": [], "endpoints": [
                {"region": "one", "publicURL": "http://p", "internalURL": "http://i"}, {"region": "two", "publicURL": "http://q"}]}]}}"#;
        let catalog = serde_json::from_str::<AccessDocument>(document).unwrap().access.catalog();
        let endpoint = |interface, region| network_endpoint(&catalog, interface, region);
        assert_eq!(endpoint("public", None).unwrap(), "http://p");
        assert_eq!(endpoint("public", Some("two")).unwrap(), "http://q");
        assert_eq!(endpoint("internal", Some("one")).unwrap(), "http://i");
        assert!(endpoint("admin", None).unwrap_err().to_string().contains("'internal' in 'one', 'public' in 'one', 'public' in 'two'"));
        assert!(network_endpoint(&[], "public", None).unwrap_err().to_string().contains("it offers none"));
    }

    #[test]
    fn versions_are_found_in_every_shape() {
        let version = |id: &str, href: &str| format!(r#"{{"id": "{id}", "links": [{{"rel": "self", "href": "{href}"}}]}}"#);
        let (v2, v3) = (version("v2.0", "/v2.0/"), version("v3.14", "/v3/"));
        for (body, link) in [
            (format!(r#"{{"versions": {{"values": [{v2}, {v3}]}}}}"#), Some("/v3/")),
            (format!(r#"{{"versions": [{v3}]}}"#), Some("/v3/")),
            (format!(r#"{{"version": {v3}}}"#), Some("/v3/")),
            (format!(r#"{{"versions": {{"values": [{v2}]}}}}"#), None),
            ("<html>".to_owned(), None),
        ] {
            assert_eq!(v3_link(body.as_bytes()).as_deref(), link, "{body}");
        }
    }
}
