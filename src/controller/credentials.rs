//! What clients log in with, read from the files that the first start has written.

use std::{collections::BTreeMap, fs};

use super::{ControllerSettings, Error, first_start};

/// What a client logs in with; the domain is `Default`.
#[derive(Clone)]
pub struct Credentials {
    /// Keystone's address.
    pub auth_url: String,
    /// The user's name.
    pub username: String,
    /// The project's name.
    pub project: String,
    /// The password, never to be logged.
    pub password: String,
}

impl Credentials {
    /// The same as keystoneauth's options, by their names.
    pub fn options(self) -> BTreeMap<String, String> {
        let options = [
            ("auth_type", "password".to_owned()),
            ("auth_url", self.auth_url),
            ("username", self.username),
            ("password", self.password),
            ("project_name", self.project),
            ("user_domain_name", "Default".to_owned()),
            ("project_domain_name", "Default".to_owned()),
        ];
        options.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("auth_url", &self.auth_url).field("username", &self.username).finish_non_exhaustive()
    }
}

impl ControllerSettings {
    /// The text for `kuryr controller rc`: a shell file that makes the `openstack` command talk to this controller as `admin`. It reads the
    /// password's file and leaves the store alone, which belongs to the daemon.
    pub fn openrc(&self) -> Result<String, Error> {
        let credentials = self.credentials("admin", first_start::ADMIN_PASSWORD)?;
        // The daemon works in the project `kuryr`, so that is the one to look at.
        Ok(format!(
            "export OS_AUTH_URL={}\nexport OS_IDENTITY_API_VERSION=3\nexport OS_USERNAME={}\nexport OS_PASSWORD='{}'\n\
             export OS_PROJECT_NAME=kuryr\nexport OS_USER_DOMAIN_NAME=Default\nexport OS_PROJECT_DOMAIN_NAME=Default\n\
             export OS_REGION_NAME=RegionOne\n",
            credentials.auth_url,
            credentials.username,
            // The operator may have written one of his own into the file, and the shell is not to read it as more than a word.
            credentials.password.replace('\'', r"'\''")
        ))
    }

    pub(super) fn credentials(&self, user: &str, file: &str) -> Result<Credentials, Error> {
        let path = self.state_dir.join(file);
        let password = fs::read_to_string(&path).map_err(|source| Error::Password(path, source))?.trim_end_matches('\n').to_owned();
        let auth_url = format!("http://{}/identity/v3", self.listen);
        Ok(Credentials { auth_url, username: user.to_owned(), project: user.to_owned(), password })
    }
}
