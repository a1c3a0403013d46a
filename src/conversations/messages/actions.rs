//! What one transaction does to messages.

use uuid::Uuid;

use super::rules::{self, Placed};
use super::store::{self, Listed, Message, NewMessage};
use crate::conversations::rules::not_found;
use crate::conversations::store as conversations;
use crate::db::TenantTx;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::{Page, times};

/// Adds a batch of messages, in order, to any conversations of the tenant, and says what became of
/// each. The error of one message leaves the others alone.
///
/// The conversations are held from the first statement to the commit: their counters, the messages
/// and the order of commits agree.
pub(crate) async fn append(tx: &mut TenantTx, messages: &[NewMessage]) -> Result<Vec<Result<Placed>>> {
    let mut ids: Vec<Uuid> = messages.iter().map(|message| message.conversation_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let heads = conversations::lock_heads(tx, &ids).await?;
    let keys: Vec<_> =
        messages.iter().map(|message| (message.conversation_id, message.message_key.as_str())).collect();
    let known = store::list_known(tx, &keys).await?;
    let plan = rules::plan(messages, &heads, known);
    if !plan.additions.is_empty() {
        let now = times::now();
        store::insert(tx, &plan.additions, now).await?;
        conversations::advance(tx, &plan.heads, now).await?;
    }
    Ok(plan.outcomes)
}

/// Adds one message, and reads it back.
pub(crate) async fn create(tx: &mut TenantTx, message: NewMessage) -> Result<(Message, bool)> {
    let outcomes = append(tx, &[message]).await?;
    let placed = outcomes.into_iter().next().ok_or_else(|| Error::internal("a batch lost a message"))??;
    let message = get(tx, placed.conversation_id, placed.id).await?;
    Ok((message, placed.deduplicated))
}

/// One message of a conversation.
pub(crate) async fn get(tx: &mut TenantTx, conversation_id: Uuid, id: Uuid) -> Result<Message> {
    if let Some(message) = store::find(tx, conversation_id, id).await? {
        return Ok(message);
    }
    require_conversation(tx, conversation_id).await?;
    Err(Error::NotFound { reason: ErrorReason::MessageNotFound, kind: "message", name: id.to_string() })
}

/// Which messages of a conversation a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) conversation_id: Uuid,
    pub(crate) after: Option<i64>,
    pub(crate) before: Option<i64>,
}

/// One page of messages, and the sequence after which the next one begins.
pub(crate) async fn list(
    tx: &mut TenantTx,
    range: Range,
    direction: Direction,
    page: &Page<i64>,
) -> Result<(Vec<Message>, Option<i64>)> {
    let after = range.after.unwrap_or(0);
    let before = range.before.unwrap_or(i64::MAX);
    let bounds = match (direction, page.after) {
        (_, None) => (after, before),
        (Direction::Ascending, Some(seen)) => (after.max(seen), before),
        (Direction::Descending, Some(seen)) => (after, before.min(seen)),
    };
    let Listed { mut messages, cut_short } =
        store::list(tx, range.conversation_id, direction, bounds, page.limit()).await?;
    if messages.is_empty() {
        // Only now does it matter why: an empty page is rare, and a full one says that all is well.
        let last_sequence = require_conversation(tx, range.conversation_id).await?;
        check_position(after, last_sequence)?;
    }
    let more = page.cut(&mut messages) || cut_short;
    let next = messages.last().filter(|_| more).map(|last| last.sequence);
    Ok((messages, next))
}

async fn require_conversation(tx: &mut TenantTx, id: Uuid) -> Result<i64> {
    conversations::find_last_sequence(tx, id).await?.ok_or_else(|| not_found(id))
}

fn check_position(after: i64, last_sequence: i64) -> Result<()> {
    if after <= last_sequence {
        return Ok(());
    }
    Err(Error::OutOfRange {
        reason: ErrorReason::SequenceOutOfRange,
        field: "after_sequence",
        description: format!("must be at most {last_sequence}, the sequence of the last message"),
    })
}
