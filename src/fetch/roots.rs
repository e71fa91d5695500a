//! The certificate authorities to believe: those of a file, or of this machine where its distribution keeps them.

use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Fedora and EL, Debian and SUSE, Alpine; as OpenSSL is built there.
const BUNDLES: [&str; 4] = [
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Those in `file`, or else in `$SSL_CERT_FILE`, or else the distribution's.
pub fn trusted(file: Option<&Path>) -> io::Result<RootCertStore> {
    let named = file.map(Path::to_owned).or_else(|| std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None => BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
            io::Error::other("no certificate authorities are installed (package ca-certificates)")
        })?,
    };
    let failed = |why: &dyn std::fmt::Display| {
        io::Error::other(format!("the certificate authorities in {} cannot be read: {why}", path.display()))
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&path).map_err(|e| failed(&e))?.collect();
    let mut roots = RootCertStore::empty();
    // Some bundles have certificates that no one can parse any more.
    let (added, _) = roots.add_parsable_certificates(found.map_err(|e| failed(&e))?);
    if added == 0 {
        return Err(failed(&"it holds none"));
    }
    Ok(roots)
}
