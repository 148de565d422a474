//! TLS of OpenFlow connections: certificates from files, both sides authenticated.
//!
//! The peer's certificate must be signed by the configured authority. As with Open vSwitch, that is what is checked: a
//! controller is named by its address, and certificates for addresses are rare, so its names are not looked at.

use crate::config::TlsConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

/// Certificates, ready to use.
#[derive(Clone, Debug)]
pub(super) struct TlsParts {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl TlsParts {
    /// Reads the files.
    pub(super) fn load(config: &TlsConfig) -> Result<TlsParts, TlsError> {
        let chain = certificates(&config.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&config.private_key)
            .map_err(|error| file(&config.private_key, format!("no private key in PEM: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.ca_certificate)? {
            roots.add(certificate).map_err(|error| file(&config.ca_certificate, error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let bad_roots =
            |error: rustls::server::VerifierBuilderError| file(&config.ca_certificate, error.to_string());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(bad_roots)?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName { inner }))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(bad_roots)?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(TlsParts { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The side that connects.
    pub(super) fn client(&self, peer: IpAddr) -> Result<ClientConnection, TlsError> {
        Ok(ClientConnection::new(Arc::clone(&self.client), ServerName::from(peer))?)
    }

    /// The side that is connected to.
    pub(super) fn server(&self) -> Result<ServerConnection, TlsError> {
        Ok(ServerConnection::new(Arc::clone(&self.server))?)
    }
}

fn file(path: &Path, reason: String) -> TlsError {
    TlsError::File { path: path.to_owned(), reason }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| file(path, format!("no certificate in PEM: {error}")))?;
    if chain.is_empty() { Err(file(path, "there is no certificate in it".to_owned())) } else { Ok(chain) }
}

/// Checks all of a certificate but whom it is for.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last: all else is in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
