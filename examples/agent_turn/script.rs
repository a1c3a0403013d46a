//! The texts of the example. A real agent has a model instead.

use crm_contract::pb;
use uuid::Uuid;

/// A turn of the conversation.
pub(crate) struct Turn {
    /// A part of the keys of its messages.
    pub(crate) name: &'static str,
    pub(crate) customer: &'static str,
    /// The answer to the question that was asked before.
    pub(crate) answers: Option<&'static str>,
    /// A question of the customer, and the answer that the customer got.
    pub(crate) learned: Option<(&'static str, &'static str)>,
    reply: &'static [&'static str],
    asks: Option<&'static str>,
}

/// The model's reply to a context.
pub(crate) struct Reply {
    /// The pieces, as the model writes them.
    pub(crate) pieces: &'static [&'static str],
    /// The label of the question from the context that the reply asks.
    pub(crate) asks: Option<&'static str>,
}

/// The conversation.
pub(crate) const TURNS: &[Turn] = &[
    Turn {
        name: "1",
        customer: "Hi! Do you deliver beans on Saturdays?",
        answers: None,
        learned: Some(("Do you deliver on Saturdays?", "Yes, in Berlin, before noon.")),
        reply: &["Yes, ", "in Berlin ", "before noon! ", "Where may I send ", "the price list?"],
        asks: Some("Q1"),
    },
    Turn {
        name: "2",
        customer: "Great. zoe@cafe.example, please. It is a bit dear, though.",
        answers: Some("zoe@cafe.example"),
        learned: None,
        reply: &["It is on its way. ", "From 10 kg on ", "there is a discount."],
        asks: None,
    },
];

/// The model's reply.
pub(crate) fn reply(turn: &Turn) -> Reply {
    Reply { pieces: turn.reply, asks: turn.asks }
}

/// A café with some unknown details.
pub(crate) fn customer() -> pb::CreateCustomerRequest {
    let customer = pb::Customer {
        business_name: "Café Zoë".to_owned(),
        contact_name: "Zoë Müller".to_owned(),
        city: "Berlin".to_owned(),
        industry_category: "food_and_beverage".to_owned(),
        business_context: Some(pb::BusinessContext {
            description: "A small café that is about to open a second place.".to_owned(),
            ..Default::default()
        }),
        brand_voice: Some(pb::BrandVoice {
            tone: "warm, a little cheeky".to_owned(),
            donts: vec!["Never say \"cheap\"".to_owned()],
            ..Default::default()
        }),
        content_preferences: Some(pb::ContentPreferences {
            languages: vec!["en".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    pb::CreateCustomerRequest { customer: Some(customer), request_id: Uuid::new_v4().to_string() }
}

/// The open questions.
pub(crate) fn questions(customer_id: &str) -> Vec<pb::CreatePendingQuestionRequest> {
    let question = |question: &str, target_field: &str, priority: pb::Priority| {
        let question = pb::PendingQuestion {
            customer_id: customer_id.to_owned(),
            question: question.to_owned(),
            target_field: target_field.to_owned(),
            priority: priority.into(),
            timing: pb::QuestionTiming::NextMessage.into(),
            ..Default::default()
        };
        let request_id = Uuid::new_v4().to_string();
        pb::CreatePendingQuestionRequest { pending_question: Some(question), request_id }
    };
    vec![
        question("Where may we send the price list?", "email", pb::Priority::High),
        question("How many people work there?", "size", pb::Priority::Normal),
    ]
}

/// A conversation on the café's web site.
pub(crate) fn conversation(customer_id: &str) -> pb::CreateConversationRequest {
    let conversation = pb::Conversation {
        customer_id: customer_id.to_owned(),
        session_id: Uuid::new_v4().to_string(),
        entry_point: pb::EntryPoint::WebsiteWidget.into(),
        ..Default::default()
    };
    pb::CreateConversationRequest { conversation: Some(conversation), ..Default::default() }
}

/// The analysis of the conversation.
pub(crate) fn analysis(conversation_id: &str) -> pb::RecordAnalysisRequest {
    let analysis = pb::ConversationAnalysis {
        conversation_id: conversation_id.to_owned(),
        model: "script".to_owned(),
        covers_through_sequence: 4,
        topics: vec!["delivery".to_owned(), "prices".to_owned()],
        questions: vec!["Do you deliver on Saturdays?".to_owned()],
        objections: vec![pb::Objection {
            kind: pb::ObjectionKind::Price.into(),
            status: pb::ObjectionStatus::Addressed.into(),
            evidence: "It is a bit dear, though.".to_owned(),
        }],
        summary: "Zoë wants beans on Saturdays, and has asked for the price list.".to_owned(),
        ..Default::default()
    };
    pb::RecordAnalysisRequest { analysis: Some(analysis), request_id: Uuid::new_v4().to_string() }
}
