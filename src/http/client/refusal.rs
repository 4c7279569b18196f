//! Why a TLS connection did not come about, in words for the person who set it up.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error};

/// TLS was refused, by us or by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRefusal {
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
}

const TRUST: &str = "name in cafile the certificate of the authority that signed it, or set insecure to go without verification";
const NAME: &str = "use a host name that the certificate is made for, or set insecure to go without verification";
const DATES: &str = "have the certificate renewed and check the clock of this host, or set insecure to go without verification";
const IDENTITY: &str = "name in certfile and keyfile a client certificate that it accepts";
const PLAIN: &str = "check the port, or write http:// if it is meant to go without TLS";

/// The TLS error below `error`, if one is the cause.
pub fn tls_refusal(error: &(dyn StdError + 'static)) -> Option<TlsRefusal> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(refusal(tls));
        }
        // An I/O error gives away the source of what it wraps, not the wrapped error itself.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn refusal(error: &Error) -> TlsRefusal {
    let (reason, remedy) = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => ("its certificate is signed by nobody we trust".to_owned(), TRUST),
        // An authority that was made anew under its old name, for one.
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            ("its certificate is not signed by the authority that we trust under that name".to_owned(), TRUST)
        }
        Error::InvalidCertificate(error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
            (error.to_string(), NAME)
        }
        Error::InvalidCertificate(
            error @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        ) => (format!("its certificate is out of date: {error}"), DATES),
        Error::InvalidCertificate(error) => (format!("its certificate is not good: {error}"), TRUST),
        Error::AlertReceived(AlertDescription::CertificateRequired) => ("it asks for a client certificate".to_owned(), IDENTITY),
        Error::AlertReceived(
            alert @ (AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => (format!("it refuses our certificate, or that we have none ({alert:?})"), IDENTITY),
        Error::InvalidMessage(_) => ("it does not speak TLS".to_owned(), PLAIN),
        other => (other.to_string(), "check the TLS settings on both sides"),
    };
    TlsRefusal { reason, remedy }
}
