//! Passwords and tokens: made of random bytes, kept as argon2 hashes.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::Error;

/// Memory of one hash in KiB: small, because a login is on the path of every daemon start and secrets of ours are random anyway.
const MEMORY_KIB: u32 = 1024;

/// A random text of 192 bits, safe in a URL and a shell.
pub fn random() -> Result<String, Error> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    // A leading dash would look like an option on a command line.
    Ok(format!("k{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The argon2id hash of a secret, with its salt and costs, as a PHC string.
pub fn hash(secret: &str) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Random(error.to_string());
    let params = Params::new(MEMORY_KIB, 2, 1, None).map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(secret.as_bytes()).map_err(|error| failed(&error))?.to_string())
}

/// Whether the secret is the one that was hashed.
pub fn verify(secret: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_verifies() {
        let stored = hash("right").unwrap();
        assert!(verify("right", &stored));
        assert!(!verify("wrong", &stored));
        assert!(!verify("right", "not a hash"));
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
