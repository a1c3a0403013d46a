//! The actions on messages, each within one transaction.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::drafts::store as drafts;
use super::rules::few::Few;
use super::rules::{self, BatchState, Compared, Placed, Plan, Repeat, Span, Stored, Write};
use super::store::{self, Between, Message, append, repeats, spans};
use crate::audit::store::{self as audit, Event};
use crate::conversations::rules::not_found;
use crate::conversations::store::{self as conversations, Head};
use crate::db::TenantTx;
use crate::db::fitted::{Limits, Rows};
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, MessageStatus};
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;
use crate::times;

/// The conversations of a batch to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Those that no other transaction has locked.
    Free,
    /// This one. The transaction waits while another one has it locked.
    Only(Uuid),
}

/// Locks the conversations of a batch of writes, and then finds the messages with their keys.
///
/// The conversations stay locked up to the commit, so that their counters, the messages and the order of
/// commits agree. Texts are not read yet.
pub(crate) async fn find(tx: &TenantTx, writes: &[&Write], holding: Holding) -> Result<BatchState> {
    let mut ids: Vec<Uuid> = writes.iter().map(|write| write.conversation_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut keys: Vec<_> =
        writes.iter().map(|write| (write.conversation_id, write.message_key.as_str())).collect();
    keys.sort_unstable();
    keys.dedup();
    let (mut heads, mut known) = (Vec::new(), Vec::new());
    tx.in_order([
        Box::pin(async {
            heads = match holding {
                Holding::Free => conversations::lock_free_heads(tx, &ids).await?,
                Holding::Only(id) => conversations::lock_head(tx, id).await?.into_iter().collect(),
            };
            Ok(())
        }),
        Box::pin(async {
            known = store::list_known(tx, &keys).await?;
            Ok(())
        }),
    ])
    .await?;
    Ok(BatchState { heads, known, ..BatchState::default() })
}

/// Returns the stored spans of texts, and how writes differ from the messages that they repeat. The
/// conversations must be locked.
pub(crate) async fn recall(
    tx: &TenantTx,
    said_again: &[Span],
    repeated: &[Repeat<'_>],
) -> Result<(Vec<Stored>, Vec<Compared>)> {
    recall_as(tx, Run::Needed, said_again, repeated).await
}

async fn recall_as(
    tx: &TenantTx,
    run: Run,
    said_again: &[Span],
    repeated: &[Repeat<'_>],
) -> Result<(Vec<Stored>, Vec<Compared>)> {
    let (mut texts, mut compared) = (Vec::new(), Vec::new());
    tx.in_order([
        Box::pin(run.unless(said_again.is_empty(), async {
            texts = spans::list(tx, said_again).await?;
            Ok(())
        })),
        Box::pin(run.unless(repeated.is_empty(), async {
            compared = repeats::compare(tx, repeated).await?;
            Ok(())
        })),
    ])
    .await?;
    Ok((texts, compared))
}

/// Returns which of the conversations that [`find`] did not lock exist: another transaction has them locked.
pub(crate) async fn find_held(tx: &TenantTx, missing: &[Uuid]) -> Result<Vec<Uuid>> {
    conversations::list_existing(tx, missing).await
}

/// Adds messages to their conversations without looking up whether they are new, with their events of the audit log,
/// whose sequences are places as those of the messages. Returns the conversations as they were, and the ids of those that
/// the messages were added to: none, if one of the keys was stored before.
///
/// # Errors
///
/// A conflict if another transaction has one of the conversations locked.
pub(crate) async fn add_few(
    tx: &TenantTx,
    few: &Few<'_>,
    events: &[Event],
    now: DateTime<Utc>,
) -> Result<(Vec<Head>, Vec<Uuid>)> {
    add_few_as(tx, Run::Needed, few, events, now).await
}

async fn add_few_as(
    tx: &TenantTx,
    run: Run,
    few: &Few<'_>,
    events: &[Event],
    now: DateTime<Utc>,
) -> Result<(Vec<Head>, Vec<Uuid>)> {
    let ids: Vec<Uuid> = few.growths.iter().map(|growth| growth.conversation_id).collect();
    let (mut heads, mut added_to) = (Vec::new(), Vec::new());
    tx.in_order([
        Box::pin(async {
            heads = conversations::lock_heads_at_once(tx, &ids).await?;
            Ok(())
        }),
        Box::pin(append::insert_behind(tx, &few.additions, few.room(), now)),
        Box::pin(run.unless(events.is_empty(), audit::insert_behind(tx, events))),
        Box::pin(async {
            added_to = conversations::advance_by(tx, &few.growths, now).await?;
            Ok(())
        }),
    ])
    .await?;
    Ok((heads, added_to))
}

/// Applies a plan, with its events of the audit log. Returns the messages that it closed.
pub(crate) async fn apply(
    tx: &TenantTx,
    plan: &Plan<'_>,
    events: &[Event],
    now: DateTime<Utc>,
) -> Result<Vec<Message>> {
    apply_as(tx, Run::Needed, plan, events, now).await
}

async fn apply_as(
    tx: &TenantTx,
    run: Run,
    plan: &Plan<'_>,
    events: &[Event],
    now: DateTime<Utc>,
) -> Result<Vec<Message>> {
    let Plan { outcomes: _, additions, reopenings, holds, pieces, closings, heads } = plan;
    let closing: Vec<Uuid> = closings.iter().map(|closing| closing.message_id).collect();
    let emptied = reopenings.iter().filter(|reopening| reopening.emptied);
    let emptied: Vec<Uuid> = emptied.map(|reopening| reopening.message_id).collect();
    let mut closed = Vec::new();
    tx.in_order([
        Box::pin(run.unless(additions.is_empty(), append::insert(tx, additions, now))),
        Box::pin(run.unless(reopenings.is_empty(), append::reopen(tx, reopenings, now))),
        Box::pin(run.unless(emptied.is_empty(), drafts::delete_pieces(tx, &emptied))),
        Box::pin(run.unless(holds.is_empty(), drafts::hold(tx, holds))),
        Box::pin(run.unless(pieces.is_empty(), drafts::extend(tx, pieces))),
        Box::pin(run.unless(closing.is_empty(), async {
            closed = append::close(tx, closings, now).await?;
            Ok(())
        })),
        Box::pin(run.unless(closing.is_empty(), drafts::delete_pieces(tx, &closing))),
        Box::pin(run.unless(closing.is_empty(), drafts::delete(tx, &closing))),
        Box::pin(run.unless(heads.is_empty(), conversations::advance(tx, heads, now))),
        Box::pin(run.unless(events.is_empty(), audit::insert(tx, events))),
    ])
    .await?;
    Ok(closed)
}

/// Applies one write in a transaction that does other things too, and that writes the event of the audit log.
pub(crate) async fn write(tx: &TenantTx, write: &Write, lease: Duration) -> Result<Placed> {
    let mut found = find(tx, &[write], Holding::Only(write.conversation_id)).await?;
    let said_again = rules::said_again(&[write], &found.known);
    let repeated = rules::repeats(&[write], &found.known);
    (found.texts, found.compared) = recall(tx, &said_again, &repeated).await?;
    let mut plan = rules::plan([write], found, lease);
    apply(tx, &plan, &[], times::now()).await?;
    plan.outcomes.pop().flatten().unwrap_or_else(|| Err(Error::internal("a plan lost a write")))
}

/// Runs every statement of a batch once, on no rows, so that they are prepared.
pub(crate) async fn warm(tx: &TenantTx) -> Result<()> {
    for holding in [Holding::Free, Holding::Only(Uuid::nil())] {
        find(tx, &[], holding).await?;
    }
    find_held(tx, &[]).await?;
    recall_as(tx, Run::All, &[], &[]).await?;
    apply_as(tx, Run::All, &Plan::default(), &[], times::now()).await?;
    add_few_as(tx, Run::All, &Few::default(), &[], times::now()).await?;
    Ok(())
}

/// Which statements of a step are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Those that have something to do.
    Needed,
    /// All of them.
    All,
}

impl Run {
    async fn unless(self, nothing_to_do: bool, statement: impl Future<Output = Result<()>>) -> Result<()> {
        if nothing_to_do && self == Self::Needed { Ok(()) } else { statement.await }
    }
}

/// The name of a message within its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Id(Uuid),
    Key(String),
}

/// Returns one message of a conversation.
pub(crate) async fn get(tx: &TenantTx, conversation_id: Uuid, name: &Name) -> Result<Message> {
    let found = match name {
        Name::Id(id) => store::find(tx, conversation_id, *id).await?,
        Name::Key(key) => store::find_by_key(tx, conversation_id, key).await?,
    };
    if let Some(message) = fill(tx, found.into_iter().collect(), usize::MAX).await?.rows.pop() {
        return Ok(message);
    }
    require_conversation(tx, conversation_id).await?;
    Err(message_not_found(match name {
        Name::Id(id) => id.to_string(),
        Name::Key(key) => key.clone(),
    }))
}

/// Checks that a message exists in this conversation.
///
/// # Errors
///
/// `MESSAGE_NOT_FOUND`, also for a message of another conversation.
pub(crate) async fn require(tx: &TenantTx, conversation_id: Uuid, id: Uuid) -> Result<()> {
    match store::exists(tx, conversation_id, id).await? {
        true => Ok(()),
        false => Err(message_not_found(id.to_string())),
    }
}

pub(crate) fn message_not_found(name: impl Into<String>) -> Error {
    Error::NotFound { reason: ErrorReason::MessageNotFound, kind: "message", name: name.into() }
}

/// The messages of a conversation that a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) conversation_id: Uuid,
    pub(crate) after: Option<i64>,
    pub(crate) before: Option<i64>,
}

/// Returns one page of messages, and the sequence after which the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    range: Range,
    direction: Direction,
    is_full: bool,
    page: &Page<i64>,
) -> Result<Rows<Message>> {
    let after = range.after.unwrap_or(0);
    let before = range.before.unwrap_or(i64::MAX);
    let between = match (direction, page.after) {
        (_, None) => Between { after, before },
        (Direction::Ascending, Some(seen)) => Between { after: after.max(seen), before },
        (Direction::Descending, Some(seen)) => Between { after, before: before.min(seen) },
    };
    let limits = Limits { rows: page.limit(), bytes: MAX_PAGE_BYTES };
    let listed = store::list(tx, range.conversation_id, between, direction, is_full, limits).await?;
    if listed.rows.is_empty() {
        // The reason matters only for an empty page, which is rare. A page with rows shows that the request is
        // valid.
        let last_sequence = require_conversation(tx, range.conversation_id).await?;
        check_position(after, last_sequence)?;
    }
    let filled = fill(tx, listed.rows, MAX_PAGE_BYTES).await?;
    Ok(Rows { cut_short: listed.cut_short || filled.cut_short, ..filled })
}

/// Adds to messages in progress their text so far, within `bytes` of text. Messages from the first one whose
/// text does not fit are left out, but never the first message.
pub(crate) async fn fill(tx: &TenantTx, mut messages: Vec<Message>, bytes: usize) -> Result<Rows<Message>> {
    let is_open = |message: &&Message| message.status.0 == MessageStatus::InProgress;
    let ids: Vec<Uuid> = messages.iter().filter(is_open).map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok(Rows::all(messages));
    }
    let mut texts = drafts::list_texts(tx, &ids, bytes).await?;
    let cut = texts.rows.last().map(|piece| piece.message_id).filter(|_| texts.cut_short);
    if let Some(cut) = cut {
        // Its text may be incomplete.
        let whole = messages.iter().position(|message| message.id == cut).unwrap_or(0);
        messages.truncate(whole.max(1));
        if whole == 0 {
            texts = drafts::list_texts(tx, &[cut], usize::MAX).await?;
        }
    }
    let mut open: HashMap<Uuid, &mut Message> =
        messages.iter_mut().map(|message| (message.id, message)).collect();
    for piece in texts.rows {
        if let Some(message) = open.get_mut(&piece.message_id) {
            message.content.push_str(&piece.text);
        }
    }
    Ok(Rows { rows: messages, cut_short: cut.is_some() })
}

async fn require_conversation(tx: &TenantTx, id: Uuid) -> Result<i64> {
    conversations::find_last_sequence(tx, id).await?.ok_or_else(|| not_found(id))
}

/// Refuses a sequence beyond the last message.
pub(crate) fn check_position(after: i64, last_sequence: i64) -> Result<()> {
    if after <= last_sequence {
        return Ok(());
    }
    Err(Error::OutOfRange {
        reason: ErrorReason::SequenceOutOfRange,
        field: "after_sequence",
        description: format!("must be at most {last_sequence}, the sequence of the last message"),
    })
}
