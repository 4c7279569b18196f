//! From settings by name to the configuration in effect: which key stands in for which, and how a text becomes a value.

use std::{path::PathBuf, time::Duration};

use super::{Auth, Config, Error, Log, NamedFile, Neutron, Origin, PortPool, Secret, Settings, Spec, Ssl, kind, options};

/// Asks the settings by option name. A name that is not in the table would be unset; a test holds that there is none.
pub(super) struct Reader<'a>(pub(super) &'a Settings);

impl Reader<'_> {
    fn text_in(&self, section: &str, group: &str, name: &str) -> Result<Option<String>, Error> {
        let Some(opt) = options::find(group, name) else { return Ok(None) };
        Ok(self.0.get_in(section, opt)?.map(|s| s.text).filter(|t| !t.is_empty()))
    }

    fn text(&self, group: &str, name: &str) -> Result<Option<String>, Error> {
        self.text_in(group, group, name)
    }

    fn must(&self, name: &str) -> Result<String, Error> {
        Ok(self.text("DEFAULT", name)?.unwrap_or_default())
    }

    fn flag(&self, group: &str, name: &str) -> Result<bool, Error> {
        Ok(self.text(group, name)?.and_then(|t| options::flag(&t)).unwrap_or(false))
    }

    fn seconds(text: Option<String>) -> Option<Duration> {
        text.and_then(|t| t.trim().parse().ok()).filter(|n| *n > 0).map(Duration::from_secs)
    }

    fn list(&self, group: &str, name: &str) -> Result<Vec<String>, Error> {
        let text = self.text(group, name)?.unwrap_or_default();
        Ok(kind::items(&text).map(str::to_owned).collect())
    }

    /// The value of `[neutron]` when somebody set it, else Mitaka's, else the default.
    fn neutron(&self, name: &str, mitaka: &str) -> Result<Option<String>, Error> {
        let set = |group, name| match options::find(group, name) {
            Some(opt) => Ok(self.0.get(opt)?.filter(|s| s.origin != Origin::Default)),
            None => Ok(None),
        };
        if set("neutron", name)?.is_none() {
            let (group, key) = mitaka.split_once('.').unwrap_or(("", mitaka));
            if let Some(old) = set(group, key)? {
                return Ok(Some(old.text));
            }
        }
        self.text("neutron", name)
    }

    /// The first of a default pool's names: Mitaka's variables hold a comma list.
    fn pool(&self, name: &str) -> Result<String, Error> {
        let text = self.neutron(name, &format!("neutron_client.{name}"))?.unwrap_or_default();
        Ok(text.split(',').next().unwrap_or_default().trim().to_owned())
    }

    fn auth(&self) -> Result<Auth, Error> {
        let section = self.text("neutron", "auth_section")?;
        let get = |name: &str| self.text_in(section.as_deref().unwrap_or("neutron"), "neutron", name);
        // Mitaka's keys stand in only where [neutron] itself is asked; `auth_section` names its own.
        let or = |name: &str, old: &str| match get(name)? {
            None if section.is_none() => self.text("keystone_client", old),
            found => Ok(found),
        };
        let (user, token) = (or("username", "admin_user")?, or("token", "admin_token")?);
        let password = or("password", "admin_password")?;
        let said = |name: &str| Ok::<_, Error>(self.text("keystone_client", name)?.is_some());
        let mitaka =
            get("auth_type")?.is_none() && get("auth_url")?.is_none() && section.is_none() && (said("admin_user")? || said("admin_token")?);
        let auth_url = or("auth_url", "auth_uri")?.or_else(|| mitaka.then(|| "http://127.0.0.1:35357/v2.0".to_owned()));
        let auth_type = get("auth_type")?.or_else(|| {
            // Mitaka's order: user and password when both are set, else the token.
            let kind = if user.is_some() && password.is_some() { "password" } else { "token" };
            mitaka.then(|| kind.to_owned())
        });
        Ok(Auth {
            auth_type,
            auth_url,
            username: user,
            user_id: get("user_id")?,
            password: password.map(Secret),
            project_name: or("project_name", "admin_tenant_name")?,
            project_id: get("project_id")?,
            user_domain_name: get("user_domain_name")?,
            user_domain_id: get("user_domain_id")?,
            project_domain_name: get("project_domain_name")?,
            project_domain_id: get("project_domain_id")?,
            default_domain_name: get("default_domain_name")?,
            default_domain_id: get("default_domain_id")?,
            domain_name: get("domain_name")?,
            domain_id: get("domain_id")?,
            system_scope: get("system_scope")?,
            trust_id: get("trust_id")?,
            token: token.map(Secret),
            application_credential_id: get("application_credential_id")?,
            application_credential_name: get("application_credential_name")?,
            application_credential_secret: get("application_credential_secret")?.map(Secret),
            endpoint: get("endpoint")?,
        })
    }

    fn log(&self) -> Result<Log, Error> {
        let (dir, file) = (self.text("DEFAULT", "log_dir")?, self.text("DEFAULT", "log_file")?);
        let file = match (dir, file) {
            (None, file) => file.map(PathBuf::from),
            (Some(dir), file) => Some(PathBuf::from(dir).join(file.as_deref().unwrap_or("kuryr-server.log"))),
        };
        Ok(Log {
            debug: self.flag("DEFAULT", "debug")?,
            file,
            stderr: self.flag("DEFAULT", "use_stderr")?,
            json: self.flag("DEFAULT", "use_json")?,
            syslog: if self.flag("DEFAULT", "use_syslog")? { self.text("DEFAULT", "syslog_log_facility")? } else { None },
            journal: if self.flag("DEFAULT", "use_journal")? { self.text("DEFAULT", "syslog_log_facility")? } else { None },
            levels: self.list("DEFAULT", "default_log_levels")?,
        })
    }

    fn files(&self) -> Result<Vec<NamedFile>, Error> {
        let tls = [("DEFAULT", "ssl_cert_file"), ("DEFAULT", "ssl_key_file"), ("kuryr", "ssl_client_ca_file")];
        let cloud = [("neutron", "cafile"), ("neutron", "certfile"), ("neutron", "keyfile"), ("keystone_client", "auth_ca_cert")];
        let serves_tls = self.flag("DEFAULT", "enable_ssl")?;
        let mut files = Vec::new();
        for (group, name) in cloud.into_iter().chain(tls.into_iter().filter(|_| serves_tls)) {
            let Some(opt) = options::find(group, name) else { continue };
            if let Some(found) = self.0.get(opt)?.filter(|found| !found.text.is_empty()) {
                files.push(NamedFile { group, option: opt.name, origin: found.origin, path: found.text.into() });
            }
        }
        Ok(files)
    }

    pub(super) fn config(&self) -> Result<Config, Error> {
        let path = |text: Option<String>| PathBuf::from(text.unwrap_or_default());
        let neutron = Neutron {
            enable_dhcp: self.neutron("enable_dhcp", "neutron_client.enable_dhcp")?.is_none_or(|t| kind::neutron_flag(&t) != Some(false)),
            default_subnetpool_v4: self.pool("default_subnetpool_v4")?,
            default_subnetpool_v6: self.pool("default_subnetpool_v6")?,
            vif_plugging_is_fatal: self
                .neutron("vif_plugging_is_fatal", "neutron_client.vif_plugging_is_fatal")?
                .is_some_and(|t| options::flag(&t) == Some(true)),
            vif_plugging_timeout: Self::seconds(self.neutron("vif_plugging_timeout", "neutron_client.vif_plugging_timeout")?),
            region_name: self.text("neutron", "region_name")?,
            endpoint_type: self.text("neutron", "endpoint_type")?.unwrap_or_default(),
            endpoint_override: self.neutron("endpoint_override", "neutron_client.neutron_uri")?,
            cafile: self.neutron("cafile", "keystone_client.auth_ca_cert")?.map(PathBuf::from),
            certfile: self.text("neutron", "certfile")?.map(PathBuf::from),
            keyfile: self.text("neutron", "keyfile")?.map(PathBuf::from),
            insecure: self.neutron("insecure", "keystone_client.auth_insecure")?.is_some_and(|t| options::flag(&t) == Some(true)),
            timeout: Self::seconds(self.text("neutron", "timeout")?),
        };
        let file = |name: &str| Ok::<_, Error>(self.text("kuryr", name)?.map(PathBuf::from));
        let ssl = Ssl {
            certificate: self.must("ssl_cert_file")?.into(),
            key: self.must("ssl_key_file")?.into(),
            client_ca: file("ssl_client_ca_file")?,
        };
        let spec = match file("spec_file")? {
            Some(path) => {
                Some(Spec { file: path, ca: file("spec_ca_file")?, certificate: file("spec_cert_file")?, key: file("spec_key_file")? })
            }
            None => None,
        };
        let number = |name: &str| {
            let text = self.text("port_pool", name)?;
            Ok::<usize, Error>(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
        };
        let port_pool = PortPool {
            enabled: self.flag("port_pool", "enabled")?,
            min: number("min")?,
            max: number("max")?,
            batch: number("batch")?,
            idle_time: Duration::from_secs(number("idle_time")? as u64),
            share: number("share")?,
        };
        let host = match self.text("DEFAULT", "host")? {
            Some(host) => host,
            None => nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        Ok(Config {
            host,
            kuryr_uri: self.text("DEFAULT", "kuryr_uri")?,
            capability_scope: self.must("capability_scope")?,
            local_default_address_space: self.must("local_default_address_space")?,
            global_default_address_space: self.must("global_default_address_space")?,
            port_drivers: self.port_drivers()?,
            process_external_connectivity: self.flag("DEFAULT", "process_external_connectivity")?,
            ssl: self.flag("DEFAULT", "enable_ssl")?.then_some(ssl),
            spec,
            bindir: self.must("bindir")?.into(),
            subnetpool_name_prefix: self.must("subnetpool_name_prefix")?,
            log: self.log()?,
            state_path: path(self.text("kuryr", "state_path")?),
            socket: path(self.text("kuryr", "socket")?),
            external_network: self.text("kuryr", "external_network")?,
            ovsdb_socket: path(self.text("kuryr", "ovsdb_socket")?),
            ovs_bridge: self.text("kuryr", "ovs_bridge")?.unwrap_or_default(),
            metrics_listen: self.list("kuryr", "metrics_listen")?,
            ports_by_mac: self.flag("kuryr", "ports_by_mac")?,
            request_timeout: Self::seconds(self.text("kuryr", "request_timeout")?).unwrap_or(Duration::from_secs(20)),
            port_pool,
            neutron,
            auth: self.auth()?,
            files: self.files()?,
            veth_dst_prefix: self.text("binding", "veth_dst_prefix")?.unwrap_or_default(),
            warnings: self.0.warnings.clone(),
        })
    }
}
