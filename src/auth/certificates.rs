//! Client certificates, and what they grant.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use quick_cache::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::validity::Revocation;
use super::{Admitted, invalid};
use crate::connection::PeerCertificate;
use crate::error::{Error, Result};
use crate::identity::{Principal, Scopes, Tenants, grants};

/// The number of parsed certificates that are remembered: a client shows the same one with every call.
const REMEMBERED: usize = 10_000;

/// Accepts client certificates.
pub(super) struct Certificates {
    path: PathBuf,
    principals: RwLock<Arc<Principals>>,
    /// The results for certificates, by their hashes, each with the principals that it was made from. With a new
    /// file, the result may come from another name of the same certificate.
    known: Cache<[u8; 32], (Arc<Principals>, Admitted)>,
}

/// The principals of certificates, by the names in the certificates.
#[derive(Default)]
struct Principals(HashMap<String, Entry>);

struct Entry {
    principal: Arc<Principal>,
    /// Cancelled when a new file grants something else.
    gone: Revocation,
}

impl Certificates {
    /// Reads the file of principals.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and what to do.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let principals = RwLock::new(Arc::new(Principals::read(path)?));
        Ok(Self { path: path.to_owned(), principals, known: Cache::new(REMEMBERED) })
    }

    /// Returns how often a certificate was found in memory, and how often not.
    pub(super) fn lookups(&self) -> (u64, u64) {
        (self.known.hits(), self.known.misses())
    }

    /// Reads the file again.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Its earlier contents stay valid then.
    pub(super) fn reload(&self) -> Result<(), String> {
        let mut principals = Principals::read(&self.path)?;
        let mut current = self.principals.write().unwrap_or_else(PoisonError::into_inner);
        principals.replace(&current);
        *current = Arc::new(principals);
        Ok(())
    }

    /// Returns the principal that has this certificate.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID` if the file has none of its names, `CREDENTIAL_EXPIRED` on a connection that has outlived
    /// the certificate.
    pub(super) fn admit(&self, certificate: &PeerCertificate) -> Result<Admitted> {
        let hash = Sha256::digest(&certificate.0).into();
        let principals = Arc::clone(&self.principals.read().unwrap_or_else(PoisonError::into_inner));
        if let Some((of, known)) = self.known.get(&hash) {
            if Arc::ptr_eq(&of, &principals) && known.validity.check().is_ok() {
                return Ok(known);
            }
            self.known.remove(&hash);
        }
        let admitted = Self::read(&principals, &certificate.0)?;
        admitted.validity.check()?;
        self.known.insert(hash, (principals, admitted.clone()));
        Ok(admitted)
    }

    fn read(principals: &Principals, der: &[u8]) -> Result<Admitted> {
        let (names, until) = names(der).ok_or_else(|| {
            invalid("the client certificate cannot be read; connect with an X.509 certificate")
        })?;
        let Some(entry) = names.iter().find_map(|name| principals.0.get(name)) else {
            return Err(nobody(&names));
        };
        Ok(Admitted::new(Arc::clone(&entry.principal), Some(until), entry.gone.clone()))
    }
}

impl Principals {
    fn read(path: &Path) -> Result<Self, String> {
        let unusable = |why: String| format!("--mtls-principals {} cannot be used: {why}.", path.display());
        let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        Self::of(&text).map_err(unusable)
    }

    fn of(text: &[u8]) -> Result<Self, String> {
        /// What the holder of a certificate is granted.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Granted {
            tenants: Vec<String>,
            scopes: Vec<String>,
        }
        let example = r#"{"spiffe://example/agent": {"tenants": ["*"], "scopes": ["read", "write"]}}"#;
        let file: BTreeMap<String, Granted> =
            serde_json::from_slice(text).map_err(|error| format!("{error}; it looks like {example}"))?;
        if file.is_empty() {
            return Err(format!("it names no principal; it looks like {example}"));
        }
        let mut principals = Self::default();
        for (name, Granted { tenants, scopes }) in file {
            let name = canonical(&name);
            let tenants: Tenants = tenants
                .iter()
                .map(|word| {
                    grants::tenant(word)
                        .ok_or_else(|| format!("{word:?} of {name} is no tenant: a UUID, or *"))
                })
                .collect::<Result<_, _>>()?;
            let scopes: Vec<_> = scopes
                .iter()
                .map(|word| {
                    grants::scope(word)
                        .ok_or_else(|| format!("{word:?} of {name} is not read, write or admin"))
                })
                .collect::<Result<_, _>>()?;
            let principal = Principal::new(format!("cert:{name}"), tenants, Scopes::of(scopes));
            let entry = Entry { principal: Arc::new(principal), gone: Revocation::default() };
            if principals.0.insert(name.clone(), entry).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(principals)
    }

    /// Replaces the earlier contents of the file. A principal with unchanged grants stays valid.
    fn replace(&mut self, former: &Self) {
        for (name, old) in &former.0 {
            match self.0.get_mut(name) {
                Some(new) if new.principal == old.principal => new.gone = old.gone.clone(),
                _ => old.gone.cancel(),
            }
        }
    }
}

/// Returns the names of a certificate, and when it ends.
fn names(der: &[u8]) -> Option<(Vec<String>, SystemTime)> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    let alternative = certificate.get::<SubjectAltName>().ok()?;
    let names = alternative.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(canonical(name.as_str()))
        }
        _ => None,
    });
    Some((names.collect(), certificate.validity.not_after.to_system_time()))
}

/// Returns the form in which names are compared: lower case for a host, unchanged for a URI.
fn canonical(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { name.to_ascii_lowercase() }
}

fn nobody(names: &[String]) -> Error {
    tracing::debug!(?names, "no principal has a certificate with such a name");
    invalid("no principal has a name of the client certificate; connect with another one, or have it added")
}

#[cfg(test)]
mod tests;
