//! Looks keys up in the database, many at a time, and checks the keys in use again and again.
//!
//! It is one task with a connection of its own, not one of those that serve tenants. So a key is looked up once for
//! all calls that use it, guesses cost one statement at a time, and a full pool locks no caller out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::secret::Hash;
use super::store::{self, ApiKey};
use super::{CachedKey, Lookup, Memory};
use crate::auth::Bounds;
use crate::db::{Target, Wire};
use crate::error::{Error, Result};

/// The maximum number of keys per statement.
const AT_ONCE: usize = 1_000;

/// How long a statement, or opening a connection, may take. Calls wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Postgres enforces the same limit: a statement that waits for a lock does not notice that its client has left, and
/// the next statement would wait beside it.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '2s'";

/// How often the use of a key is stored.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// A call's question about the key with this hash.
pub(super) struct Question {
    pub(super) hash: Hash,
    pub(super) reply: oneshot::Sender<Result<Lookup>>,
}

/// See the module.
pub(super) struct Clerk {
    target: Target,
    bounds: Bounds,
    memory: Arc<Memory>,
    wire: Option<Wire>,
    in_use: HashMap<Hash, InUse>,
}

/// A key that is remembered, that has an open stream, or whose use is not stored yet.
struct InUse {
    id: Uuid,
    revision: i64,
    known: Weak<CachedKey>,
    revoked: Weak<CancellationToken>,
    /// Whether the key was used since its use was last stored.
    used: Arc<AtomicBool>,
    touched: Option<Instant>,
}

impl InUse {
    /// Whether the row is still the one that was read.
    fn is(&self, row: &ApiKey) -> bool {
        (self.id, self.revision) == (row.id, row.revision)
    }
}

impl Clerk {
    pub(super) fn new(target: Target, bounds: Bounds, memory: Arc<Memory>) -> Self {
        Self { target, bounds, memory, wire: None, in_use: HashMap::new() }
    }

    /// Answers until all senders of questions are dropped.
    pub(super) async fn run(mut self, questions: &mut mpsc::Receiver<Question>) {
        // Twice within the bound, so that one look may be late.
        let mut look = interval(self.bounds.revocation / 2);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                asked = questions.recv_many(&mut waiting, AT_ONCE) => {
                    if asked == 0 {
                        return;
                    }
                    self.answer(std::mem::take(&mut waiting)).await;
                }
                _ = look.tick() => self.look_again().await,
            }
        }
    }

    async fn answer(&mut self, mut questions: Vec<Question>) {
        questions.retain(|question| !question.reply.is_closed());
        let mut hashes: Vec<_> = questions.iter().map(|question| question.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return;
        }
        let asked = Instant::now();
        let answer = self.find(&hashes).await.map(|rows| self.learn(&hashes, &rows, asked));
        for Question { hash, reply } in questions {
            let found = match &answer {
                Ok(found) => Ok(found.get(&hash).cloned().unwrap_or(Lookup::Nobody { asked })),
                Err(cause) => Err(Error::database_unavailable(cause.clone())),
            };
            // A caller that has stopped waiting does not need the answer.
            let _ = reply.send(found);
        }
    }

    /// Remembers which of these keys exist, and which do not.
    fn learn(&mut self, hashes: &[Hash], rows: &[ApiKey], asked: Instant) -> HashMap<Hash, Lookup> {
        let mut rows: HashMap<_, _> = rows.iter().filter_map(|row| Some((row.hash()?, row))).collect();
        let found = hashes.iter().map(|hash| {
            let found = match rows.remove(hash) {
                Some(row) => Lookup::Key(self.know(*hash, row, asked)),
                None => Lookup::Nobody { asked },
            };
            self.memory.insert(*hash, found.clone());
            (*hash, found)
        });
        found.collect()
    }

    /// Returns the key of a row. All holders of an unchanged row share its revocation.
    fn know(&mut self, hash: Hash, row: &ApiKey, asked: Instant) -> Arc<CachedKey> {
        let former = self.in_use.remove(&hash).filter(|former| former.is(row));
        let revoked = former.as_ref().and_then(|former| former.revoked.upgrade()).unwrap_or_default();
        let used = former.as_ref().map(|former| Arc::clone(&former.used)).unwrap_or_default();
        let known = Arc::new(CachedKey::new(row, asked, Arc::clone(&revoked), Arc::clone(&used)));
        let in_use = InUse {
            id: row.id,
            revision: row.revision,
            known: Arc::downgrade(&known),
            revoked: Arc::downgrade(&revoked),
            used,
            touched: former.and_then(|former| former.touched),
        };
        self.in_use.insert(hash, in_use);
        known
    }

    /// Stores the use of keys, and checks whether the keys in use are unchanged.
    async fn look_again(&mut self) {
        self.touch().await;
        self.in_use
            .retain(|_, in_use| in_use.revoked.strong_count() > 0 || in_use.used.load(Ordering::Relaxed));
        let hashes: Vec<_> = self.in_use.keys().copied().collect();
        for hashes in hashes.chunks(AT_ONCE) {
            let asked = Instant::now();
            match self.find(hashes).await {
                Ok(rows) => self.compare(hashes, &rows, asked),
                Err(cause) => {
                    tracing::warn!(cause, "API keys cannot be looked at again; new calls wait for it");
                    return;
                }
            }
        }
    }

    fn compare(&mut self, hashes: &[Hash], rows: &[ApiKey], asked: Instant) {
        let rows: HashMap<_, _> = rows.iter().filter_map(|row| Some((row.hash()?, row))).collect();
        for hash in hashes {
            let Some(in_use) = self.in_use.get(hash) else { continue };
            if rows.get(hash).is_some_and(|row| in_use.is(row)) {
                if let Some(known) = in_use.known.upgrade() {
                    known.seen(asked);
                }
                continue;
            }
            // Revoked, or changed or deleted by hand: the next call looks the key up again.
            if let Some(revoked) = in_use.revoked.upgrade() {
                revoked.cancel();
            }
            self.memory.remove(hash);
            self.in_use.remove(hash);
        }
    }

    async fn touch(&mut self) {
        let mut used = Vec::new();
        for in_use in self.in_use.values_mut() {
            let due = in_use.touched.is_none_or(|touched| touched.elapsed() >= TOUCH_EVERY);
            if due && in_use.used.swap(false, Ordering::Relaxed) {
                used.push(in_use.id);
                in_use.touched = Some(Instant::now());
            }
        }
        for some in used.chunks(AT_ONCE) {
            if let Err(cause) = self.write_down(some).await {
                tracing::debug!(cause, "the use of API keys is not written down");
                return;
            }
        }
    }

    async fn find(&mut self, hashes: &[Hash]) -> Result<Vec<ApiKey>, String> {
        let mut wire = self.begin().await?;
        let rows = ask(&mut wire, async |connection| store::find(connection, hashes).await).await?;
        self.commit(wire).await?;
        Ok(rows)
    }

    async fn write_down(&mut self, ids: &[Uuid]) -> Result<(), String> {
        let mut wire = self.begin().await?;
        ask(&mut wire, async |connection| store::touch(connection, ids).await).await?;
        self.commit(wire).await
    }

    /// Returns a connection in a transaction: the existing one, or a new one if it was lost.
    async fn begin(&mut self) -> Result<Wire, String> {
        if let Some(mut wire) = self.wire.take().filter(|wire| !wire.is_given_up())
            && begin(&mut wire).await.is_ok()
        {
            return Ok(wire);
        }
        let opening = tokio::time::timeout(PATIENCE, self.target.open()).await;
        let opened = opening.map_err(|_| "no connection in time".to_owned())?;
        let mut wire = opened.map_err(|error| error.to_string())?;
        begin(&mut wire).await?;
        Ok(wire)
    }

    /// Ends the transaction and keeps the connection. After an error the connection is dropped.
    async fn commit(&mut self, mut wire: Wire) -> Result<(), String> {
        ask(&mut wire, async |connection| connection.batch_execute("COMMIT").await).await?;
        self.wire = Some(wire);
        Ok(())
    }
}

async fn begin(wire: &mut Wire) -> Result<(), String> {
    ask(wire, async |connection| connection.batch_execute(BEGIN).await).await
}

async fn ask<R>(
    wire: &mut Wire,
    question: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<R>,
) -> Result<R, String> {
    wire.ask(PATIENCE, question).await.map_err(|error| error.to_string())
}
