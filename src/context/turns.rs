//! Messages as turns of a chat, in a form that the providers of models accept.
//!
//! Providers refuse a call without its result right after it, a result without its call, and a blank turn. A
//! model believes a turn according to its role, so stored text never speaks as the system.

use std::collections::HashSet;

use super::item::{Call, Turn};
use crate::contract::Word;
use crate::conversations::messages::store::Action;
use crate::conversations::messages::store::latest::Said;
use crate::db::words::Text;
use crate::pb::{ActionStatus, MessageRole, MessageStatus};

/// The longest id of a call that every provider accepts: OpenAI's, whose ids have some 30 characters.
const MAX_ID: usize = 40;

/// The beginning of ids that are made here.
const DERIVED: &str = "call_";

/// The arguments of a call without arguments.
const NO_ARGUMENTS: &str = "{}";

/// A call of a tool, and its result.
struct Called {
    call: Call,
    result: String,
}

/// Returns the turns of messages that belong together: a message, and the results of the tools that it called.
/// Blank turns are left out, and so are calls without a result.
pub(super) fn of(messages: &[&Said], ids: &Ids<'_>) -> Vec<Turn> {
    let (message, results) = match messages {
        [first, results @ ..] if first.role.0 != MessageRole::Tool => (Some(*first), results),
        results => (None, results),
    };
    let message = message.filter(|message| !is_open(message));
    let actions = message.map_or(&[][..], |message| message.actions.0.as_slice());
    let asked: Vec<Asked<'_>> = message.map_or_else(Vec::new, |message| {
        let calls = message.actions.0.iter().zip(1..);
        calls.map(|(action, number)| Asked { action, id: ids.of(message, action, number) }).collect()
    });
    let answered = answered(actions, results);
    // The results of these calls were known when the message was written.
    let before =
        asked.iter().zip(&answered).filter(|(asked, answer)| answer.is_none() && is_done(asked.action));
    let before: Vec<Called> = before.map(|(asked, _)| asked.with_result()).collect();
    // The results of these calls came later. A result without a call gets one that is made up for it.
    let after = asked.iter().zip(&answered).filter_map(|(asked, answer)| {
        let result = results.get((*answer)?).filter(|result| !is_open(result))?;
        Some(Called { call: asked.call(), result: said(result) })
    });
    let unasked = results.iter().enumerate().filter(|(index, _)| !answered.contains(&Some(*index)));
    let unasked = unasked.filter(|(_, result)| !is_open(result)).map(|(_, result)| made_up(result));
    let after: Vec<Called> = after.chain(unasked).collect();

    let mut turns = Vec::new();
    let mut content = message.map_or_else(String::new, |message| message.content.clone());
    if content.trim().is_empty() {
        content.clear();
    }
    if message.is_some_and(|message| message.role.0 == MessageRole::User) && !content.is_empty() {
        turns.push(Turn::User(std::mem::take(&mut content)));
    }
    push(&mut turns, String::new(), before);
    push(&mut turns, content, after);
    turns
}

/// Adds a turn of the assistant, with its calls and then all of their results.
fn push(turns: &mut Vec<Turn>, content: String, called: Vec<Called>) {
    if content.is_empty() && called.is_empty() {
        return;
    }
    let (calls, results): (Vec<Call>, Vec<Turn>) = called
        .into_iter()
        .map(|Called { call, result }| {
            let call_id = call.id.clone();
            (call, Turn::Tool { call_id, content: result })
        })
        .unzip();
    turns.push(Turn::Assistant { content, calls });
    turns.extend(results);
}

/// Returns which result answers each action: the one that names its id, or else the next of those without an
/// id. An action that has its own result needs none.
fn answered(actions: &[Action], results: &[&Said]) -> Vec<Option<usize>> {
    let mut left: Vec<Option<&str>> = results.iter().map(|result| Some(named(result))).collect();
    let mut take = |wanted: &str| {
        let (index, name) = left.iter_mut().enumerate().find(|(_, name)| **name == Some(wanted))?;
        *name = None;
        Some(index)
    };
    let by_id: Vec<Option<usize>> =
        actions.iter().map(|action| if action.id.is_empty() { None } else { take(&action.id) }).collect();
    let in_order = actions.iter().zip(by_id);
    in_order
        .map(|(action, known)| known.or_else(|| if action.result.is_empty() { take("") } else { None }))
        .collect()
}

/// Returns the id of the call that a result answers; empty if it names none.
fn named<'s>(result: &&'s Said) -> &'s str {
    result.actions.0.first().map_or("", |action| action.id.as_str())
}

/// A call of a tool by a message.
struct Asked<'m> {
    action: &'m Action,
    id: String,
}

impl Asked<'_> {
    fn call(&self) -> Call {
        let Action { id: _, name, arguments, result: _, status: _ } = self.action;
        let arguments = if arguments.trim().is_empty() { NO_ARGUMENTS } else { arguments };
        Call { id: self.id.clone(), name: name.clone(), arguments: arguments.to_owned() }
    }

    /// Returns the call with the result that the action has itself.
    fn with_result(&self) -> Called {
        let Action { result, status, .. } = self.action;
        let status = status.map_or("DONE", |Text(status)| status.word());
        let result = if result.trim().is_empty() { status.to_owned() } else { result.clone() };
        Called { call: self.call(), result }
    }
}

/// Returns the text of a tool's result, which is never blank.
fn said(result: &Said) -> String {
    let own = result.actions.0.first().map_or("", |action| action.result.as_str());
    let texts = [result.content.as_str(), own, result.status.0.word()];
    texts.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default().to_owned()
}

/// Returns a result without a call, with a call made up for it.
fn made_up(result: &Said) -> Called {
    let id = derived(result, 1);
    let call = match result.actions.0.first() {
        Some(action) => Asked { action, id }.call(),
        None => Call {
            id,
            name: if result.author.is_empty() { "tool".to_owned() } else { result.author.clone() },
            arguments: NO_ARGUMENTS.to_owned(),
        },
    };
    Called { call, result: said(result) }
}

/// The ids of calls in a conversation.
pub(super) struct Ids<'s> {
    /// The ids that more than one call has.
    shared: HashSet<&'s str>,
}

impl<'s> Ids<'s> {
    pub(super) fn new(said: &'s [Said]) -> Self {
        let mut seen = HashSet::new();
        let calls = said.iter().filter(|message| message.role.0 != MessageRole::Tool);
        let calls = calls.flat_map(|message| &message.actions.0).map(|action| action.id.as_str());
        Self { shared: calls.filter(|id| !seen.insert(*id)).collect() }
    }

    /// Returns the id of a call. It is the client's id, if providers accept it and no other call has it.
    /// Otherwise it is one that is always the same for this message.
    fn of(&self, message: &Said, action: &Action, number: usize) -> String {
        let id = action.id.as_str();
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_taken = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_sign);
        if is_taken && !self.shared.contains(id) && !is_derived(id) {
            return id.to_owned();
        }
        derived(message, number)
    }
}

fn derived(message: &Said, number: usize) -> String {
    format!("{DERIVED}{}_{number}", message.sequence)
}

/// Returns whether an id looks like one that is made here.
fn is_derived(id: &str) -> bool {
    let rest = id.strip_prefix(DERIVED);
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_'))
}

pub(super) fn is_open(message: &Said) -> bool {
    message.status.0 == MessageStatus::InProgress
}

pub(super) fn is_done(action: &Action) -> bool {
    let open = matches!(action.status, Some(Text(ActionStatus::Requested | ActionStatus::Running)));
    !open || !action.result.is_empty()
}
