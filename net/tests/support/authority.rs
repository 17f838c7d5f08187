//! Certificates for tests.

#![allow(dead_code, reason = "each test file uses a part")]

use engset_net::tls::{Identity, TlsAcceptor, TlsConnector, roots_from_pem, rustls::RootCertStore};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own: a certificate says by name who has signed it.
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        roots_from_pem(self.pem.as_bytes()).expect("a certificate")
    }

    /// Chain and key as PEM texts.
    pub(crate) fn sign(&self, name: &str, is_valid: bool) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if !is_valid {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 2, 2);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let (chain, key) = self.sign(name, true);
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("made just now")
    }

    /// For `localhost`.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::new(self.identity("localhost")).expect("made just now")
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::new(self.roots()).expect("ring works")
    }
}
