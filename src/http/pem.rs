//! Certificates and keys out of the PEM files that options name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// A PEM file cannot be read or holds nothing usable.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {option} '{}': {reason}; name a readable PEM file that holds {wanted}", path.display())]
pub struct Error {
    /// The option that names the file.
    pub option: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What should be in it.
    pub wanted: &'static str,
    /// What went wrong.
    pub reason: String,
}

/// What `parse` makes of the file that `option` names.
pub(super) fn read<T>(
    option: &'static str,
    path: &Path,
    wanted: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Error> {
    let text = fs::read(path).map_err(|error| error.to_string());
    text.and_then(|text| parse(&text)).map_err(|reason| Error { option, path: path.to_owned(), wanted, reason })
}

/// The certificates of a PEM text, of which there must be one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

/// The private key of a PEM text.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())
}
