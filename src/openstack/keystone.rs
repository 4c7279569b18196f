//! Logging in: which API Keystone has at the address given, and a token from it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    auth,
    calls::Calls,
    catalog::{self, AccessDocument, Service, TokenDocument},
    error::Error,
    settings::CloudSettings,
    transport::{Answer, Purpose, Transport},
};

/// A token with what came along.
pub(super) struct Login {
    pub secret: String,
    pub catalog: Vec<Service>,
    /// None when Keystone does not say it.
    pub lifetime: Option<Duration>,
}

/// Where Keystone is.
#[derive(Default)]
pub(super) struct Keystone {
    /// The address of v3 that has given a token before.
    v3: Mutex<Option<String>>,
}

/// What a login needs besides the address.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub transport: &'a Transport,
    pub settings: &'a CloudSettings,
    pub calls: &'a Calls,
}

impl Keystone {
    /// A new token. None for a method that goes without Keystone.
    pub async fn login(&self, asker: Asker<'_>, purpose: &Purpose<'_>) -> Result<Option<Login>, Error> {
        let Some(body) = auth::body(&asker.settings.auth) else { return Ok(None) };
        let given = asker.settings.auth_url.trim_end_matches('/');
        let known = self.v3.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_none()
            && asker.settings.try_v2
            && let Some(older) = auth::body_v2(&asker.settings.auth)
        {
            if let Some(login) = asker.login_v2(given, &older, purpose).await? {
                return Ok(Some(login));
            }
            // The API is gone since Queens. Its users live on in the domain Default of the same Keystone's v3.
            tracing::info!(auth_url = given, "Keystone has no API v2.0 here; using v3 with the domain Default");
        }
        let url = match known {
            Some(url) => url,
            None => asker.v3_address(given, purpose).await?,
        };
        let login = asker.login_v3(&url, &body, purpose).await?;
        *self.v3.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
        Ok(Some(login))
    }
}

impl Asker<'_> {
    /// Keystone's v3 address. `…/v3` is taken as it is; anything else is asked which versions there are, and `/v3` is added where that
    /// gives no answer.
    async fn v3_address(&self, given: &str, purpose: &Purpose<'_>) -> Result<String, Error> {
        if given.ends_with("/v3") {
            return Ok(given.to_owned());
        }
        let root = given.strip_suffix("/v2.0").unwrap_or(given).trim_end_matches('/');
        let request = self.transport.request(Method::GET, &format!("{root}/"));
        let answer = self.transport.send(request, "/", &Purpose { url: root, ..*purpose }).await?;
        let link = catalog::v3_link(&answer.body).and_then(|href| same_origin(root, &href));
        Ok(link.unwrap_or_else(|| format!("{root}/v3")))
    }

    async fn login_v3(&self, keystone: &str, body: &Value, purpose: &Purpose<'_>) -> Result<Login, Error> {
        let purpose = Purpose { url: keystone, ..*purpose };
        let answer = self.post(&format!("{keystone}/auth/tokens"), "/v3/auth/tokens", body, &purpose).await?;
        let token = self.document::<TokenDocument>(&answer, &purpose)?.token;
        let secret = answer.subject_token.ok_or_else(|| purpose.unreadable("there is no X-Subject-Token"))?;
        Ok(Login { secret, lifetime: token.lifetime(), catalog: token.catalog })
    }

    /// None when there is no such API.
    async fn login_v2(&self, keystone: &str, body: &Value, purpose: &Purpose<'_>) -> Result<Option<Login>, Error> {
        let purpose = Purpose { url: keystone, ..*purpose };
        let answer = self.post(&format!("{keystone}/tokens"), "/v2.0/tokens", body, &purpose).await?;
        if matches!(answer.status.as_u16(), 300..=399 | 404 | 405 | 410 | 501) {
            return Ok(None);
        }
        let access = self.document::<AccessDocument>(&answer, &purpose)?.access;
        let (lifetime, secret) = (access.lifetime(), access.token.id.clone());
        Ok(Some(Login { secret, lifetime, catalog: access.catalog() }))
    }

    async fn post(&self, url: &str, path: &str, body: &Value, purpose: &Purpose<'_>) -> Result<Answer, Error> {
        self.calls.count_authentication();
        self.transport.send(self.transport.request(Method::POST, url).json(body), path, purpose).await
    }

    fn document<D: DeserializeOwned>(&self, answer: &Answer, purpose: &Purpose<'_>) -> Result<D, Error> {
        if matches!(answer.status, StatusCode::OK | StatusCode::CREATED | StatusCode::NON_AUTHORITATIVE_INFORMATION) {
            return serde_json::from_slice(&answer.body).map_err(|error| purpose.unreadable(error.to_string()));
        }
        let status = answer.status.as_u16();
        if Error::is_no_keystone(status, &answer.body) {
            return Err(Error::NoKeystone { what: purpose.what.to_owned(), url: purpose.url.to_owned(), status });
        }
        let error = Error::keystone(purpose.what.to_owned(), status, &answer.body, answer.request_id.clone());
        Err(error.moved_to(answer.location.as_deref()).without(auth::proof(&self.settings.auth)))
    }
}

/// The link's path on the host that was asked: Keystone behind a proxy often gives out addresses that only it can reach, and a password
/// must not go to a host that nobody configured.
fn same_origin(asked: &str, href: &str) -> Option<String> {
    let mut url = Url::parse(asked).ok()?;
    let link = url.join(href).ok()?;
    url.set_path(link.path());
    url.set_query(None);
    Some(url.as_str().trim_end_matches('/').to_owned())
}
