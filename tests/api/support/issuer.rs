//! An issuer of tokens: its keys, its tokens, and the server that publishes its keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A key for these tests only: ring cannot create RSA keys.
const RSA: &[u8] = include_bytes!("data/rsa.pk8");

/// A key that signs tokens.
pub(crate) struct SigningKey {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(hmac::Key),
}

impl SigningKey {
    pub(crate) fn rs256(kid: &str) -> Self {
        Self::new(kid, Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(RSA).expect("a key"))))
    }

    pub(crate) fn es256(kid: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        Self::new(kid, Pair::P256(pair.expect("a key")))
    }

    pub(crate) fn ed25519(kid: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::new(kid, Pair::Ed25519(Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key")))
    }

    /// The same with this private key.
    pub(crate) fn ed25519_of(kid: &str, pkcs8: &[u8]) -> Self {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).expect("a key");
        Self::new(kid, Pair::Ed25519(pair))
    }

    pub(crate) fn hs256(secret: &[u8]) -> Self {
        Self::new("secret", Pair::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    fn new(kid: &str, pair: Pair) -> Self {
        Self { kid: kid.to_owned(), pair }
    }

    /// Returns the public key as an entry of a set.
    pub(crate) fn jwk(&self) -> Value {
        let kid = &self.kid;
        match &self.pair {
            Pair::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": base64(n), "e": base64(e)})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": base64(x), "y": base64(y)})
            }
            Pair::Ed25519(pair) => {
                let x = base64(pair.public_key());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
            }
            Pair::Secret(_) => panic!("a secret has no public half"),
        }
    }

    /// Returns the bytes of the public key.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::P256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Secret(_) => panic!("a secret has no public half"),
        }
    }

    /// Returns a token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid}), claims)
    }

    /// Returns a token with this header, valid or not.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        format!("{message}.{}", base64(self.signature(message.as_bytes())))
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Secret(_) => "HS256",
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
        }
    }
}

/// Returns a set of the public keys.
pub(crate) fn jwks(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A server that publishes a set, over TLS or not, until it is dropped.
pub(crate) struct Published {
    address: SocketAddr,
    scheme: &'static str,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    /// The CA certificate to trust for this server.
    pub(crate) ca: String,
    _server: JoinSet<()>,
}

impl Published {
    /// Starts it with TLS.
    pub(crate) async fn new(set: &str) -> Self {
        Self::start(set, "https").await
    }

    /// Starts it with plain text.
    pub(crate) async fn in_plain_text(set: &str) -> Self {
        Self::start(set, "http").await
    }

    async fn start(set: &str, scheme: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (acceptor, ca) = tls();
        let answer = Arc::new(Mutex::new(ok(set)));
        let requests = Arc::new(AtomicUsize::new(0));
        let mut server = JoinSet::new();
        let (answers, counted) = (Arc::clone(&answer), Arc::clone(&requests));
        server.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if scheme == "http" {
                    serve(tcp, &answer, &counted).await;
                } else if let Ok(tls) = acceptor.accept(tcp).await {
                    serve(tls, &answer, &counted).await;
                }
            }
        });
        Self { address, scheme, answer, requests, ca, _server: server }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/keys", self.scheme, self.address)
    }

    /// Publishes other keys from now on.
    pub(crate) fn publish(&self, set: &str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = ok(set);
    }

    /// Answers with errors from now on.
    pub(crate) fn break_down(&self) {
        let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.to_owned();
    }

    /// Returns the number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(set: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{set}", set.len())
}

/// Answers one request.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, requests: &AtomicUsize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    // A client that has gone does not read it.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Returns the server's side of TLS for this machine, and its CA certificate.
fn tls() -> (TlsAcceptor, String) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("a certificate");
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .expect("a certificate");
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}
