//! A cluster's authority and its nodes' certificates (feature `certs`). The program `engset-certs` is this at the command line.
//!
//! An authority is a key and the cluster's name: its certificate follows from them, but for a fresh signature. Its key belongs on no node. Certificates
//! do not expire; to shut a node out the cluster gets a new authority.

use super::tls::NODE;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate and its key, as texts in PEM.
#[derive(Clone)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// The key: a secret.
    pub key: String,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Who says which nodes belong to a cluster.
///
/// ```
/// use engset_net::dist::{certs::Authority, tls::Credentials};
///
/// let authority = Authority::new("shop")?;
/// let node = authority.certify("a@10.0.0.7:7100")?;
/// let certificate = authority.certificate()?;
/// Credentials::from_pem(certificate.as_bytes(), node.certificate.as_bytes(), node.key.as_bytes())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Authority {
    cluster: String,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    ///
    /// No key can be made.
    pub fn new(cluster: impl Into<String>) -> Result<Self, Error> {
        Ok(Authority { cluster: cluster.into(), key: KeyPair::generate()? })
    }

    /// The one that has this key.
    ///
    /// # Errors
    ///
    /// It is no key.
    pub fn from_key(cluster: impl Into<String>, key: &str) -> Result<Self, Error> {
        Ok(Authority { cluster: cluster.into(), key: KeyPair::from_pem(key)? })
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, format!("engset cluster {}", self.cluster));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    /// Its certificate, which each node has to have.
    ///
    /// # Errors
    ///
    /// It cannot be signed.
    pub fn certificate(&self) -> Result<String, Error> {
        Ok(self.params()?.self_signed(&self.key)?.pem())
    }

    /// Its key. It belongs on no node.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate for a node. The name is for people: it is not looked at.
    ///
    /// # Errors
    ///
    /// It cannot be signed.
    pub fn certify(&self, name: &str) -> Result<Pem, Error> {
        let mut params = CertificateParams::new(vec![NODE.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(self.params()?, &self.key);
        Ok(Pem { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    }
}
