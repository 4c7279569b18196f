//! Keystone's documents: a token with its catalog, and the list of API versions.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::Error;

/// `{"token": …}` of `POST /v3/auth/tokens`.
#[derive(Deserialize)]
pub(super) struct TokenDocument {
    pub token: TokenBody,
}

/// What kuryr reads of a token.
#[derive(Deserialize)]
pub(super) struct TokenBody {
    pub issued_at: Option<String>,
    pub expires_at: Option<String>,
    #[serde(default)]
    pub catalog: Vec<Service>,
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
