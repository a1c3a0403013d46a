//! The reads of a watcher. Each is one transaction that sees one moment.

use std::collections::HashMap;

use futures_util::try_join;
use uuid::Uuid;

use super::Position;
use crate::conversations::analyses::store::{self as analyses, Analysis};
use crate::conversations::messages::drafts::store as drafts;
use crate::conversations::messages::store::{self as messages, Between, Message, Numbered};
use crate::conversations::messages::{self as noun};
use crate::conversations::rules::{is_over, not_found};
use crate::conversations::store::{self as conversations, Conversation, Head};
use crate::db::TenantTx;
use crate::db::fitted::Limits;
use crate::db::keyset::Direction;
use crate::error::Result;
use crate::pb::MessageStatus;

/// The limit of messages in a page, and of their bytes. A watcher holds this much while its client does not
/// read. A message takes a kilobyte beside its text.
const PAGE: Limits = Limits { rows: 12, bytes: 16 << 10 };

/// The limit of changes in a page, for each kind, and of their bytes.
const CHANGES: Limits = Limits { rows: 8, bytes: 16 << 10 };

/// The limit of messages in progress whose text a new watcher is told, and of the bytes of their text. The
/// newest come first: if there are more, the older ones are, as a rule, no longer written. The watcher is told
/// of the others when they are closed. The contract promises no more than that for every message.
const OPEN: Limits = Limits { rows: 32, bytes: 512 << 10 };

/// The point where a watch begins.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) head: Head,
    /// The messages in progress.
    pub(crate) open: Vec<InProgress>,
}

/// A message in progress.
#[derive(Debug)]
pub(crate) struct InProgress {
    /// The message, with its text so far.
    pub(crate) message: Message,
    /// The number of the change that put the message in progress; 0 if it is in progress since it was added.
    pub(crate) change: i64,
    /// The id of the stream that holds the message.
    pub(crate) holder: Option<Uuid>,
}

/// The text so far of a message in progress, and the stream that held the message at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) text: String,
    /// The number of the change that put the message in progress; 0 if it is in progress since it was added.
    pub(crate) change: i64,
    pub(crate) holder: Option<Uuid>,
}

/// Something that changed, with the number of its change.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) change: i64,
    pub(crate) what: What,
}

/// What changed.
#[derive(Debug)]
pub(crate) enum What {
    Message(Box<Message>),
    Analysis(Box<Analysis>),
}

/// The events after a position.
#[derive(Debug)]
pub(crate) struct Page {
    /// The conversation, if it was reopened after the watcher was told of its end. The watcher is told of this
    /// first.
    pub(crate) reopened: Option<Box<Conversation>>,
    /// The changes of what the watcher already knows, in order.
    pub(crate) changes: Vec<Changed>,
    /// The messages added after the position, as they are after all of those changes.
    pub(crate) messages: Vec<Message>,
    /// The conversation, if it changed after the watcher was last told of it. It comes after all messages, so
    /// that the watcher is told of the last messages before the end.
    pub(crate) conversation: Option<Box<Conversation>>,
    /// The number of the change up to which the page is complete.
    pub(crate) change: i64,
    /// Whether there is more to read.
    pub(crate) more: bool,
}

/// Returns how far the conversation has come, and its messages in progress.
pub(crate) async fn begin(tx: &TenantTx, id: Uuid, with_text: bool) -> Result<Opening> {
    let ids = [id];
    let Limits { rows: most, bytes } = OPEN;
    let most = if with_text { most } else { 0 };
    let (mut heads, drafts) = try_join!(conversations::list_heads(tx, &ids), drafts::list(tx, id, most))?;
    let head = heads.pop().ok_or_else(|| not_found(id))?;
    if drafts.is_empty() {
        return Ok(Opening { head, open: Vec::new() });
    }
    let ids: Vec<Uuid> = drafts.iter().map(|(message_id, _)| *message_id).collect();
    let (open, changes): (Vec<_>, Vec<_>) =
        messages::list_by_id(tx, id, &ids, bytes).await?.into_iter().map(apart).unzip();
    let open = noun::actions::fill(tx, open, bytes).await?.rows;
    let holders: HashMap<Uuid, Uuid> = drafts.into_iter().collect();
    let in_progress = |(message, change): (Message, Option<i64>)| InProgress {
        holder: holders.get(&message.id).copied(),
        message,
        change: change.unwrap_or(0),
    };
    let mut open: Vec<_> = open.into_iter().zip(changes).map(in_progress).collect();
    // The newest came first.
    open.reverse();
    Ok(Opening { head, open })
}

/// Returns one page of the events after a position.
pub(crate) async fn read(tx: &TenantTx, id: Uuid, from: Position) -> Result<Page> {
    let between = Between { after: from.sequence, before: i64::MAX };
    let (conversation, listed) = try_join!(
        conversations::find(tx, id),
        messages::list(tx, id, between, Direction::Ascending, true, PAGE)
    )?;
    let conversation = conversation.ok_or_else(|| not_found(id))?;
    let reopened = from.over && !is_over(conversation.status);
    let mut page = Page {
        reopened: reopened.then(|| Box::new(conversation.clone())),
        changes: Vec::new(),
        messages: Vec::new(),
        conversation: None,
        change: conversation.change_count,
        more: false,
    };
    if conversation.change_count > from.change {
        (page.changes, page.change) = changes(tx, &conversation, from).await?;
        page.more = page.change < conversation.change_count;
    }
    if !page.more {
        let messages = noun::actions::fill(tx, listed.rows, PAGE.bytes).await?.rows;
        page.more = messages.last().is_some_and(|last| last.sequence < conversation.last_sequence);
        page.messages = messages;
    }
    if !page.more && page.reopened.is_none() && conversation.own_change > from.own {
        page.conversation = Some(Box::new(conversation));
    }
    Ok(page)
}

/// Returns the text so far of a message; `None` if the message is no longer in progress.
pub(crate) async fn read_text(tx: &TenantTx, id: Uuid, message_id: Uuid) -> Result<Option<Draft>> {
    let ids = [message_id];
    let (found, holder) =
        try_join!(messages::list_by_id(tx, id, &ids, usize::MAX), drafts::find_holder(tx, message_id))?;
    let (found, changes): (Vec<_>, Vec<_>) = found.into_iter().map(apart).unzip();
    let found = noun::actions::fill(tx, found, usize::MAX).await?.rows;
    let is_open = |message: &Message| message.status.0 == MessageStatus::InProgress;
    let found = found.into_iter().zip(changes).find(|(message, _)| is_open(message));
    Ok(found.map(|(message, change)| Draft { text: message.content, change: change.unwrap_or(0), holder }))
}

fn apart(Numbered { message, change }: Numbered) -> (Message, Option<i64>) {
    (message, change)
}

/// Returns the changes, after a position, of what the watcher already knows. The number is the change up to
/// which the list is complete.
async fn changes(tx: &TenantTx, conversation: &Conversation, from: Position) -> Result<(Vec<Changed>, i64)> {
    let id = conversation.id;
    let (found, recorded) = try_join!(
        messages::list_changed(tx, id, from.change, from.sequence, CHANGES),
        analyses::list_changed(tx, id, from.change, CHANGES)
    )?;
    let is_cut =
        |count: usize, cut_short| cut_short || i64::try_from(count).is_ok_and(|count| count >= CHANGES.rows);
    let messages_are_cut = is_cut(found.rows.len(), found.cut_short);
    let analyses_are_cut = is_cut(recorded.rows.len(), recorded.cut_short);
    let (changed, numbers): (Vec<_>, Vec<_>) = found.rows.into_iter().map(apart).unzip();
    let filled = noun::actions::fill(tx, changed, CHANGES.bytes).await?;
    let messages_are_cut = messages_are_cut || filled.cut_short;
    let numbers = numbers.into_iter().map(|change| change.unwrap_or(from.change));
    let messages = filled.rows.into_iter().zip(numbers);
    let messages: Vec<_> = messages
        .map(|(message, change)| Changed { change, what: What::Message(Box::new(message)) })
        .collect();
    let recorded = recorded.rows;
    let ends = [
        messages.last().filter(|_| messages_are_cut).map(|changed| changed.change),
        recorded.last().filter(|_| analyses_are_cut).map(|analysis| analysis.change),
    ];
    let change = ends.into_iter().flatten().min().unwrap_or(conversation.change_count);
    let recorded = recorded
        .into_iter()
        .map(|analysis| Changed { change: analysis.change, what: What::Analysis(Box::new(analysis)) });
    let mut changes: Vec<_> = messages.into_iter().chain(recorded).collect();
    changes.retain(|changed| changed.change <= change);
    changes.sort_by_key(|changed| changed.change);
    Ok((changes, change))
}
