//! clouds.yaml and secure.yaml. Source: openstacksdk, "Configuring OpenStack SDK Applications"; vendor profiles are not read.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    error::Error,
    settings::{CloudSettings, Options, settings},
};

/// Where to look, in this order; of each list the first file that exists is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// clouds.yaml or clouds.yml.
    pub clouds: Vec<PathBuf>,
    /// secure.yaml or secure.yml: the same shape, laid over the first.
    pub secure: Vec<PathBuf>,
}

impl Files {
    /// The usual places: `$OS_CLIENT_CONFIG_FILE` (`$OS_CLIENT_SECURE_FILE`), the working directory, `~/.config/openstack`,
    /// `/etc/openstack`.
    pub fn search(vars: &BTreeMap<String, String>) -> Self {
        let mut folders = vec![PathBuf::from(".")];
        let config = match (vars.get("XDG_CONFIG_HOME"), vars.get("HOME")) {
            (Some(config), _) => Some(PathBuf::from(config)),
            (None, Some(home)) => Some(PathBuf::from(home).join(".config")),
            (None, None) => None,
        };
        folders.extend(config.map(|config| config.join("openstack")));
        folders.push(PathBuf::from("/etc/openstack"));
        let places = |variable: &str, stem: &str| {
            let named = vars.get(variable).map(PathBuf::from);
            let usual = folders.iter().flat_map(|folder| ["yaml", "yml"].map(|end| folder.join(format!("{stem}.{end}"))));
            named.into_iter().chain(usual).collect()
        };
        Self { clouds: places("OS_CLIENT_CONFIG_FILE", "clouds"), secure: places("OS_CLIENT_SECURE_FILE", "secure") }
    }
}

impl CloudSettings {
    /// The cloud of this name.
    ///
    /// # Errors
    /// [`Error::Settings`] when there is no file, no such cloud in it, or an option is missing or wrong.
    pub fn from_clouds_yaml(name: &str, files: &Files) -> Result<Self, Error> {
        Self::from_options(&options(name, files)?)
    }
}

/// The cloud's options by keystoneauth's names.
pub(super) fn options(name: &str, files: &Files) -> Result<Options, Error> {
    let Some((path, mut document)) = first(&files.clouds)? else {
        let looked = files.clouds.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(settings(format!("cloud '{name}' is wanted, but there is no clouds.yaml; looked for {looked}")));
    };
    if let Some((_, secure)) = first(&files.secure)? {
        merge(&mut document, secure);
    }
    let clouds = document.get("clouds").and_then(Value::as_object);
    let Some(cloud) = clouds.and_then(|clouds| clouds.get(name)).and_then(Value::as_object) else {
        let names = clouds.map(|clouds| clouds.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        let names = if names.is_empty() { "no cloud at all" } else { &names };
        return Err(settings(format!("there is no cloud '{name}' in {}; it has {names}", path.display())));
    };
    let mut options = Options::new();
    // What stands under `auth` goes before the same name beside it.
    let auth = cloud.get("auth").and_then(Value::as_object).into_iter().flatten();
    for (key, value) in cloud.iter().filter(|(key, _)| *key != "auth").chain(auth) {
        if let Some(text) = scalar(value) {
            options.insert(key.clone(), text);
        }
    }
    Ok(options)
}

fn first(paths: &[PathBuf]) -> Result<Option<(PathBuf, Value)>, Error> {
    for path in paths {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(settings(format!("{} cannot be read: {error}", path.display()))),
        };
        // The parser's own text quotes the file, which may hold a password.
        let document = serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
            settings(format!("{} is not valid YAML{place}; correct it", path.display()))
        })?;
        if holds_secret(&document) && open_to_others(path) {
            tracing::warn!("{} holds a password and can be read by every user; run chmod o-rwx on it", path.display());
        }
        return Ok(Some((path.clone(), document)));
    }
    Ok(None)
}

fn open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn holds_secret(document: &Value) -> bool {
    match document {
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| holds_secret(value) || ["password", "token", "application_credential_secret"].contains(&&**key)),
        Value::Array(items) => items.iter().any(holds_secret),
        _ => false,
    }
}

fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            let below: &mut Map<String, Value> = below;
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openstack::{AuthMethod, Scope, User};

    const CLOUDS: &str = "clouds:\n  lab:\n    auth:\n      auth_url: http://keystone/v3\n      username: u\n      project_id: 42\n    region_name: one\n    verify: false\n  other: {}\n";
    const SECURE: &str = "clouds:\n  lab:\n    auth:\n      password: s3cret\n";

    fn files(clouds: &str, secure: &str) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let [clouds, secure] = [("clouds.yaml", clouds), ("secure.yaml", secure)].map(|(name, text)| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            vec![folder.path().join("missing.yaml"), path]
        });
        (folder, Files { clouds, secure })
    }

    #[test]
    fn secure_yaml_is_laid_over_and_secrets_stay_hidden() {
        let (_folder, files) = files(CLOUDS, SECURE);
        let settings = CloudSettings::from_clouds_yaml("lab", &files).unwrap();
        let AuthMethod::Password { user: User::Name { name, .. }, password, scope } = &settings.auth else { panic!("{settings:?}") };
        assert_eq!((name.as_str(), password.expose(), scope), ("u", "s3cret", &Scope::ProjectId("42".to_owned())));
        assert_eq!((settings.region.as_deref(), settings.insecure), (Some("one"), true));
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn files_are_looked_for_in_the_order_of_openstacksdk() {
        let search = |vars: &[(&str, &str)]| {
            let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let shown = |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            let Files { clouds, secure } = Files::search(&vars);
            (shown(clouds), shown(secure))
        };
        let (clouds, secure) = search(&[("HOME", "/home/u"), ("OS_CLIENT_CONFIG_FILE", "/named")]);
        assert_eq!(
            clouds,
            [
                "/named",
                "./clouds.yaml",
                "./clouds.yml",
                "/home/u/.config/openstack/clouds.yaml",
                "/home/u/.config/openstack/clouds.yml",
                "/etc/openstack/clouds.yaml",
                "/etc/openstack/clouds.yml",
            ]
        );
        assert_eq!(secure[..2], ["./secure.yaml", "./secure.yml"]);
        let (clouds, secure) = search(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("OS_CLIENT_SECURE_FILE", "/secret")]);
        assert_eq!((clouds[2].as_str(), secure[0].as_str()), ("/x/openstack/clouds.yaml", "/secret"));
        assert_eq!(search(&[]).0.len(), 4);
    }

    #[test]
    fn the_first_file_counts_and_auth_goes_before_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let one = write("one", "clouds: {c: {auth_url: 'http://beside', auth: {auth_url: 'http://inside', username: u}, timeout: 3}}\n");
        let two = write("two", "clouds: {c: {auth: {auth_url: 'http://two'}, region_name: two}}\n");
        let secure = write("secure", "clouds: {c: {auth: {password: 12345}}}\n");
        let found = options("c", &Files { clouds: vec![one, two], secure: vec![secure] }).unwrap();
        let wanted = [("auth_url", "http://inside"), ("password", "12345"), ("timeout", "3"), ("username", "u")];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let error = options("c", &Files::default()).unwrap_err().to_string();
        assert!(error.contains("there is no clouds.yaml"), "{error}");
    }

    #[test]
    fn a_secret_is_seen_wherever_it_stands() {
        for (text, holds) in [
            (CLOUDS, false),
            (SECURE, true),
            ("clouds: {c: {auth: {application_credential_secret: s}}}", true),
            ("clouds: {c: {token: t}}", true),
            ("clouds: [{password: p}]", true),
        ] {
            assert_eq!(holds_secret(&serde_saphyr::from_str(text).unwrap()), holds, "{text}");
        }
    }

    #[test]
    fn an_unknown_cloud_and_broken_yaml_are_named() {
        let (_folder, known) = files(CLOUDS, SECURE);
        let error = CloudSettings::from_clouds_yaml("nope", &known).unwrap_err().to_string();
        assert!(error.contains("'nope'") && error.contains("lab, other"), "{error}");
        let (_folder, broken) = files(CLOUDS, "clouds: {lab: [s3cret");
        let error = CloudSettings::from_clouds_yaml("lab", &broken).unwrap_err().to_string();
        assert!(error.contains("secure.yaml is not valid YAML") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn os_cloud_chooses_and_the_environment_overrides_the_region() {
        let (folder, _) = files(CLOUDS, SECURE);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let vars = [
            ("OS_CLOUD", "lab".to_owned()),
            ("OS_CLIENT_CONFIG_FILE", at("clouds.yaml")),
            ("OS_CLIENT_SECURE_FILE", at("secure.yaml")),
            ("OS_REGION_NAME", "two".to_owned()),
        ];
        let settings = CloudSettings::from_environment(vars.map(|(name, value)| (name.to_owned(), value))).unwrap();
        assert_eq!(settings.region.as_deref(), Some("two"));
        let error = CloudSettings::from_environment([]).unwrap_err().to_string();
        assert!(error.contains("OS_CLOUD"), "{error}");
    }
}
