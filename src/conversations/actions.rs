//! The actions on conversations, each within one transaction.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use uuid::Uuid;

use super::messages::store as messages;
use super::rules::{self, Ending};
use super::store::{self, Conversation, Cursor, Filter, OrderKey};
use crate::customers;
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{self, ConversationOutcome, ErrorReason, MessageRole};
use crate::rpc::etag::{self, Etag};
use crate::rpc::{Page, size};
use crate::times;

/// The number of last messages among which [`list_said`] looks for those of the customer: the current topic.
const LAST_MESSAGES: i64 = 20;

/// The number of characters that it reads of each: the beginning of a message shows what it is about.
const LAST_CHARACTERS: i32 = 2_000;

/// Opens a conversation with a customer. If `reuse_open`, and the session has a conversation that has not
/// ended, that conversation is returned, with true.
pub(crate) async fn create(
    tx: &TenantTx,
    conversation: Conversation,
    reuse_open: bool,
) -> Result<(Conversation, bool)> {
    customers::actions::require(tx, conversation.customer_id).await?;
    let mut open = None;
    if reuse_open {
        open = store::find_open_by_session(tx, &conversation.session_id).await?;
    }
    if open.is_none() {
        if store::insert(tx, &conversation).await? {
            return Ok((conversation, false));
        }
        open = store::find_open_by_session(tx, &conversation.session_id).await?;
    }
    let open = open.ok_or_else(overtaken)?;
    if reuse_open && open.customer_id == conversation.customer_id {
        return Ok((open, true));
    }
    Err(rules::session_taken(open.id))
}

/// Returns the conversation with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Conversation> {
    store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))
}

/// Returns one page of conversations, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    order: (OrderKey, Direction),
    is_full: bool,
    page: &Page<Cursor>,
) -> Result<Rows<Conversation>> {
    store::list(tx, filter, order, is_full, page).await
}

/// Applies `change` to a conversation. If the result is the same, nothing is written, and the etag stays.
pub(crate) async fn update(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    change: impl Fn(&Conversation) -> Result<Conversation> + Send + Sync,
) -> Result<Conversation> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, current.etag())?;
    let wanted = change(&current)?;
    rules::check_update(&current, &wanted)?;
    if wanted == current {
        return Ok(current);
    }
    check_size(&current, &wanted)?;
    write(tx, wanted).await
}

/// Ends a conversation. A conversation that has already ended in the same way stays as it is, and true is
/// returned.
pub(crate) async fn end(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    ending: Ending,
) -> Result<(Conversation, bool)> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    if rules::is_over(current.status) {
        rules::check_ended_so(&current, &ending)?;
        return Ok((current, true));
    }
    etag::check(expected, current.etag())?;
    let ended = rules::end(current.clone(), ending, times::now())?;
    check_size(&current, &ended)?;
    Ok((write(tx, ended).await?, false))
}

/// Reopens a conversation that has ended. A conversation that has not ended stays as it is, and true is
/// returned.
pub(crate) async fn reopen(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<(Conversation, bool)> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    if !rules::is_over(current.status) {
        return Ok((current, true));
    }
    etag::check(expected, current.etag())?;
    customers::actions::require(tx, current.customer_id).await?;
    if let Some(open) = store::find_open_by_session(tx, &current.session_id).await? {
        return Err(rules::session_taken(open.id));
    }
    Ok((write(tx, rules::reopen(current)).await?, false))
}

/// Writes the outcomes of conversations that a call refers to. These may have ended. They are locked in the
/// order of their ids, so that no two calls wait for each other.
pub(crate) async fn conclude(
    tx: &TenantTx,
    outcomes: &BTreeMap<Uuid, Text<ConversationOutcome>>,
) -> Result<()> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = outcomes.keys().copied().collect();
    let mut changed = Vec::new();
    for current in store::lock_each(tx, &ids).await? {
        let wanted = Conversation { outcome: outcomes.get(&current.id).copied(), ..current.clone() };
        rules::check_update(&current, &wanted)?;
        if wanted != current {
            changed.push(write(tx, wanted));
        }
    }
    try_join_all(changed).await?;
    Ok(())
}

/// Checks that a conversation that a call refers to is this customer's.
///
/// # Errors
///
/// `CONVERSATION_NOT_FOUND`, also for another customer's conversation: the message then says so.
pub(crate) async fn require_of(tx: &TenantTx, customer_id: Uuid, id: Uuid) -> Result<()> {
    let found = store::find_customer_id(tx, id).await?;
    rules::check_of(id, found.as_ref(), customer_id)
}

/// Returns what the customer said among the last messages of a conversation, the latest first. Empty if the
/// conversation does not exist.
pub(crate) async fn list_said(tx: &TenantTx, id: Uuid) -> Result<Vec<String>> {
    let last = messages::list_last(tx, id, LAST_MESSAGES, LAST_CHARACTERS).await?;
    let said = last.into_iter().filter(|(role, _)| role.0 == MessageRole::User);
    Ok(said.map(|(_, beginning)| beginning).collect())
}

/// Refuses a change that makes the whole conversation too large. The analysis that it shows counts too.
pub(crate) fn check_size(current: &Conversation, wanted: &Conversation) -> Result<()> {
    let message = |conversation: &Conversation| pb::Conversation::from(conversation.clone());
    size::check("conversation", Some(&message(current)), &message(wanted))
}

async fn write(tx: &TenantTx, conversation: Conversation) -> Result<Conversation> {
    let revision = conversation.revision + 1;
    let change = conversation.change_count + 1;
    let conversation = Conversation {
        change_count: change,
        own_change: change,
        updated_at: times::now(),
        revision,
        ..conversation
    };
    store::update(tx, &conversation, overtaken).await?;
    Ok(conversation)
}

/// Returns the error for a call that was overtaken: another call opened or ended a conversation of the same
/// session. The transaction runs again.
fn overtaken() -> Error {
    Error::Aborted {
        reason: ErrorReason::Conflict,
        message: "another call opened or ended a conversation of this session at the same time; retry",
    }
}
