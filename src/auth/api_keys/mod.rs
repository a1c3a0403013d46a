//! API keys, for agents and scripts.

mod actions;
mod clerk;
mod secret;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::validity::Revocation;
use super::{Admitted, Bounds, invalid};
use crate::db::Target;
use crate::error::{Error, Result};
use crate::identity::Principal;
use crate::numbers;
use crate::pb::ErrorReason;
use clerk::{Clerk, Question};
use secret::Hash;

pub use actions::{NewKey, create, list, revoke};
pub use secret::Secret;
pub use store::ApiKey;

/// How many calls may wait until their key is looked up. More are refused: the database is too slow then.
const WAITING: usize = 1_024;

/// The results of lookups, by the hash of the secret.
type Memory = Cache<Hash, Lookup>;

/// Accepts API keys.
pub(super) struct ApiKeys {
    bounds: Bounds,
    memory: Arc<Memory>,
    questions: mpsc::Sender<Question>,
    /// The receiving end, for the task that answers.
    asked: Mutex<mpsc::Receiver<Question>>,
}

impl ApiKeys {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        let memory = Arc::new(Cache::new(bounds.remembered_keys));
        Self { bounds, memory, questions, asked: Mutex::new(asked) }
    }

    /// Returns how often a key was found in memory, and how often not.
    pub(super) fn lookups(&self) -> (u64, u64) {
        (self.memory.hits(), self.memory.misses())
    }

    /// Looks keys up for the calls that wait.
    pub(super) async fn look_up(&self, target: Target) {
        let mut asked = self.asked.lock().await;
        Clerk::new(target, self.bounds, Arc::clone(&self.memory)).run(&mut asked).await;
    }

    /// Returns the principal whose key has this secret.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID`, `CREDENTIAL_REVOKED`, `CREDENTIAL_EXPIRED`; UNAVAILABLE if the database does not answer,
    /// or too many calls wait.
    pub(super) async fn admit(&self, secret: &str) -> Result<Admitted> {
        let hash =
            secret::hash(secret).ok_or_else(|| invalid("the API key is malformed; was all of it copied?"))?;
        let found = match self.memory.get(&hash) {
            Some(found) if found.age() < self.bounds.revocation => found,
            _ => self.ask(hash).await?,
        };
        match found {
            Lookup::Key(known) => known.admit(),
            Lookup::Nobody { .. } => Err(invalid("the API key does not exist; create one, or send another")),
        }
    }

    async fn ask(&self, hash: Hash) -> Result<Lookup> {
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(Question { hash, reply }).map_err(|_| Error::Unavailable {
            reason: ErrorReason::DatabaseBusy,
            message: "too many calls wait until their API key is looked up; retry with the same request_id or message_key",
            cause: None,
        })?;
        answer.await.unwrap_or_else(|_| Err(Error::shutting_down()))
    }
}

/// The result of a lookup.
#[derive(Clone)]
enum Lookup {
    Key(Arc<CachedKey>),
    /// There was no key when it was last looked up.
    Nobody {
        asked: Instant,
    },
}

impl Lookup {
    /// The time since the last lookup.
    fn age(&self) -> Duration {
        match self {
            Self::Key(known) => known.age(),
            Self::Nobody { asked } => asked.elapsed(),
        }
    }
}

/// An existing key, as it was when it was first looked up.
struct CachedKey {
    admitted: Admitted,
    born: Instant,
    /// The milliseconds after `born` at which the key was last found unchanged.
    seen: AtomicU64,
    /// Whether the key was used since its use was last stored. The clerk, which stores it, shares this flag, even
    /// when the key is no longer remembered.
    used: Arc<AtomicBool>,
}

impl CachedKey {
    fn new(row: &ApiKey, asked: Instant, revoked: Revocation, used: Arc<AtomicBool>) -> Self {
        if row.revoked_at.is_some() {
            revoked.cancel();
        }
        let principal = Principal::new(format!("key:{}", row.id), row.tenants(), row.scopes());
        Self {
            admitted: Admitted::new(Arc::new(principal), row.expires_at.map(Into::into), revoked),
            born: asked,
            seen: AtomicU64::new(0),
            used,
        }
    }

    fn admit(&self) -> Result<Admitted> {
        self.admitted.validity.check()?;
        self.used.store(true, Ordering::Relaxed);
        Ok(self.admitted.clone())
    }

    fn seen(&self, at: Instant) {
        let after = numbers::milliseconds(at.saturating_duration_since(self.born));
        self.seen.store(after, Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.seen.load(Ordering::Relaxed)))
    }
}
