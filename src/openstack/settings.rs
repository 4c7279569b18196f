//! Where the cloud is and who asks: keystoneauth's options, from whatever source, made into one value.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::error::Error;

/// Deadline of a call when no `timeout` is set; keystoneauth would wait for ever.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A text that must not be seen: a password, a token, the secret of an application credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the request that needs it and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A Keystone domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// A Keystone user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By id, unique in the cloud.
    Id(String),
    /// By name, unique in the domain.
    Name {
        /// The name.
        name: String,
        /// Its domain.
        domain: Domain,
    },
}

/// What the token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A project by id.
    ProjectId(String),
    /// A project by name.
    Project {
        /// The name.
        name: String,
        /// Its domain.
        domain: Domain,
    },
    /// A domain.
    Domain(Domain),
    /// The whole cloud.
    System,
    /// What a trustor has delegated.
    Trust(String),
    /// Whatever Keystone gives without asking: the user's default project, if any.
    Unscoped,
}

/// An application credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationCredential {
    /// By id.
    Id(String),
    /// By name, unique to the user.
    Name {
        /// The name.
        name: String,
        /// The user it belongs to.
        user: User,
    },
}

/// How kuryr proves who it is (`auth_type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthMethod {
    /// `password`, `v3password`.
    Password {
        /// Who.
        user: User,
        /// The proof.
        password: Secret,
        /// For what.
        scope: Scope,
    },
    /// `token`, `v3token`: trade a token for another one.
    Token {
        /// The proof.
        token: Secret,
        /// For what.
        scope: Scope,
    },
    /// `v3applicationcredential`; carries its scope in itself.
    ApplicationCredential {
        /// Which.
        credential: ApplicationCredential,
        /// The proof.
        secret: Secret,
    },
    /// `admin_token`: sent to Neutron as it is, without Keystone; needs an endpoint.
    AdminToken {
        /// The token.
        token: Secret,
    },
    /// `none`, `noauth`: no token at all; needs an endpoint.
    None,
}

/// Everything needed to talk to one cloud.
#[derive(Debug, Clone)]
pub struct CloudSettings {
    /// Keystone, with or without version; empty for the methods that do without Keystone.
    pub auth_url: String,
    /// Try Keystone's API v2.0 at `auth_url` before v3: the address is that of v2.0, and nothing is said of a domain.
    pub try_v2: bool,
    /// Who asks.
    pub auth: AuthMethod,
    /// The region whose Neutron to use; none takes the first of the catalog.
    pub region: Option<String>,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    /// Neutron's address instead of the catalog's, with or without `/v2.0`.
    pub endpoint_override: Option<String>,
    /// Trusted instead of the system's certificates.
    pub cafile: Option<PathBuf>,
    /// Take any certificate.
    pub insecure: bool,
    /// The client's certificate.
    pub certfile: Option<PathBuf>,
    /// The client's key.
    pub keyfile: Option<PathBuf>,
    /// Deadline of one call, a renewal of the token included.
    pub timeout: Duration,
}

/// Options by keystoneauth's names, as `[neutron]` of kuryr.conf, the `auth` of a cloud in clouds.yaml or OS_* give them.
pub type Options = BTreeMap<String, String>;

impl CloudSettings {
    /// Reads keystoneauth's options, with their aliases; unknown names are left alone. A dash in a name counts as an underscore, an empty
    /// value as absent. A user or project without any domain is taken from the domain with the id `default`, as openstackclient does.
    ///
    /// # Errors
    /// [`Error::Settings`] naming the option that is missing or wrong.
    pub fn from_options(options: &Options) -> Result<Self, Error> {
        let options = Reader::new(options);
        let auth_type = options.get(&["auth_type", "auth_plugin"]).unwrap_or_else(|| options.implied_auth_type().to_owned());
        let auth = match auth_type.as_str() {
            "password" | "v2password" | "v3password" => {
                let password = options.need("password", &["password"], &auth_type)?;
                AuthMethod::Password { user: options.user(&auth_type)?, password: Secret(password), scope: options.scope() }
            }
            "token" | "v2token" | "v3token" => {
                AuthMethod::Token { token: Secret(options.need("token", &["token"], &auth_type)?), scope: options.scope() }
            }
            "v3applicationcredential" => options.application_credential(&auth_type)?,
            "admin_token" => AuthMethod::AdminToken { token: Secret(options.need("token", &["token"], &auth_type)?) },
            "none" | "noauth" => AuthMethod::None,
            other => {
                return Err(settings(format!(
                    "auth_type '{other}' is not known; use password, token, v3applicationcredential, admin_token or none"
                )));
            }
        };
        let endpoint_override = options.get(&["endpoint_override", "network_endpoint_override", "endpoint", "url"]);
        let without_keystone = matches!(auth, AuthMethod::None | AuthMethod::AdminToken { .. });
        if without_keystone && endpoint_override.is_none() {
            return Err(settings(format!("auth_type {auth_type} needs 'endpoint', Neutron's address")));
        }
        let auth_url = if without_keystone { String::new() } else { options.need("auth_url", &["auth_url"], &auth_type)? };
        for (name, url) in [("auth_url", Some(&auth_url).filter(|url| !url.is_empty())), ("endpoint", endpoint_override.as_ref())] {
            if let Some(url) = url
                && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
            {
                return Err(settings(format!("{name} '{url}' is no address; write it as http://HOST:PORT/PATH or https://…")));
            }
        }
        let try_v2 = auth_url.trim_end_matches('/').ends_with("/v2.0")
            && !auth_type.starts_with("v3")
            && (auth_type.starts_with("v2") || !options.says_a_domain());
        Ok(Self {
            auth_url,
            try_v2,
            auth,
            region: options.get(&["region_name"]),
            interface: options.interface()?,
            endpoint_override,
            cafile: options.get(&["cafile", "cacert"]).map(PathBuf::from),
            insecure: options.insecure()?,
            certfile: options.get(&["certfile", "cert"]).map(PathBuf::from),
            keyfile: options.get(&["keyfile", "key"]).map(PathBuf::from),
            timeout: options.timeout()?,
        })
    }
}

pub(super) fn settings(reason: String) -> Error {
    Error::Settings { reason }
}

struct Reader(BTreeMap<String, String>);

impl Reader {
    fn new(options: &Options) -> Self {
        let filled = options.iter().filter(|(_, value)| !value.trim().is_empty());
        Self(filled.map(|(name, value)| (name.replace('-', "_"), value.clone())).collect())
    }

    fn get(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(*name)).cloned()
    }

    fn need(&self, name: &str, names: &[&str], auth_type: &str) -> Result<String, Error> {
        self.get(names).ok_or_else(|| settings(format!("auth_type {auth_type} needs '{name}'; set it")))
    }

    fn implied_auth_type(&self) -> &'static str {
        if self.get(&["application_credential_id", "application_credential_name"]).is_some() {
            "v3applicationcredential"
        } else if self.get(&["password"]).is_none() && self.get(&["token"]).is_some() {
            "token"
        } else {
            "password"
        }
    }

    fn domain(&self, of: &str) -> Domain {
        let ids = [format!("{of}_domain_id"), "default_domain_id".to_owned()];
        let names = [format!("{of}_domain_name"), "default_domain_name".to_owned(), "default_domain".to_owned()];
        // The object's own domain goes before the default one, an id before a name.
        for (id, name) in ids.iter().zip(&names) {
            if let Some(id) = self.get(&[id]) {
                return Domain::Id(id);
            }
            if let Some(name) = self.get(&[name]) {
                return Domain::Name(name);
            }
        }
        self.get(&["default_domain"]).map_or_else(|| Domain::Id("default".to_owned()), Domain::Id)
    }

    fn says_a_domain(&self) -> bool {
        self.0.keys().any(|name| name.ends_with("domain_id") || name.ends_with("domain_name") || name == "default_domain")
    }

    fn user(&self, auth_type: &str) -> Result<User, Error> {
        if let Some(id) = self.get(&["user_id"]) {
            return Ok(User::Id(id));
        }
        let name = self.need("username", &["username", "user_name"], auth_type)?;
        Ok(User::Name { name, domain: self.domain("user") })
    }

    fn scope(&self) -> Scope {
        if let Some(trust) = self.get(&["trust_id"]) {
            Scope::Trust(trust)
        } else if let Some(id) = self.get(&["project_id", "tenant_id"]) {
            Scope::ProjectId(id)
        } else if let Some(name) = self.get(&["project_name", "tenant_name"]) {
            Scope::Project { name, domain: self.domain("project") }
        } else if let Some(id) = self.get(&["domain_id"]) {
            Scope::Domain(Domain::Id(id))
        } else if let Some(name) = self.get(&["domain_name"]) {
            Scope::Domain(Domain::Name(name))
        } else if self.get(&["system_scope"]).is_some() {
            Scope::System
        } else {
            Scope::Unscoped
        }
    }

    fn application_credential(&self, auth_type: &str) -> Result<AuthMethod, Error> {
        let secret = Secret(self.need("application_credential_secret", &["application_credential_secret"], auth_type)?);
        let credential = match self.get(&["application_credential_id"]) {
            Some(id) => ApplicationCredential::Id(id),
            None => ApplicationCredential::Name {
                name: self.need("application_credential_id", &["application_credential_name"], auth_type)?,
                user: self.user(auth_type)?,
            },
        };
        Ok(AuthMethod::ApplicationCredential { credential, secret })
    }

    fn interface(&self) -> Result<String, Error> {
        let given = self.get(&["interface", "endpoint_type", "valid_interfaces"]).unwrap_or_else(|| "public".to_owned());
        // Keystone v2 called them publicURL and so on; configurations still do.
        let plain = given.strip_suffix("URL").unwrap_or(&given);
        if ["public", "internal", "admin"].contains(&plain) {
            Ok(plain.to_owned())
        } else {
            Err(settings(format!("the interface '{given}' is not known; use public, internal or admin")))
        }
    }

    fn insecure(&self) -> Result<bool, Error> {
        let truth = |name: &str| match self.get(&[name]).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => Ok(None),
            Some("1" | "true" | "yes" | "on") => Ok(Some(true)),
            Some("0" | "false" | "no" | "off") => Ok(Some(false)),
            Some(other) => Err(settings(format!("{name} '{other}' is neither true nor false"))),
        };
        Ok(match truth("insecure")? {
            Some(insecure) => insecure,
            None => truth("verify")?.is_some_and(|verify| !verify),
        })
    }

    fn timeout(&self) -> Result<Duration, Error> {
        let Some(text) = self.get(&["timeout", "api_timeout"]) else {
            return Ok(TIMEOUT);
        };
        let seconds = text.trim().parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| settings(format!("timeout '{text}' is no number of seconds above 0")))
    }
}
