//! Gives up messages in progress that no producer goes on with.
//!
//! The caretaker looks at the messages of all tenants at once, which no tenant's transaction can do. Its own
//! connection reads only ids and message keys. It gives what it finds to the lanes, which check again in the
//! name of each tenant. Another replica or the producer may have been faster.

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::messages::audited::Author;
use super::messages::drafts::store::{self, Expired};
use super::messages::rules::{Change, Write};
use super::messages::writer::{Pending, Reply, Writer};
use crate::audit::Operation;
use crate::db::Target;
use crate::db::kept::Kept;
use crate::identity::Caller;
use crate::live::lanes::Lanes;
use crate::pb::{MessageStatus, ResourceType};

/// The longest pause between two looks. A message is given up at most this much later than its lease allows.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest pause between two looks, however short the lease.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// The length of a lease, as a multiple of the pause between two looks.
const LOOKS_PER_LEASE: u32 = 4;

/// The limit of one look.
const PATIENCE: Duration = Duration::from_secs(5);

/// The operation, for the audit log, of giving up a message.
const EXPIRE_MESSAGE: Operation =
    Operation { method: "Caretaker/ExpireMessage", resource_type: ResourceType::Conversation, call_id: None };

/// Looks for such messages again and again, until `stop`.
pub(super) async fn run(target: Target, lanes: Lanes<Writer>, lease: Duration, stop: CancellationToken) {
    let mut connection = Kept::new(target);
    let interval = (lease / LOOKS_PER_LEASE).clamp(MIN_INTERVAL, MAX_INTERVAL);
    let mut pause = interval;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = interval;
        let look = async |connection: &mut AsyncPgConnection| store::list_expired(connection, lease).await;
        match connection.ask(PATIENCE, look).await {
            Ok(expired) => {
                let found = expired.len();
                if is_more(found, give_up(&lanes, expired).await) {
                    pause = Duration::ZERO;
                }
            }
            Err(error) => tracing::debug!(error, "expired messages could not be looked for"),
        }
    }
}

/// Returns whether an immediate look would find more. If nothing could be given up, it would find the same
/// messages.
fn is_more(found: usize, given_up: usize) -> bool {
    found >= store::MAX_EXPIRED && given_up > 0
}

/// Gives messages up, and waits for the result. Returns how many are no longer in progress.
async fn give_up(lanes: &Lanes<Writer>, expired: Vec<Expired>) -> usize {
    if expired.is_empty() {
        return 0;
    }
    let (replies, mut outcomes) = mpsc::unbounded_channel();
    lanes.submit(expired.into_iter().map(|Expired { tenant_id, conversation_id, message_key }| Pending {
        author: Author { caller: Caller::caretaker(tenant_id), operation: EXPIRE_MESSAGE },
        write: Write { conversation_id, message_key, change: Change::Expire },
        reply: Reply::new(0, replies.clone()),
    }));
    drop(replies);
    let mut given_up = 0;
    while let Some((_, outcome)) = outcomes.recv().await {
        match outcome {
            Ok(placed) => given_up += usize::from(placed.status != MessageStatus::InProgress),
            Err(error) => tracing::debug!(%error, "a message could not be given up"),
        }
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_at_once_while_there_is_more_and_it_gets_somewhere() {
        let all = store::MAX_EXPIRED;
        assert!(is_more(all, all) && is_more(all, 1));
        assert!(!is_more(all, 0), "what cannot be given up is not looked at without a pause");
        assert!(!is_more(all - 1, all - 1) && !is_more(0, 0));
    }
}
