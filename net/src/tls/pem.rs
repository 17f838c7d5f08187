//! Certificates and keys from PEM text.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{fmt, io};

/// Who one end is: a certificate with those that lead to its authority, and the key for it.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From the contents of PEM files: the certificate first, then intermediate ones; the key as PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    ///
    /// There is none of the one or the other, or the text is broken. Whether they fit each other is seen when they are used.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| broken("private key", &error))?;
        Ok(Identity { chain: certificates(chain)?, key })
    }

    /// From what is there already.
    #[must_use]
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Identity { chain, key }
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The authorities whose certificates are trusted, from the contents of a PEM file.
///
/// # Errors
///
/// There is none, or one is broken.
pub fn roots_from_pem(pem: &[u8]) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(super::invalid)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| broken("certificate", &error))?;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no certificate in the PEM text"));
    }
    Ok(found)
}

fn broken(what: &str, error: &impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("no {what} can be read from the PEM text: {error}"))
}
