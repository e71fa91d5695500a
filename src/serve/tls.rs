//! TLS 1.2 and 1.3: the certificate, the key and whom to believe about clients, replaced while connections go on.

mod expiry;
mod p521;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
pub use expiry::Expiry;

/// Protocols offered over TLS, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM form", path.display())]
    Missing { path: PathBuf, what: &'static str },
    #[error(
        "the key {} is encrypted, and nobody is there to type its passphrase: write it without one (openssl pkey -in KEY -out \
         NEWKEY) into a file that only the daemon's user may read",
        path.display()
    )]
    Encrypted { path: PathBuf },
    #[error("{} is not PEM: {why}", path.display())]
    Pem { path: PathBuf, why: String },
    #[error("certificate {} and key {} cannot be used: {why}", certificate.display(), key.display())]
    Unfit { certificate: PathBuf, key: PathBuf, why: String },
    #[error("{} cannot be used as authorities of clients: {why}", path.display())]
    Authorities { path: PathBuf, why: String },
}

/// What `https://` listeners speak with; connections keep what they began with.
pub struct Tls {
    current: RwLock<TlsAcceptor>,
    files: Mutex<Files>,
}

/// Why a handshake refused the client's certificate; `None` where that was not the reason.
pub(super) fn refused(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "no authority of client_ca has made it".to_owned(),
        CertificateError::Revoked => "it is revoked".to_owned(),
        CertificateError::Other(other) if other.0.to_string().contains("UnsupportedCertVersion") => {
            "it is of X.509 version 1; make one of version 3 (with openssl x509 -req, give -extfile)"
                .to_owned()
        }
        other => other.to_string(),
    })
}

/// The files as they were read.
#[derive(PartialEq, Eq)]
struct Files {
    config: TlsConfig,
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Blocking.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(config)?;
        Ok(Self { current: RwLock::new(files.acceptor()?), files: Mutex::new(files) })
    }

    /// Takes up changed files for connections to come; says whether there was a change. On an error all
    /// stays as it was. Blocking.
    pub fn reload(&self, config: &TlsConfig) -> Result<bool, TlsError> {
        let new = Files::read(config)?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if new == *files {
            return Ok(false);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.acceptor()?;
        *files = new;
        Ok(true)
    }

    /// When the certificates that are in use end, each file's first.
    pub fn expiries(&self) -> Vec<Expiry> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Files { config, certificate, client_ca, .. } = &*files;
        let own = Expiry::first(&config.certificate, "server", certificate);
        let authorities = config.client_ca.as_deref().zip(client_ca.as_deref());
        let authorities = authorities.and_then(|(path, text)| Expiry::first(path, "client_ca", text));
        own.into_iter().chain(authorities).collect()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
        };
        Ok(Self {
            certificate: read(&config.certificate)?,
            key: read(&config.key)?,
            client_ca: config.client_ca.as_deref().map(read).transpose()?,
            config: config.clone(),
        })
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let TlsConfig { certificate, key, client_ca } = &self.config;
        let chain = certificates(certificate, &self.certificate)?;
        // PKCS #8 in its own title, the older form in a header of its own.
        let is_encrypted = |text: &[u8]| memchr::memmem::find(&self.key, text).is_some();
        if is_encrypted(b"BEGIN ENCRYPTED PRIVATE KEY") || is_encrypted(b"Proc-Type: 4,ENCRYPTED") {
            return Err(TlsError::Encrypted { path: key.clone() });
        }
        let secret =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| pem(key, "private key", &error))?;
        let unfit = |error: rustls::Error| TlsError::Unfit {
            certificate: certificate.clone(),
            key: key.clone(),
            why: match error {
                rustls::Error::InconsistentKeys(_) => "the key is another certificate's".into(),
                other => other.to_string(),
            },
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?;
        let builder = match client_ca.as_deref().zip(self.client_ca.as_deref()) {
            Some((path, text)) => {
                let bad = |why: String| TlsError::Authorities { path: path.to_owned(), why };
                let mut roots = RootCertStore::empty();
                for authority in certificates(path, text)? {
                    roots.add(authority).map_err(|error| bad(error.to_string()))?;
                }
                // Asked for, not demanded: who may do what is decided for each request.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| bad(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let secret = p521::any_key(&provider, secret).map_err(unfit)?;
        let certified = CertifiedKey::new(chain, secret);
        match certified.keys_match() {
            // As rustls itself has it: a key that does not say its public part is taken at its word.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(unfit(error)),
        }
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(unfit)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::Missing { path: path.to_owned(), what }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(pem(path, what, &error)),
    }
}

fn pem(path: &Path, what: &'static str, error: &rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::Missing { path, what },
        other => TlsError::Pem { path, why: other.to_string() },
    }
}
