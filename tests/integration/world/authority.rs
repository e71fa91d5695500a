//! A certificate authority of a test's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Tree, clients};

/// Keys and certificates, made by openssl.
pub struct Authority {
    pub openssl: PathBuf,
    directory: PathBuf,
}

impl Authority {
    pub fn new(tree: &Tree) -> Option<Self> {
        let this = Self { openssl: clients::find("openssl")?, directory: tree.beside("tls") };
        fs::create_dir(&this.directory).unwrap();
        this.openssl(
            &["req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"],
            true,
        );
        Some(this)
    }

    pub fn openssl(&self, arguments: &[&str], makes_key: bool) {
        let mut command = Command::new(&self.openssl);
        command.current_dir(&self.directory).args(arguments);
        if makes_key {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        }
        clients::output(&mut command);
    }

    /// `NAME.crt` and `NAME.key`, vouched for by the authority.
    pub fn issue(&self, name: &str) {
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let subject = format!("/O=Test/CN={name}");
        self.openssl(&["req", "-subj", &subject, "-keyout", &key, "-out", &request], true);
        fs::write(self.at("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        self.openssl(
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-extfile",
                "names",
                "-out",
                &certificate,
            ],
            false,
        );
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The key `tls` of `[server]`, with what `issue("server")` made.
    pub fn tls(&self, more: &str) -> String {
        let (certificate, key) = (self.at("server.crt"), self.at("server.key"));
        format!("tls = {{ certificate = {certificate:?}, key = {key:?}{more} }}")
    }
}
