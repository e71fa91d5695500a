//! `key generate` and `key export`.

use std::path::{Path, PathBuf};

use super::KeyCommand;
use super::failure::{Exit, Failure};
use super::print;
use crate::sign::SignError;
use crate::sign::key::{Algorithm, SecretKey};

impl KeyCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Generate { file, user_id, passphrase, ed25519 } => {
                let algorithm = if ed25519 { Algorithm::Ed25519 } else { Algorithm::Rsa };
                generate(&file, &user_id, passphrase.as_deref(), algorithm)
            }
            Self::Export { file } => {
                let certificate = SecretKey::public_half(&file).map_err(|error| failed(&error))?;
                print(&String::from_utf8_lossy(&certificate.armored()))
            }
        }
    }
}

fn generate(
    file: &Path,
    user_id: &str,
    passphrase: Option<&Path>,
    algorithm: Algorithm,
) -> Result<(), Failure> {
    // An RSA key takes a while; what would fail afterwards is looked at before.
    if file.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} exists; a key is never overwritten: choose another file, or move it away",
                file.display()
            ),
        ));
    }
    if user_id.trim().is_empty() || user_id.chars().any(char::is_control) {
        return Err(Failure::usage("the name on the key (--user-id) must be a line of text"));
    }
    let key = SecretKey::generate(algorithm, user_id).map_err(|error| failed(&error))?;
    let fingerprint = key.certificate().fingerprint();
    key.write_new(file, passphrase).map_err(|error| failed(&error))?;
    let passphrase = passphrase.map_or_else(String::new, |file| format!(", passphrase = {}", quoted(file)));
    print(&format!(
        "{fingerprint}\n\
         The secret key is in {}; only its owner can read it, and the daemon must be able to.\n\
         Keep a copy in a safe place. In the configuration of a repository:\n\
         sign = {{ key = {}{passphrase} }}\n",
        file.display(),
        quoted(file),
    ))
}

/// The whole path, as the configuration has it.
fn quoted(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file));
    toml::Value::String(absolute.to_string_lossy().into_owned()).to_string()
}

fn failed(error: &SignError) -> Failure {
    let exit = match error {
        SignError::Key { source, .. } | SignError::Passphrase { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Exit::NotFound
        }
        _ => Exit::Failed,
    };
    Failure::new(exit, crate::logging::chain(error))
}
