//! Contexts: messages of the wire ⇄ parameters and results.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost::Message;
use sha2::{Digest, Sha256};

use super::item::{Call, Item, Turn};
use super::model::{Context, Omission, Options, Params, Part, Snapshot, default_options};
use super::prompt;
use crate::error::{Error, Result};
use crate::numbers;
use crate::pb;
use crate::pb::{ContextFormat, ContextSectionKind, ResourceType};
use crate::rpc;

/// The budget if the request names none: what an agent can spare of a window of any size.
const DEFAULT_TOKENS: i32 = 4_000;

/// The number of bytes of the hash that is an etag.
const ETAG_BYTES: usize = 16;

/// Returns the parameters of a request.
pub(super) fn params(request: &pb::GetAiContextRequest, now: DateTime<Utc>) -> Result<Params> {
    let pb::GetAiContextRequest {
        customer_id,
        conversation_id,
        query,
        max_tokens,
        format: _,
        tokenizer: _,
        sections,
        if_none_match: _,
        explain: _,
    } = request;
    Ok(Params {
        customer_id: rpc::id("customer_id", customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", conversation_id)?,
        query: query.trim().to_owned(),
        max_tokens: i64::from(if *max_tokens == 0 { DEFAULT_TOKENS } else { *max_tokens }),
        format: match request.format() {
            ContextFormat::Unspecified => ContextFormat::Structured,
            format => format,
        },
        tokenizer: match request.tokenizer() {
            pb::Tokenizer::Unspecified => pb::Tokenizer::O200kBase,
            tokenizer => tokenizer,
        },
        options: options(sections)?,
        now,
    })
}

fn options(sections: &[pb::ContextSectionOptions]) -> Result<HashMap<ContextSectionKind, Options>> {
    let mut options = HashMap::new();
    for (index, section) in sections.iter().enumerate() {
        let kind = section.section();
        let default = default_options(kind);
        let wanted = Options {
            priority: section.priority.unwrap_or(default.priority),
            share: section.share.unwrap_or(default.share),
            excluded: section.exclude,
        };
        if options.insert(kind, wanted).is_some() {
            let field = format!("sections[{index}].section");
            let description = "names a section that was named before; name each section once";
            return Err(Error::invalid(field, "sections.unique", description));
        }
    }
    Ok(options)
}

/// Returns the response: the context, unless the client has it already.
pub(super) fn answer(
    request: &pb::GetAiContextRequest,
    params: &Params,
    snapshot: &Snapshot,
    context: &Context,
) -> pb::GetAiContextResponse {
    let mut response = pb::GetAiContextResponse {
        context_etag: String::new(),
        not_modified: false,
        conversation_id: snapshot.present.as_ref().map_or_else(String::new, |brief| brief.id.to_string()),
        max_tokens: numbers::int32(params.max_tokens),
        token_count: 0,
        tokenizer: params.tokenizer.into(),
        sections: Vec::new(),
        markdown: String::new(),
        chat_messages: Vec::new(),
        references: context.parts.iter().flat_map(references).collect(),
        omitted: context.omissions.iter().map(Into::into).collect(),
        explanation: request.explain.then(|| explanation(context, &snapshot.known.query)),
    };
    match params.format {
        ContextFormat::Unspecified | ContextFormat::Structured => {
            response.sections = context.parts.iter().filter_map(section).collect();
            response.token_count = response.sections.iter().map(|section| section.token_count).sum();
        }
        ContextFormat::Markdown => {
            response.markdown = prompt::markdown(context);
            response.token_count = numbers::int32(context.parts.iter().map(|part| part.used).sum());
        }
        ContextFormat::ChatMessages => {
            let turns = prompt::chat(context);
            response.token_count = numbers::int32(prompt::cost_of_chat(&turns, params.tokenizer));
            response.chat_messages = turns.into_iter().map(Into::into).collect();
        }
    }
    let etag = etag(&response);
    if request.if_none_match == etag {
        return pb::GetAiContextResponse { context_etag: etag, not_modified: true, ..Default::default() };
    }
    pb::GetAiContextResponse { context_etag: etag, ..response }
}

/// Returns the etag of the content of a response.
fn etag(response: &pb::GetAiContextResponse) -> String {
    let hash = Sha256::digest(response.encode_to_vec());
    hash.iter().take(ETAG_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn section(part: &Part) -> Option<pb::ContextSection> {
    let items: Vec<pb::ContextItem> = part.told().into_iter().map(item).collect();
    (!items.is_empty()).then(|| pb::ContextSection {
        section: part.kind.into(),
        token_count: items.iter().map(|item| item.token_count).sum(),
        items,
    })
}

fn item(item: &Item) -> pb::ContextItem {
    let (resource_type, resource_id) = about(item);
    pb::ContextItem {
        text: item.text.clone(),
        token_count: numbers::int32(item.tokens),
        resource_type,
        resource_id,
    }
}

fn references(part: &Part) -> Vec<pb::ContextReference> {
    let labelled = part.told().into_iter().filter_map(|item| Some((item.label.clone()?, item)));
    let reference = |(label, item)| {
        let (resource_type, resource_id) = about(item);
        pb::ContextReference { label, resource_type, resource_id }
    };
    labelled.map(reference).collect()
}

fn explanation(context: &Context, query: &str) -> pb::ContextExplanation {
    let mut parts: Vec<&Part> = context.parts.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.priority));
    pb::ContextExplanation { query: query.to_owned(), sections: parts.into_iter().map(explained).collect() }
}

fn explained(part: &Part) -> pb::ContextSectionExplanation {
    let Part { kind, priority, share, used, items, chosen, oversize: _ } = part;
    let items = items.iter().zip(chosen).map(|(item, included)| {
        let (resource_type, resource_id) = about(item);
        pb::ContextItemExplanation {
            resource_type,
            resource_id,
            token_count: numbers::int32(item.tokens),
            included: *included,
            score: item.score,
            reason: item.reason.clone(),
        }
    });
    pb::ContextSectionExplanation {
        section: (*kind).into(),
        priority: *priority,
        share_tokens: numbers::int32(*share),
        used_tokens: numbers::int32(*used),
        items: items.collect(),
    }
}

fn about(item: &Item) -> (i32, String) {
    item.about.map_or((0, String::new()), |(kind, id)| (kind.into(), id.to_string()))
}

impl From<&Omission> for pb::ContextOmission {
    fn from(value: &Omission) -> Self {
        let Omission { section, reason, count, at_least, tokens, about, messages } = value;
        let (conversation_id, first_sequence, last_sequence) =
            messages.map_or((String::new(), 0, 0), |(id, first, last)| (id.to_string(), first, last));
        Self {
            section: (*section).into(),
            resource_type: about.unwrap_or_else(|| subject(*section)).into(),
            reason: (*reason).into(),
            count: numbers::int32(*count),
            count_is_lower_bound: *at_least,
            token_count: *tokens,
            rpc: reader(*section, *about).to_owned(),
            conversation_id,
            first_sequence: numbers::int32(first_sequence),
            last_sequence: numbers::int32(last_sequence),
        }
    }
}

impl From<Turn> for pb::ChatMessage {
    fn from(value: Turn) -> Self {
        let (role, content, tool_calls, tool_call_id) = match value {
            Turn::System(content) => ("system", content, Vec::new(), String::new()),
            Turn::User(content) => ("user", content, Vec::new(), String::new()),
            Turn::Assistant { content, calls } => ("assistant", content, calls, String::new()),
            Turn::Tool { call_id, content } => ("tool", content, Vec::new(), call_id),
        };
        let tool_calls = tool_calls.into_iter().map(Into::into).collect();
        Self { role: role.to_owned(), content, tool_calls, tool_call_id }
    }
}

impl From<Call> for pb::ChatToolCall {
    fn from(value: Call) -> Self {
        let Call { id, name, arguments } = value;
        Self { id, name, arguments }
    }
}

/// Returns the kind of the items of a section; `Unspecified` if it has several kinds.
fn subject(kind: ContextSectionKind) -> ResourceType {
    match kind {
        ContextSectionKind::Unspecified => ResourceType::Unspecified,
        ContextSectionKind::Profile
        | ContextSectionKind::BusinessContext
        | ContextSectionKind::BrandVoice
        | ContextSectionKind::ContentPreferences => ResourceType::Customer,
        ContextSectionKind::Summary
        | ContextSectionKind::Objections
        | ContextSectionKind::FollowUps
        | ContextSectionKind::Interest => ResourceType::Conversation,
        ContextSectionKind::Faqs => ResourceType::CustomerFaq,
        ContextSectionKind::QuestionsToAsk | ContextSectionKind::QuestionsNotToAsk => {
            ResourceType::PendingQuestion
        }
        ContextSectionKind::RecentMessages => ResourceType::Message,
    }
}

/// Returns the RPC that reads all items of a section.
fn reader(kind: ContextSectionKind, about: Option<ResourceType>) -> &'static str {
    match kind {
        ContextSectionKind::Unspecified => "",
        ContextSectionKind::Profile
        | ContextSectionKind::BusinessContext
        | ContextSectionKind::BrandVoice
        | ContextSectionKind::ContentPreferences => "crm.v1.CustomerService/GetCustomer",
        ContextSectionKind::Interest if about == Some(ResourceType::InterestEvent) => {
            "crm.v1.EngagementService/GetInterestScores"
        }
        ContextSectionKind::Interest if about == Some(ResourceType::Purchase) => {
            "crm.v1.EngagementService/ListPurchases"
        }
        ContextSectionKind::Interest if about == Some(ResourceType::Campaign) => {
            "crm.v1.CampaignService/ListCampaignCustomers"
        }
        ContextSectionKind::Summary
        | ContextSectionKind::Objections
        | ContextSectionKind::FollowUps
        | ContextSectionKind::Interest => "crm.v1.ConversationService/ListConversations",
        ContextSectionKind::Faqs => "crm.v1.CustomerFaqService/SearchCustomerFaqs",
        ContextSectionKind::QuestionsToAsk | ContextSectionKind::QuestionsNotToAsk => {
            "crm.v1.PendingQuestionService/NextPendingQuestions"
        }
        ContextSectionKind::RecentMessages => "crm.v1.ConversationService/ListMessages",
    }
}
