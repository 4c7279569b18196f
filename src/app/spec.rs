//! The file in which a container engine finds a plugin that listens on TCP: `NAME.spec` holds a URL, `NAME.json` what TLS needs as well
//! (moby's `pkg/plugins/discovery.go`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::config::Spec;

/// The file cannot be written or would not say what is needed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no address to tell.
    #[error("[kuryr] spec_file is set, but kuryr listens on no TCP address; set kuryr_uri as well")]
    NoAddress,
    /// A `.spec` has no place for the files of TLS.
    #[error("[kuryr] spec_file '{}' cannot name the files that TLS needs; let it end in .json", .0.display())]
    NoPlace(PathBuf),
    /// Without an authority the engine would trust any server.
    #[error(
        "[kuryr] spec_file is set and enable_ssl too, but not spec_ca_file, without which the engine trusts any server; set it to the authority of ssl_cert_file"
    )]
    NoAuthority,
    /// The system refused.
    #[error("cannot write [kuryr] spec_file '{}': {source}; check the rights of its folder", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file while it is ours; goes when this is dropped, unless somebody else has written it meanwhile.
#[derive(Debug)]
pub struct SpecFile {
    path: PathBuf,
    text: String,
}

impl Drop for SpecFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes the file for `url`, which begins with `https://` for TLS. A file that says something else is another's and stays: none is then ours.
///
/// # Errors
/// Settings that contradict each other, and what the system says.
pub fn write(spec: &Spec, url: Option<&str>) -> Result<Option<SpecFile>, Error> {
    let text = text(spec, url.ok_or(Error::NoAddress)?)?;
    let path = spec.file.clone();
    match fs::read_to_string(&path) {
        // A daemon that was killed has left it.
        Ok(found) if found == text => return Ok(Some(SpecFile { path, text })),
        Ok(_) => {
            tracing::warn!(file = %path.display(), "the engine's plugin file is there and says something else, so it is left as it is");
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Write { path, source }),
    }
    put(&path, &text).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(Some(SpecFile { path, text }))
}

/// Under another name first: an engine that looks at this moment finds all of it or nothing.
fn put(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    fs::write(&hidden, text).and_then(|()| fs::rename(&hidden, path)).inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })
}

fn text(spec: &Spec, url: &str) -> Result<String, Error> {
    let tls = url.starts_with("https://");
    if spec.file.extension().is_none_or(|extension| extension != "json") {
        return if tls { Err(Error::NoPlace(spec.file.clone())) } else { Ok(format!("{url}\n")) };
    }
    let mut told = json!({"Name": "kuryr", "Addr": url});
    if tls {
        told["TLSConfig"] = json!({"InsecureSkipVerify": false, "CAFile": spec.ca.as_ref().ok_or(Error::NoAuthority)?});
        if let (Some(certificate), Some(key)) = (&spec.certificate, &spec.key) {
            told["TLSConfig"]["CertFile"] = json!(certificate);
            told["TLSConfig"]["KeyFile"] = json!(key);
        }
    }
    Ok(format!("{told:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(file: &Path) -> Spec {
        Spec { file: file.to_owned(), ca: Some("/ca".into()), certificate: Some("/cert".into()), key: Some("/key".into()) }
    }

    #[test]
    fn each_kind_says_what_the_engine_reads() {
        let json: serde_json::Value =
            serde_json::from_str(&text(&spec(Path::new("kuryr.json")), "https://127.0.0.1:23750").unwrap()).unwrap();
        let files = json!({"InsecureSkipVerify": false, "CAFile": "/ca", "CertFile": "/cert", "KeyFile": "/key"});
        assert_eq!(json, json!({"Name": "kuryr", "Addr": "https://127.0.0.1:23750", "TLSConfig": files}));
        assert_eq!(text(&spec(Path::new("kuryr.spec")), "http://127.0.0.1:1").unwrap(), "http://127.0.0.1:1\n");
        assert!(!text(&spec(Path::new("kuryr.json")), "http://127.0.0.1:1").unwrap().contains("TLSConfig"));
        let untrusting = Spec { ca: None, ..spec(Path::new("kuryr.json")) };
        assert!(matches!(text(&untrusting, "https://x"), Err(Error::NoAuthority)), "the engine would then verify nothing");
        assert!(matches!(text(&spec(Path::new("kuryr.spec")), "https://x"), Err(Error::NoPlace(_))));
    }

    #[test]
    fn the_file_goes_with_the_daemon_and_another_ones_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins/kuryr/kuryr.spec");
        let ours = write(&spec(&file), Some("http://127.0.0.1:1")).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "http://127.0.0.1:1\n");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "a temporary name stayed");
        // As after a crash: the next daemon finds it and has it as its own.
        std::mem::forget(ours);
        drop(write(&spec(&file), Some("http://127.0.0.1:1")).unwrap().unwrap());
        assert!(!file.exists());
        fs::write(&file, "http://127.0.0.1:2\n").unwrap();
        assert!(write(&spec(&file), Some("http://127.0.0.1:1")).unwrap().is_none());
        assert_eq!(fs::read_to_string(&file).unwrap(), "http://127.0.0.1:2\n");
    }
}
