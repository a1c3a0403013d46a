//! Gives up messages in progress that nobody goes on with.
//!
//! It looks at all tenants at once, which no tenant's transaction can, on a connection of its own that
//! reads ids and nothing else. What it finds it gives to the lanes, which look again, each in its
//! tenant's name: another replica may have been faster, or the producer.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::messages::audited::Author;
use super::messages::drafts::store::{self, Expired};
use super::messages::rules::{Change, Write};
use super::messages::writer::{Pending, Reply, Writer};
use crate::audit::Operation;
use crate::auth::Caller;
use crate::db::{Target, Wire};
use crate::live::lanes::Lanes;

/// The longest between two looks: a message is given up so much later than its lease says.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest, however short the lease.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Leases are this many times as long as the time between two looks.
const LOOKS_PER_LEASE: u32 = 4;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the audit log calls it that a message is given up.
const EXPIRE_MESSAGE: Operation =
    Operation { method: "Caretaker/ExpireMessage", resource_type: "conversation", call_id: None };

/// Looks for such messages again and again, until `stop`.
pub(super) async fn run(target: Target, lanes: Lanes<Writer>, lease: Duration, stop: CancellationToken) {
    let mut wire = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep((lease / LOOKS_PER_LEASE).clamp(MIN_INTERVAL, MAX_INTERVAL)) => {}
        }
        match look(&target, &mut wire, lease).await {
            Ok(expired) => give_up(&lanes, expired).await,
            Err(error) => tracing::debug!(error, "expired messages could not be looked for"),
        }
    }
}

/// Looks on the connection that there is, or on a new one. It is kept if it answers.
async fn look(target: &Target, kept: &mut Option<Wire>, lease: Duration) -> Result<Vec<Expired>, String> {
    let mut wire = match kept.take().filter(|wire| !wire.is_given_up()) {
        Some(wire) => wire,
        None => target.open().await.map_err(|error| error.to_string())?,
    };
    let expired = wire.ask(PATIENCE, async |connection| store::list_expired(connection, lease).await);
    let expired = expired.await.map_err(|error| error.to_string())?;
    *kept = Some(wire);
    Ok(expired)
}

/// Gives messages up, and waits until that is done.
async fn give_up(lanes: &Lanes<Writer>, expired: Vec<Expired>) {
    if expired.is_empty() {
        return;
    }
    let (replies, mut outcomes) = mpsc::unbounded_channel();
    lanes.submit(expired.into_iter().map(|Expired { tenant_id, conversation_id, message_key }| Pending {
        author: Author { caller: Caller::caretaker(tenant_id), operation: EXPIRE_MESSAGE },
        write: Write { conversation_id, message_key, change: Change::Expire },
        reply: Reply::new(0, replies.clone()),
    }));
    drop(replies);
    while let Some((_, outcome)) = outcomes.recv().await {
        if let Err(error) = outcome {
            tracing::debug!(%error, "a message could not be given up");
        }
    }
}
