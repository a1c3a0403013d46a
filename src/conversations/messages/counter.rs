//! Counts the tokens of messages that could not be counted when they were written: their text arrived in
//! pieces, or it is long.
//!
//! Nothing depends on this count. A message that is not counted here, because too many wait or because the
//! service stops, is counted whenever it is read.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::quote;
use super::store::{self, Counted};
use crate::db::{Db, Deadline, TenantTx};
use crate::error::{Error, Result};
use crate::identity::{Caller, TenantId};

/// The number of messages that may wait to be counted. Beyond it a message is counted when it is read, so that
/// texts do not pile up in memory.
const WAITING: usize = 256;

/// The limit of storing the counts.
const DEADLINE: Duration = Duration::from_secs(10);

/// A text that is not counted yet.
#[derive(Debug)]
pub(crate) struct Uncounted {
    pub(crate) caller: Caller,
    pub(crate) id: Uuid,
    /// The revision of the message that has this text.
    pub(crate) revision: i64,
    pub(crate) content: String,
}

/// The queue of texts to count.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    texts: mpsc::Sender<Uncounted>,
}

impl Counter {
    /// Creates a counter whose work is a task of `tracker`, until `stop`.
    pub(crate) fn new(db: Db, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let (texts, waiting) = mpsc::channel(WAITING);
        tracker.spawn(async move {
            stop.run_until_cancelled(run(db, waiting)).await;
        });
        Self { texts }
    }

    /// Queues a text to be counted, unless too many wait.
    pub(crate) fn count(&self, text: Uncounted) {
        if self.texts.try_send(text).is_err() {
            tracing::debug!("a message is left to be counted by those who read it");
        }
    }
}

async fn run(db: Db, mut waiting: mpsc::Receiver<Uncounted>) {
    let mut texts = Vec::new();
    while waiting.recv_many(&mut texts, WAITING).await > 0 {
        if let Err(error) = count(&db, std::mem::take(&mut texts)).await {
            tracing::debug!(%error, "counts of messages are not stored");
        }
    }
}

async fn count(db: &Db, texts: Vec<Uncounted>) -> Result<()> {
    let counted = tokio::task::spawn_blocking(move || {
        let mut counted: HashMap<TenantId, (Caller, Vec<Counted>)> = HashMap::new();
        for Uncounted { caller, id, revision, content } in texts {
            let count = Counted { id, revision, tokens: quote::count(&content) };
            counted.entry(caller.tenant()).or_insert_with(|| (caller, Vec::new())).1.push(count);
        }
        counted
    });
    for (caller, counts) in counted.await.map_err(Error::internal)?.into_values() {
        let store = async |tx: &TenantTx| store::update_token_counts(tx, &counts).await;
        db.write(&caller, Deadline::after(DEADLINE), store).await?;
    }
    Ok(())
}
