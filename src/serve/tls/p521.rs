//! Keys on the curve P-521, which the library that speaks TLS for us does not sign with by itself.

use std::sync::Arc;

use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::{DerSignature, SigningKey};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey as KeyOfTls};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use p521::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};

/// The key that `der` holds: by what `provider` knows, or else on this curve.
pub(super) fn any_key(
    provider: &CryptoProvider,
    der: PrivateKeyDer<'static>,
) -> Result<Arc<dyn KeyOfTls>, Error> {
    let secret = match &der {
        PrivateKeyDer::Pkcs8(key) => p521::SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(key) => p521::SecretKey::from_sec1_der(key.secret_sec1_der()).ok(),
        _ => None,
    };
    match secret {
        Some(secret) => Key::new(&secret).map(|key| Arc::new(key) as Arc<dyn KeyOfTls>),
        None => provider.key_provider.load_private_key(der),
    }
}

#[derive(Clone)]
struct Key {
    signing: SigningKey,
    public: SubjectPublicKeyInfoDer<'static>,
}

impl Key {
    fn new(secret: &p521::SecretKey) -> Result<Self, Error> {
        let unfit = |_| Error::General("its P-521 key cannot be used".into());
        let public = secret.public_key().to_public_key_der().map_err(unfit)?;
        let signing = SigningKey::from_bytes(&secret.to_bytes())
            .map_err(|_| Error::General("its P-521 key cannot be used".into()))?;
        Ok(Self { signing, public: public.into_vec().into() })
    }
}

impl std::fmt::Debug for Key {
    /// The secret is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key on P-521")
    }
}

impl KeyOfTls for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.public.clone())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: p521::ecdsa::Signature = self
            .signing
            .try_sign(message)
            .map_err(|_| Error::General("cannot sign with the P-521 key".into()))?;
        let signature: DerSignature = signature.to_der();
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}
