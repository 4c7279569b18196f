//! The calls of the Networking API v2.0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    calls::Calls,
    error::Error,
    session::{Call, Session},
    settings::CloudSettings,
    types::{Resource, SubPort},
};
use crate::metrics::CloudRequests;

/// How much of a long query an error tells.
const SHOWN: usize = 5;
/// How often a change of tags is made that Neutron breaks off.
const TAGS_TRIED: u32 = 3;

/// A Neutron, with the session that opens it. Cheap to clone; clones share the token and the connections.
#[derive(Clone)]
pub struct Neutron {
    session: Arc<Session>,
}

impl fmt::Debug for Neutron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neutron").field("address", &self.session.address()).finish_non_exhaustive()
    }
}

impl Neutron {
    /// Prepares the HTTP client; the cloud is not asked before the first call.
    ///
    /// # Errors
    /// [`Error::Settings`] when a certificate or key cannot be used.
    pub fn new(settings: CloudSettings) -> Result<Self, Error> {
        Ok(Self { session: Arc::new(Session::new(settings)?) })
    }

    /// Requests sent so far.
    pub fn calls(&self) -> &Calls {
        self.session.calls()
    }

    /// Requests sent so far, by what was asked and what came back.
    pub fn requests(&self) -> &CloudRequests {
        self.session.requests()
    }

    /// Gets a token and finds Neutron in the catalog, if that has not happened yet.
    ///
    /// # Errors
    /// Keystone's refusal, or a catalog without Neutron.
    pub async fn authenticate(&self) -> Result<(), Error> {
        self.session.authenticate().await
    }

    /// `POST /v2.0/ports {"port": body}`.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn create<R: Resource>(&self, body: &impl Serialize) -> Result<R, Error> {
        let body = object::<R>(body, &format!("create {}", R::NOUN))?;
        let what = format!("create {}{}", R::NOUN, description(&body));
        let call = Call { what, method: Method::POST, path: format!("/{}", R::PATH), body: Some(wrapped::<R>(&body)), revision: None };
        self.one(&call, R::SINGULAR).await
    }

    /// `POST /v2.0/ports {"ports": bodies}`: makes all of them or none.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn create_all<R: Resource>(&self, bodies: &[Value]) -> Result<Vec<R>, Error> {
        let each = bodies.iter().map(|body| format!("{}{}", R::NOUN, description(body))).collect::<Vec<_>>().join(" and ");
        let body = json!({ R::COLLECTION: bodies }).to_string().into_bytes();
        let call =
            Call { what: format!("create {each}"), method: Method::POST, path: format!("/{}", R::PATH), body: Some(body), revision: None };
        self.one(&call, R::COLLECTION).await
    }

    /// `GET /v2.0/ports?name=value…`, all pages. A name may occur several times.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn list<R: Resource>(&self, query: &[(&str, &str)]) -> Result<Vec<R>, Error> {
        let mut shown = query.iter().take(SHOWN).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
        if let Some(others) = query.len().checked_sub(SHOWN).filter(|others| *others > 0) {
            shown.push_str(&format!(" and {others} more"));
        }
        let what = match shown.as_str() {
            "" => format!("list {}s", R::NOUN),
            _ => format!("list {}s with {shown}", R::NOUN),
        };
        let mut encoded = encode_query(query);
        let mut asked = BTreeSet::from([encoded.clone()]);
        let mut found = Vec::new();
        loop {
            let separator = if encoded.is_empty() { "" } else { "?" };
            let path = format!("/{}{separator}{encoded}", R::PATH);
            let call = Call { what: what.clone(), method: Method::GET, path, body: None, revision: None };
            let answer = self.session.call(&call).await?;
            let mut members = self.members(&call, &answer)?;
            let page: Vec<R> = self.member(&call, &mut members, R::COLLECTION)?;
            let next = match members.remove(format!("{}_links", R::COLLECTION).as_str()) {
                Some(links) => next_query(links),
                None => None,
            };
            let empty = page.is_empty();
            found.extend(page);
            match next {
                // Pages that lead to each other or to nothing would go on for ever.
                Some(next) if !empty && asked.insert(next.clone()) => encoded = next,
                _ => return Ok(found),
            }
        }
    }

    /// `GET /v2.0/ports/<id>`.
    ///
    /// # Errors
    /// As Neutron answers, 404 ([`Error::is_not_found`]) for an unknown object.
    pub async fn show<R: Resource>(&self, id: Uuid) -> Result<R, Error> {
        let what = format!("show {} {id}", R::NOUN);
        self.one(&Call { what, method: Method::GET, path: format!("/{}/{id}", R::PATH), body: None, revision: None }, R::SINGULAR).await
    }

    /// `PUT /v2.0/ports/<id> {"port": body}`.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn update<R: Resource>(&self, id: Uuid, body: &impl Serialize) -> Result<R, Error> {
        self.update_object(id, None, body).await
    }

    /// [`Neutron::update`], done only if the object is as it was when it had this `revision_number`.
    ///
    /// # Errors
    /// As Neutron answers, 412 ([`Error::is_outdated`]) when somebody changed the object meanwhile.
    pub async fn update_at<R: Resource>(&self, id: Uuid, revision: i64, body: &impl Serialize) -> Result<R, Error> {
        self.update_object(id, Some(revision), body).await
    }

    async fn update_object<R: Resource>(&self, id: Uuid, revision: Option<i64>, body: &impl Serialize) -> Result<R, Error> {
        let what = format!("update {} {id}", R::NOUN);
        let body = object::<R>(body, &what)?;
        let call = Call { what, method: Method::PUT, path: format!("/{}/{id}", R::PATH), body: Some(wrapped::<R>(&body)), revision };
        self.one(&call, R::SINGULAR).await
    }

    /// `DELETE /v2.0/ports/<id>`.
    ///
    /// # Errors
    /// As Neutron answers, 404 ([`Error::is_not_found`]) for an unknown object.
    pub async fn delete<R: Resource>(&self, id: Uuid) -> Result<(), Error> {
        let what = format!("delete {} {id}", R::NOUN);
        self.session
            .call(&Call { what, method: Method::DELETE, path: format!("/{}/{id}", R::PATH), body: None, revision: None })
            .await
            .map(drop)
    }

    /// `PUT /v2.0/ports/<id>/tags {"tags": […]}`: replaces all tags.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn set_tags<R: Resource>(&self, id: Uuid, tags: &[String]) -> Result<(), Error> {
        let what = format!("set the tags of {} {id}", R::NOUN);
        let body = json!({"tags": tags}).to_string().into_bytes();
        let call = Call { what, method: Method::PUT, path: format!("/{}/{id}/tags", R::PATH), body: Some(body), revision: None };
        self.change_tags::<R>(id, &call).await
    }

    /// `PUT /v2.0/ports/<id>/tags/<tag>`; a tag that is there already is no error.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn add_tag<R: Resource>(&self, id: Uuid, tag: &str) -> Result<(), Error> {
        let what = format!("tag {} {id} with '{tag}'", R::NOUN);
        let path = format!("/{}/{id}/tags/{}", R::PATH, encode(tag, PATH_SAFE));
        self.change_tags::<R>(id, &Call { what, method: Method::PUT, path, body: None, revision: None }).await
    }

    /// `DELETE /v2.0/ports/<id>/tags/<tag>`; neither a tag nor an object that is gone is an error.
    ///
    /// # Errors
    /// As Neutron answers; see [`Error`].
    pub async fn remove_tag<R: Resource>(&self, id: Uuid, tag: &str) -> Result<(), Error> {
        let what = format!("remove the tag '{tag}' from {} {id}", R::NOUN);
        let path = format!("/{}/{id}/tags/{}", R::PATH, encode(tag, PATH_SAFE));
        match self.change_tags::<R>(id, &Call { what, method: Method::DELETE, path, body: None, revision: None }).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Neutron 2025.1 answers 500 where the object is gone, and Neutron 21 where another changes the tags of the object at the same moment, since
    /// its database breaks one of the two off. A look at the object tells them apart; a change that was broken off is made again.
    async fn change_tags<R: Resource>(&self, id: Uuid, call: &Call) -> Result<(), Error> {
        let mut tries = 1;
        loop {
            match self.session.call(call).await {
                Err(error) if error.status() == Some(500) => match self.show::<R>(id).await {
                    Err(gone) if gone.is_not_found() => return Err(gone),
                    Ok(_) if tries < TAGS_TRIED => tries += 1,
                    _ => return Err(error),
                },
                outcome => return outcome.map(drop),
            }
        }
    }

    /// `PUT /v2.0/routers/<id>/add_router_interface {"subnet_id": …}`: the router takes the subnet's gateway address.
    ///
    /// # Errors
    /// As Neutron answers, 400 when the router has an interface on the subnet already.
    pub async fn add_router_interface(&self, router: Uuid, subnet: Uuid) -> Result<(), Error> {
        self.router_interface(router, subnet, "add", "to").await
    }

    /// `PUT /v2.0/routers/<id>/remove_router_interface {"subnet_id": …}`.
    ///
    /// # Errors
    /// As Neutron answers, 404 when there is no such interface.
    pub async fn remove_router_interface(&self, router: Uuid, subnet: Uuid) -> Result<(), Error> {
        self.router_interface(router, subnet, "remove", "from").await
    }

    async fn router_interface(&self, router: Uuid, subnet: Uuid, verb: &str, preposition: &str) -> Result<(), Error> {
        let what = format!("{verb} the interface on subnet {subnet} {preposition} router {router}");
        let path = format!("/routers/{router}/{verb}_router_interface");
        let body = json!({"subnet_id": subnet}).to_string().into_bytes();
        self.session.call(&Call { what, method: Method::PUT, path, body: Some(body), revision: None }).await.map(drop)
    }

    /// `PUT /v2.0/trunks/<id>/add_subports {"sub_ports": […]}`.
    ///
    /// # Errors
    /// As Neutron answers, 409 `DuplicateSubPort` when the number is in use on the trunk, 409 `PortInUse` when the port has a `device_id`.
    pub async fn add_sub_port(&self, trunk: Uuid, sub_port: &SubPort) -> Result<(), Error> {
        let SubPort { port_id, segmentation_type, segmentation_id } = sub_port;
        let what = format!("add port {port_id} as {segmentation_type} {segmentation_id} to trunk {trunk}");
        self.change_sub_ports(trunk, "add", what, json!(sub_port)).await
    }

    /// `PUT /v2.0/trunks/<id>/remove_subports {"sub_ports": […]}`.
    ///
    /// # Errors
    /// As Neutron answers, 404 when the trunk is gone or the port is not on it.
    pub async fn remove_sub_port(&self, trunk: Uuid, port: Uuid) -> Result<(), Error> {
        self.change_sub_ports(trunk, "remove", format!("remove port {port} from trunk {trunk}"), json!({"port_id": port})).await
    }

    async fn change_sub_ports(&self, trunk: Uuid, verb: &str, what: String, sub_port: Value) -> Result<(), Error> {
        let path = format!("/trunks/{trunk}/{verb}_subports");
        let body = json!({"sub_ports": [sub_port]}).to_string().into_bytes();
        self.session.call(&Call { what, method: Method::PUT, path, body: Some(body), revision: None }).await.map(drop)
    }

    async fn one<T: DeserializeOwned>(&self, call: &Call, key: &str) -> Result<T, Error> {
        let answer = self.session.call(call).await?;
        let mut members = self.members(call, &answer)?;
        self.member(call, &mut members, key)
    }

    fn members<'a>(&self, call: &Call, answer: &'a [u8]) -> Result<BTreeMap<&'a str, &'a RawValue>, Error> {
        serde_json::from_slice(answer).map_err(|error| self.unreadable(call, error.to_string()))
    }

    fn member<T: DeserializeOwned>(&self, call: &Call, members: &mut BTreeMap<&str, &RawValue>, key: &str) -> Result<T, Error> {
        let raw = members.remove(key).ok_or_else(|| self.unreadable(call, format!("there is no '{key}' in it")))?;
        serde_json::from_str(raw.get()).map_err(|error| self.unreadable(call, format!("'{key}': {error}")))
    }

    fn unreadable(&self, call: &Call, reason: String) -> Error {
        Error::BadReply { what: call.what.clone(), service: "Neutron", url: self.session.address(), reason }
    }
}

fn object<R: Resource>(body: &impl Serialize, what: &str) -> Result<Value, Error> {
    serde_json::to_value(body)
        .map_err(|error| Error::Settings { reason: format!("to {what}, the {} must be written as JSON: {error}", R::NOUN) })
}

fn wrapped<R: Resource>(body: &Value) -> Vec<u8> {
    json!({ R::SINGULAR: body }).to_string().into_bytes()
}

/// What tells a new object from others in an error: its name, network and addresses.
fn description(body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut description = String::new();
    if let Some(name) = text("name") {
        description.push_str(&format!(" '{name}'"));
    }
    if let Some(cidr) = text("cidr") {
        description.push_str(&format!(" {cidr}"));
    }
    let fixed_ips = body.get("fixed_ips").and_then(Value::as_array).into_iter().flatten();
    let addresses: Vec<_> = fixed_ips.filter_map(|ip| ip.get("ip_address").and_then(Value::as_str)).collect();
    if !addresses.is_empty() {
        description.push_str(&format!(" with {}", addresses.join(" and ")));
    }
    if let Some(network) = text("network_id") {
        description.push_str(&format!(" on network {network}"));
    }
    description
}

/// The query of the `next` link. Only the query: the link's host is the one Neutron believes to have.
fn next_query(links: &RawValue) -> Option<String> {
    let links: Vec<BTreeMap<String, String>> = serde_json::from_str(links.get()).ok()?;
    let next = links.iter().find(|link| link.get("rel").is_some_and(|rel| rel == "next"))?;
    next.get("href")?.split_once('?').map(|(_, query)| query.to_owned())
}

/// Bytes that stay as they are in a query besides letters and digits, as Python's `quote_plus` does it.
const QUERY_SAFE: &[u8] = b"_.-~";
/// … and in a segment of a path: RFC 3986 `pchar`.
const PATH_SAFE: &[u8] = b"_.-~:@!$&'()*+,;=";

fn encode_query(query: &[(&str, &str)]) -> String {
    let encoded = |text: &str| encode(text, QUERY_SAFE).replace("%20", "+");
    query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

fn encode(text: &str, safe: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || safe.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
