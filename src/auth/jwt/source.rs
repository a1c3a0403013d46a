//! The place from which the keys of tokens come, and the last keys from there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::Algorithm;

use super::keys::{Keys, Miss};
use super::remote::Remote;
use crate::auth::{AuthConfig, Bounds};

/// The place from which keys come.
enum KeySource {
    Jwks(PathBuf),
    PublicKey(PathBuf),
    Secret(PathBuf),
    Url(Box<Remote>),
}

/// See the module.
pub(super) struct Source {
    place: KeySource,
    algorithms: Vec<Algorithm>,
    /// The last valid keys.
    keys: RwLock<Arc<Keys>>,
}

impl Source {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    ///
    /// Why there are no keys, and what to do.
    pub(super) async fn open(config: &AuthConfig, bounds: Bounds) -> Result<Self, String> {
        let algorithms: Vec<_> =
            config.jwt_algorithms.iter().map(|signature| signature.algorithm()).collect();
        let place = KeySource::of(config, bounds)?;
        let keys = match &place {
            KeySource::Url(remote) => {
                Keys::of_jwks(&remote.fetch().await.map_err(|why| hint(&why))?, &algorithms)
                    .map_err(|why| hint(&format!("The answer is not of use: {why}")))?
            }
            file => file.read(&algorithms)?,
        };
        Ok(Self { place, algorithms, keys: RwLock::new(Arc::new(keys)) })
    }

    /// The current keys.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the keys, after fetching them again if the key that a token names is unknown.
    pub(super) async fn keys_with(&self, kid: Option<&str>, algorithm: Algorithm) -> Arc<Keys> {
        let keys = self.keys();
        match (&self.place, keys.find(kid, algorithm)) {
            (KeySource::Url(remote), Err(Miss::Unknown)) => {
                remote.want().await;
                self.keys()
            }
            _ => keys,
        }
    }

    /// Reads a file again, or requests a fetch of a URL.
    ///
    /// # Errors
    ///
    /// What is wrong with the file. The earlier keys stay valid.
    pub(super) fn reload(&self) -> Result<(), String> {
        match &self.place {
            KeySource::Url(remote) => remote.refresh(),
            file => self.take(file.read(&self.algorithms)?),
        }
        Ok(())
    }

    /// Fetches the keys of a URL again and again.
    pub(super) async fn follow(&self) {
        let KeySource::Url(remote) = &self.place else { return };
        let mut failed = false;
        loop {
            remote.due(failed).await;
            let fetched = remote.fetch().await.and_then(|set| Keys::of_jwks(&set, &self.algorithms));
            failed = fetched.is_err();
            match fetched {
                Ok(keys) => self.take(keys),
                Err(why) => tracing::warn!(why, "the keys of tokens stay those that they were"),
            }
        }
    }

    fn take(&self, mut keys: Keys) {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.replace(&current);
        *current = Arc::new(keys);
    }
}

impl KeySource {
    fn of(config: &AuthConfig, bounds: Bounds) -> Result<Self, String> {
        if let Some(url) = &config.jwt_jwks_url {
            let remote = Remote::new(url, config.jwt_jwks_ca.as_deref(), bounds)?;
            return Ok(Self::Url(Box::new(remote)));
        }
        let file = |file: &Option<PathBuf>, place: fn(PathBuf) -> Self| file.clone().map(place);
        file(&config.jwt_jwks_file, Self::Jwks)
            .or_else(|| file(&config.jwt_public_key, Self::PublicKey))
            .or_else(|| file(&config.jwt_secret_file, Self::Secret))
            .ok_or_else(|| "There is no place that the keys of tokens come from.".to_owned())
    }

    /// Reads the keys of a file.
    fn read(&self, algorithms: &[Algorithm]) -> Result<Keys, String> {
        let (setting, path): (_, &Path) = match self {
            Self::Jwks(path) => ("--jwt-jwks-file", path),
            Self::PublicKey(path) => ("--jwt-public-key", path),
            Self::Secret(path) => ("--jwt-secret-file", path),
            Self::Url(_) => return Err("A URL is no file.".to_owned()),
        };
        let unusable = |why: String| format!("{setting} {} cannot be used: {why}.", path.display());
        let bytes = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let keys = match self {
            Self::Jwks(_) => Keys::of_jwks(&bytes, algorithms),
            Self::PublicKey(_) => Keys::of_pem(&bytes, algorithms),
            Self::Secret(_) | Self::Url(_) => Keys::of_secret(&bytes),
        };
        keys.map_err(unusable)
    }
}

fn hint(why: &str) -> String {
    format!("{why}. Check --jwt-jwks-url, and --jwt-jwks-ca where its certificate is not a public one.")
}
