//! Tools about conversations and messages.

use chrono::DateTime;

use super::{Told, items};
use crate::mcp::arguments::Arguments;
use crate::mcp::calls::Clients;
use crate::mcp::keys::uuid_of;
use crate::mcp::markdown;
use crate::mcp::trouble::Trouble;
use crate::pb::{self, ErrorReason};
use crate::times;

/// The least tokens of a message in an answer.
const TOKENS_OF_MESSAGE: i64 = 20;

/// The most messages that one answer shows: as many as a page has.
const MOST_MESSAGES: i32 = 500;

/// The prefix of keys and sessions that are made here.
const PREFIX: &str = "mcp-";

/// Reads a conversation and its newest messages.
pub(super) async fn read(clients: &Clients, arguments: &Arguments) -> Told {
    let (budget, id) = (arguments.budget(), arguments.text_or_empty("conversation_id"));
    let view = pb::ConversationView::Basic.into();
    let conversation = pb::GetConversationRequest { id: id.clone(), view };
    let messages = pb::ListMessagesRequest {
        conversation_id: id,
        page_size: items(budget, TOKENS_OF_MESSAGE, MOST_MESSAGES),
        order_by: "sequence desc".to_owned(),
        before_sequence: arguments.number("before"),
        ..Default::default()
    };
    let (mut of_conversation, mut of_messages) = (clients.conversations(), clients.conversations());
    let (conversation, messages) = tokio::try_join!(
        of_conversation.get_conversation(conversation),
        of_messages.list_messages(messages)
    )?;
    let conversation = conversation.into_inner().conversation.unwrap_or_default();
    let messages = messages.into_inner().messages;
    let bytes = messages.iter().map(|message| message.content.len()).sum();
    let write = move || markdown::conversations::conversation(&conversation, &messages, budget);
    markdown::counting(bytes, write).await
}

/// Starts a conversation, or finds the open one.
///
/// Without a session of the agent's own, the customer and the channel name it: a repeated start finds the conversation
/// while it is open, and starts another one after it has ended. A request_id would find an ended one for 72 hours.
pub(super) async fn start(clients: &Clients, arguments: &Arguments) -> Told {
    let customer_id = clients.customer_id(&arguments.text_or_empty("customer")).await?;
    let channel = arguments.text_or_empty("channel");
    let session_id = match arguments.text("session_id").filter(|session| !session.is_empty()) {
        Some(session) => session.to_owned(),
        None => format!("{PREFIX}{}", uuid_of(&["start_conversation", &customer_id, &channel])),
    };
    let contact_channel = arguments.word::<pb::ContactChannel>("channel").unwrap_or_default().into();
    let conversation = pb::Conversation { customer_id, session_id, contact_channel, ..Default::default() };
    let request = pb::CreateConversationRequest {
        conversation: Some(conversation),
        reuse_open: true,
        ..Default::default()
    };
    let response = clients.conversations().create_conversation(request).await?.into_inner();
    Ok(markdown::conversations::started(&response.conversation.unwrap_or_default(), response.reused))
}

/// Adds a message, and marks the questions that it asks.
pub(super) async fn add_message(clients: &Clients, arguments: &Arguments) -> Told {
    let conversation_id = arguments.text_or_empty("conversation_id");
    let message = pb::Message {
        role: arguments.word::<pb::MessageRole>("role").unwrap_or_default().into(),
        content: arguments.text_or_empty("text"),
        author: arguments.text_or_empty("author"),
        ..Default::default()
    };
    let (message, is_new) = match keyed(clients, &conversation_id, message, arguments.text("key")).await? {
        Keyed::There(message) => (message, false),
        Keyed::New(message) => {
            let conversation_id = conversation_id.clone();
            let request =
                pb::CreateMessageRequest { conversation_id, message: Some(message), ..Default::default() };
            let response = clients.conversations().create_message(request).await?.into_inner();
            (response.message.unwrap_or_default(), !response.deduplicated)
        }
    };
    let (number, id) = (message.sequence, &message.id);
    let told = match is_new {
        true => format!("Added as message {number} (id {id})."),
        false => format!(
            "Nothing was added: it is message {number} (id {id}) already. If it was said again, give another key."
        ),
    };
    let asked = mark_asked(clients, &conversation_id, id, &arguments.texts("asks")).await;
    asked.map_err(|trouble| trouble.after(&format!("{told} It asks questions")))?;
    Ok(told)
}

/// A message with its key.
enum Keyed {
    /// The conversation has it already.
    There(pb::Message),
    /// It is to be added.
    New(pb::Message),
}

/// Gives a message its key: the agent's, or else one by its content and its position.
///
/// The service keeps keys as long as the conversation, so a key by the content alone would lose the second "yes" of
/// a customer. With the position, both are kept: a repetition finds the first message at the end of the conversation,
/// or, while the first call is still running, makes the same key.
async fn keyed(
    clients: &Clients,
    conversation_id: &str,
    mut message: pb::Message,
    key: Option<&str>,
) -> Result<Keyed, Trouble> {
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        key.clone_into(&mut message.message_key);
        return Ok(Keyed::New(message));
    }
    let last = last_message(clients, conversation_id).await?;
    if let Some(last) = &last
        && (last.role, &last.content, &last.author) == (message.role, &message.content, &message.author)
    {
        return Ok(Keyed::There(last.clone()));
    }
    let position = last.map_or(0, |last| last.sequence).to_string();
    let role = message.role.to_string();
    let hash = uuid_of(&["add_message", &role, &message.author, &message.content, &position]);
    message.message_key = format!("{PREFIX}{hash}");
    Ok(Keyed::New(message))
}

async fn last_message(clients: &Clients, conversation_id: &str) -> Result<Option<pb::Message>, Trouble> {
    let request = pb::ListMessagesRequest {
        conversation_id: conversation_id.to_owned(),
        page_size: 1,
        order_by: "sequence desc".to_owned(),
        view: pb::MessageView::Basic.into(),
        ..Default::default()
    };
    let response = clients.conversations().list_messages(request).await;
    let page = response.map_err(|status| match Trouble::from(status) {
        trouble if trouble.reason() == Some(ErrorReason::ScopeNotGranted) => Trouble::new(
            "Nothing was added. Your credential may not read, so a repetition cannot be recognized by the last message: \
             give add_message a key of your own, unique in the conversation.",
        ),
        trouble => trouble,
    })?;
    Ok(page.into_inner().messages.into_iter().next())
}

/// Marks questions as asked with a message. The message makes it safe to repeat.
async fn mark_asked(
    clients: &Clients,
    conversation_id: &str,
    message_id: &str,
    questions: &[String],
) -> Result<(), Trouble> {
    for id in questions {
        let request = pb::MarkPendingQuestionAskedRequest {
            id: id.clone(),
            conversation_id: conversation_id.to_owned(),
            message_id: message_id.to_owned(),
            ..Default::default()
        };
        clients.questions().mark_pending_question_asked(request).await?;
    }
    Ok(())
}

/// Ends a conversation, then records its summary.
pub(super) async fn end(clients: &Clients, arguments: &Arguments) -> Told {
    let id = arguments.text_or_empty("conversation_id");
    let request = pb::EndConversationRequest {
        id: id.clone(),
        outcome: arguments.word::<pb::ConversationOutcome>("outcome").unwrap_or_default().into(),
        outcome_notes: arguments.text_or_empty("notes"),
        follow_up: follow_up(arguments)?,
        ..Default::default()
    };
    let response = clients.conversations().end_conversation(request).await?.into_inner();
    let told = markdown::conversations::ended(&response);
    let (summary, topics) = (arguments.text_or_empty("summary"), arguments.texts("topics"));
    if summary.is_empty() && topics.is_empty() {
        return Ok(told);
    }
    let recorded = summarize(clients, id, summary, topics).await;
    recorded.map_err(|trouble| trouble.after("The conversation has ended"))?;
    Ok(format!("{told} Its summary is recorded."))
}

fn follow_up(arguments: &Arguments) -> Result<Option<pb::FollowUp>, Trouble> {
    let (notes, due) = (arguments.text_or_empty("follow_up"), arguments.text_or_empty("follow_up_due"));
    if notes.is_empty() && due.is_empty() {
        return Ok(None);
    }
    let due_time = match due.as_str() {
        "" => None,
        due => Some(times::to_wire(DateTime::parse_from_rfc3339(due).map(|time| time.to_utc()).map_err(
            |_| Trouble::new("Nothing was done: follow_up_due must be a time as in 2026-12-24T09:00:00Z."),
        )?)),
    };
    Ok(Some(pb::FollowUp { needed: true, due_time, notes }))
}

async fn summarize(
    clients: &Clients,
    conversation_id: String,
    summary: String,
    topics: Vec<String>,
) -> Result<(), Trouble> {
    let mut texts = vec!["end_conversation", &conversation_id, &summary];
    texts.extend(topics.iter().map(String::as_str));
    let request_id = uuid_of(&texts).to_string();
    let analysis = pb::ConversationAnalysis { conversation_id, summary, topics, ..Default::default() };
    let request = pb::RecordAnalysisRequest { analysis: Some(analysis), request_id };
    clients.conversations().record_analysis(request).await?;
    Ok(())
}
