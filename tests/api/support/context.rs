//! Helpers for contexts, and a check of them that shares no code with the service.

use crm_backend::pb::{
    ActionStatus, BrandVoice, BusinessContext, ChatToolCall, ContentPreferences, ContextFormat,
    ContextSectionKind, Conversation, ConversationAnalysis, ConversationOutcome, Customer, EntryPoint,
    FollowUp, GetAiContextRequest, GetAiContextResponse, Message, MessageAction, MessageRole, Objection,
    ObjectionKind, ObjectionStatus, OmissionReason, Tokenizer,
};
use prost_types::Timestamp;
use tonic::Status;

use super::Tenant;

/// Returns a request for a context of 4,000 tokens.
pub(crate) fn of(customer_id: &str) -> GetAiContextRequest {
    GetAiContextRequest { customer_id: customer_id.to_owned(), ..Default::default() }
}

/// Returns a time: this many minutes after nine o'clock on a day in 2026.
pub(crate) fn at(minutes: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_779_699_600 + minutes * 60, nanos: 0 })
}

/// Returns a message of this many minutes after nine.
pub(crate) fn said(role: MessageRole, minutes: i64, content: &str) -> Message {
    Message {
        message_key: format!("{minutes}"),
        role: role.into(),
        content: content.to_owned(),
        sent_time: at(minutes),
        ..Default::default()
    }
}

/// Returns an action of a message.
pub(crate) fn action(name: &str, status: ActionStatus, result: &str) -> MessageAction {
    MessageAction {
        name: name.to_owned(),
        arguments: "{\"day\":\"today\"}".to_owned(),
        result: result.to_owned(),
        status: status.into(),
        ..Default::default()
    }
}

/// Returns a customer with many fields set.
pub(crate) fn cafe() -> Customer {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Customer {
        business_name: "Café Zoë".to_owned(),
        contact_name: "Zoë Müller".to_owned(),
        email: "zoe@cafe.example".to_owned(),
        city: "Berlin".to_owned(),
        industry_category: "food_and_beverage".to_owned(),
        tags: texts(&["vip", "coffee"]),
        business_context: Some(BusinessContext {
            description: "A small café.\n\nRoasts its own beans.".to_owned(),
            products_and_services: texts(&["Espresso", "Cakes"]),
            goals: texts(&["Open a second place"]),
            ..Default::default()
        }),
        brand_voice: Some(BrandVoice {
            tone: "warm, a little cheeky".to_owned(),
            donts: texts(&["Never say \"cheap\""]),
            ..Default::default()
        }),
        content_preferences: Some(ContentPreferences {
            languages: texts(&["de-DE", "en"]),
            avoid: texts(&["politics"]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Returns an analysis with a summary and an objection in this state.
pub(crate) fn analysis(conversation_id: &str, covers: i32, status: ObjectionStatus) -> ConversationAnalysis {
    ConversationAnalysis {
        conversation_id: conversation_id.to_owned(),
        covers_through_sequence: covers,
        topics: vec!["beans".to_owned()],
        summary: "Zoë wants more beans, but finds them dear.".to_owned(),
        objections: vec![Objection {
            kind: ObjectionKind::Price.into(),
            status: status.into(),
            evidence: "That is a lot for beans.".to_owned(),
        }],
        ..Default::default()
    }
}

impl Tenant {
    pub(crate) async fn context(&self, request: GetAiContextRequest) -> Result<GetAiContextResponse, Status> {
        Ok(self.customers().get_ai_context(request).await?.into_inner())
    }

    /// Creates a conversation that began this many minutes after nine, with these messages.
    pub(crate) async fn talk(&self, customer_id: &str, minutes: i64, messages: Vec<Message>) -> String {
        let request = Conversation {
            customer_id: customer_id.to_owned(),
            entry_point: EntryPoint::Whatsapp.into(),
            start_time: at(minutes),
            ..Default::default()
        };
        let id = self.open(request).await.expect("a conversation").id;
        for message in messages {
            self.add(&id, message).await.expect("a message");
        }
        id
    }

    /// Records the outcome of a conversation, and the next step.
    pub(crate) async fn conclude(&self, id: &str, outcome: ConversationOutcome, to_do: &str) {
        let mut conversation = self.read(id).await.expect("the conversation");
        conversation.set_outcome(outcome);
        let follow_up = FollowUp { needed: true, due_time: at(24 * 60), notes: to_do.to_owned() };
        conversation.follow_up = Some(follow_up);
        self.revise(conversation, &["outcome", "follow_up"]).await.expect("it may change");
    }
}

/// Counts the tokens of a text by the reference implementation.
pub(crate) fn tokens(tokenizer: Tokenizer, text: &str) -> i32 {
    let encoding = match tokenizer {
        Tokenizer::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        _ => tiktoken_rs::o200k_base_singleton(),
    };
    i32::try_from(encoding.encode_ordinary(text).len()).expect("a short text")
}

/// Counts all tokens of a context again.
pub(crate) fn recount(context: &GetAiContextResponse, format: ContextFormat) -> i32 {
    let tokenizer = context.tokenizer();
    match format {
        ContextFormat::Markdown => tokens(tokenizer, &context.markdown),
        ContextFormat::ChatMessages if context.chat_messages.is_empty() => 0,
        ContextFormat::ChatMessages => {
            let count = |text: &String| tokens(tokenizer, text);
            let call = |call: &ChatToolCall| {
                4 + [&call.id, &call.name, &call.arguments].map(count).iter().sum::<i32>()
            };
            let turns = context.chat_messages.iter().map(|turn| {
                let calls = turn.tool_calls.iter().map(call).sum::<i32>();
                4 + count(&turn.content) + count(&turn.tool_call_id) + calls
            });
            3 + turns.sum::<i32>()
        }
        _ => {
            let items = context.sections.iter().flat_map(|section| &section.items);
            items
                .inspect(|item| assert_eq!(item.token_count, tokens(tokenizer, &item.text)))
                .map(|item| item.token_count)
                .sum()
        }
    }
}

/// Returns how much of a section was left out, by the context's explanation.
pub(crate) fn omitted(
    context: &GetAiContextResponse,
    section: ContextSectionKind,
    reason: OmissionReason,
) -> i32 {
    let omissions = context.omitted.iter();
    omissions
        .filter(|omission| omission.section() == section && omission.reason() == reason)
        .map(|omission| omission.count)
        .sum()
}
