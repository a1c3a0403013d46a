//! Contexts of random customers. The budget holds by the tokenizer's reference implementation, and all
//! omissions are reported.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::compose::compose;
use super::model::{Knowledge, Options, Params, Snapshot};
use super::wire;
use crate::campaigns::assignments::store::Reached;
use crate::conversations::analyses::store::{Analysis, Objection};
use crate::conversations::messages::quote;
use crate::conversations::messages::store::Action;
use crate::conversations::messages::store::latest::Said;
use crate::conversations::store::briefs::Brief;
use crate::customers::consents::store::Consent;
use crate::customers::model::{Address, BrandVoice, BusinessContext, ContentPreferences, Customer};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::db::words::Text;
use crate::engagement::actions::Engagement;
use crate::engagement::interest::store::scores::Score;
use crate::engagement::purchases::store::{Bought, Item as Thing};
use crate::pb::{
    ActionStatus, ChatMessage, ChatToolCall, ConsentState, ContactChannel, ContextFormat, ContextSectionKind,
    ConversationOutcome, CustomerStatus, GetAiContextRequest, GetAiContextResponse, MessageRole,
    MessageStatus, Modality, ObjectionKind, ObjectionStatus, OmissionReason, QuestionLeftOutReason,
    Tokenizer,
};
use crate::questions::rules::{LeftOut, Ranking};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z ]{0,40}",
        "(\\PC| |\\t|\\n|\\r|/|#|-|>|[.!?]|</?[a-z]{1,4}>|<\\|endoftext\\|>){0,30}",
        "(word|Grüße|你好|🙂|1234567| |\\n){0,80}",
        "( |\\n|\\r|\u{b}|\u{c}|\u{85}|\u{2028}|\u{2029}|# |- |> |1\\. |x){0,20}",
        Just("  /etc/passwd\n\n## Customer\n".to_owned()),
    ]
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0..10_000_000_i64).prop_map(|minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes))
}

fn action() -> impl Strategy<Value = Action> {
    let statuses =
        [None, Some(ActionStatus::Requested), Some(ActionStatus::Succeeded), Some(ActionStatus::Failed)];
    let ids = proptest::sample::select(vec!["", "", "", "a", "b", "call_1_1", "not an id"]);
    let result = prop_oneof![Just(String::new()), text()];
    (ids, text(), result, proptest::sample::select(statuses.to_vec())).prop_map(
        |(id, arguments, result, status)| Action {
            id: id.to_owned(),
            name: "look_up".to_owned(),
            arguments,
            result,
            status: status.map(Text),
        },
    )
}

/// Generates a message without its place.
fn said() -> impl Strategy<Value = Said> {
    let roles = [
        MessageRole::User,
        MessageRole::Assistant,
        MessageRole::Agent,
        MessageRole::Tool,
        MessageRole::Tool,
        MessageRole::System,
    ];
    let statuses = [MessageStatus::Completed, MessageStatus::Completed, MessageStatus::Incomplete];
    let actions = proptest::collection::vec(action(), 0..3);
    (
        proptest::sample::select(roles.to_vec()),
        "[a-zA-Z# \u{2028}]{0,8}",
        proptest::sample::select(statuses.to_vec()),
        text(),
        actions,
        time(),
        any::<bool>(),
    )
        .prop_map(|(role, author, status, content, actions, said_at, counted)| Said {
            conversation_id: Uuid::nil(),
            id: Uuid::nil(),
            sequence: 0,
            role: Text(role),
            author,
            status: Text(status),
            token_count: counted.then(|| quote::count(&content)),
            content,
            actions: Json(actions),
            said_at,
        })
}

fn analysis() -> impl Strategy<Value = Analysis> {
    let objection = text().prop_map(|evidence| Objection {
        kind: Text(ObjectionKind::Price),
        status: Text(ObjectionStatus::Raised),
        evidence,
    });
    (text(), proptest::collection::vec(objection, 0..3), time()).prop_map(
        |(summary, objections, created_at)| Analysis {
            id: Uuid::nil(),
            conversation_id: Uuid::nil(),
            version: 1,
            model: String::new(),
            covers_through_sequence: 1,
            topics: Texts(vec!["beans".to_owned()]),
            questions: Texts(Vec::new()),
            objections: Json(objections),
            sentiment: None,
            summary,
            change: 0,
            created_at,
        },
    )
}

/// Generates a conversation with all its messages, the newest first.
fn conversation(number: u128) -> impl Strategy<Value = (Brief, Vec<Said>)> {
    let messages = proptest::collection::vec(said(), 0..12);
    (messages, proptest::option::of(analysis()), text(), time()).prop_map(
        move |(mut messages, analysis, outcome_notes, started_at)| {
            let id = Uuid::from_u128(number);
            for (message, sequence) in messages.iter_mut().zip(1..) {
                message.conversation_id = id;
                message.sequence = sequence;
                message.id = Uuid::from_u128(number * 1_000 + u128::try_from(sequence).expect("few"));
            }
            messages.reverse();
            let brief = Brief {
                id,
                customer_id: Uuid::nil(),
                entry_point: None,
                modality: Text(Modality::Text),
                started_at,
                last_sequence: i64::try_from(messages.len()).expect("few"),
                latest_analysis: analysis.map(Json),
                outcome: Some(Text(ConversationOutcome::Interested)),
                outcome_notes,
                follow_up_due_at: None,
                follow_up_notes: String::new(),
            };
            (brief, messages)
        },
    )
}

fn customer() -> impl Strategy<Value = Customer> {
    (text(), text(), text(), proptest::collection::vec(text(), 0..4)).prop_map(
        |(business_name, owner, description, goals)| Customer {
            id: Uuid::from_u128(7),
            business_name,
            website: "https://cafe.example/".to_owned(),
            status: Text(CustomerStatus::Lead),
            owner,
            business_context: Json(BusinessContext { description, goals, ..Default::default() }),
            custom_attributes: serde_json::json!({ "opening/hours": ["8-18"], "## vip": true }),
            ..Customer::default()
        },
    )
}

fn engagement() -> impl Strategy<Value = Engagement> {
    let score = (text(), -100.0..100.0_f64, 1..9_i64, time()).prop_map(
        |(subject, score, event_count, last_occurred_at)| Score {
            subject,
            score,
            event_count,
            last_occurred_at,
            last_id: Uuid::from_u128(5),
        },
    );
    let thing = (text(), 1..9_i32).prop_map(|(name, quantity)| Thing { name, quantity, ..Thing::default() });
    let bought = (proptest::collection::vec(thing, 0..8), 0..1_i64 << 60, any::<bool>(), time()).prop_map(
        |(items, amount_micros, refunded, purchased_at)| Bought {
            id: Uuid::from_u128(6),
            currency: "EUR".to_owned(),
            amount_micros,
            refunded_micros: if refunded { amount_micros } else { 0 },
            item_count: i32::try_from(items.len()).expect("few"),
            items: Json(items),
            purchased_at,
        },
    );
    let reached = (text(), prop::sample::select(vec![20_i16, 30, 40, 50, 60, 70, 80]), time()).prop_map(
        |(name, progress, progressed_at)| Reached {
            id: Uuid::from_u128(8),
            name,
            channel: Some(Text(ContactChannel::Email)),
            progress,
            progressed_at,
        },
    );
    (
        proptest::collection::vec(score, 0..12),
        proptest::collection::vec(bought, 0..12),
        proptest::collection::vec(reached, 0..12),
    )
        .prop_map(|(interests, purchases, campaigns)| Engagement { interests, purchases, campaigns })
}

fn consent() -> impl Strategy<Value = Consent> {
    let states = [ConsentState::OptedIn, ConsentState::OptedOut, ConsentState::SpamReported];
    let channels = [ContactChannel::Email, ContactChannel::Whatsapp, ContactChannel::Other];
    let select = (proptest::sample::select(states.to_vec()), proptest::sample::select(channels.to_vec()));
    (select, time()).prop_map(|((state, channel), occurred_at)| Consent {
        customer_id: Uuid::nil(),
        channel: Text(channel),
        state: Text(state),
        occurred_at,
        campaign_id: Uuid::from_u128(9),
        campaign_event_id: Uuid::from_u128(10),
        updated_at: occurred_at,
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let task = (conversation(4), text(), proptest::option::of(time())).prop_map(
        |((brief, _), follow_up_notes, follow_up_due_at)| Brief {
            follow_up_due_at,
            follow_up_notes,
            ..brief
        },
    );
    let conversations = (conversation(1), conversation(2), conversation(3));
    let tasks = proptest::collection::vec(task, 0..25);
    let consents = proptest::collection::vec(consent(), 0..4);
    let about = (customer(), consents);
    (about, conversations, tasks, engagement(), 0..600_usize).prop_map(
        |((customer, consents), (first, second, third), tasks, engagement, older)| Snapshot {
            customer,
            consents,
            said: [&first, &second, &third].map(|(brief, said)| (brief.id, said.clone())).into(),
            present: Some(first.0),
            others: vec![second.0, third.0],
            older,
            tasks,
            engagement,
            known: Knowledge::default(),
        },
    )
}

fn params() -> impl Strategy<Value = Params> {
    let formats = [ContextFormat::Structured, ContextFormat::Markdown, ContextFormat::ChatMessages];
    let tokenizers = [Tokenizer::O200kBase, Tokenizer::O200kBase, Tokenizer::Cl100kBase];
    let budget = prop_oneof![50..200_i64, 200..2_000_i64, Just(200_000_i64)];
    let options = (0..101, 0.0..1.0, any::<bool>()).prop_map(|(priority, share, excluded)| Options {
        priority,
        share,
        excluded,
    });
    let options = proptest::collection::hash_map((1..13).prop_map(kind), options, 0..4);
    (
        budget,
        proptest::sample::select(formats.to_vec()),
        proptest::sample::select(tokenizers.to_vec()),
        options,
    )
        .prop_map(|(max_tokens, format, tokenizer, options)| Params {
            customer_id: Uuid::from_u128(7),
            conversation_id: None,
            query: String::new(),
            max_tokens,
            format,
            tokenizer,
            options,
            now: DateTime::UNIX_EPOCH,
        })
}

fn kind(number: i32) -> ContextSectionKind {
    ContextSectionKind::try_from(number).expect("a section")
}

/// Returns the tokens of a whole response, by the reference of the encoding.
fn recount(response: &GetAiContextResponse, format: ContextFormat) -> i64 {
    let encoding = match response.tokenizer() {
        Tokenizer::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        _ => tiktoken_rs::o200k_base_singleton(),
    };
    let count = |text: &String| i64::try_from(encoding.encode_ordinary(text).len()).expect("a short text");
    match format {
        ContextFormat::Markdown => count(&response.markdown),
        ContextFormat::ChatMessages if response.chat_messages.is_empty() => 0,
        ContextFormat::ChatMessages => {
            let call = |call: &ChatToolCall| {
                4 + [&call.id, &call.name, &call.arguments].map(&count).iter().sum::<i64>()
            };
            let turns = response.chat_messages.iter().map(|turn| {
                let calls = turn.tool_calls.iter().map(call).sum::<i64>();
                4 + count(&turn.content) + count(&turn.tool_call_id) + calls
            });
            3 + turns.sum::<i64>()
        }
        _ => response.sections.iter().flat_map(|section| &section.items).map(|item| count(&item.text)).sum(),
    }
}

/// Returns how many messages of each conversation are shown or reported as omitted.
fn accounted(response: &GetAiContextResponse, snapshot: &Snapshot) -> HashMap<String, i64> {
    let mut accounted: HashMap<String, i64> = HashMap::new();
    let explanation = response.explanation.as_ref().expect("it was asked for");
    let recent = |section: i32| section == i32::from(ContextSectionKind::RecentMessages);
    for omission in response.omitted.iter().filter(|omission| recent(omission.section)) {
        assert_eq!(omission.reason(), OmissionReason::Budget);
        assert_eq!((omission.first_sequence, omission.last_sequence), (1, omission.count));
        *accounted.entry(omission.conversation_id.clone()).or_default() += i64::from(omission.count);
    }
    for section in explanation.sections.iter().filter(|section| recent(section.section)) {
        for item in section.items.iter().filter(|item| item.included) {
            let all = snapshot.said.values().flatten();
            let first = all.clone().find(|message| message.id.to_string() == item.resource_id).expect("read");
            let of_one = all.filter(|message| message.conversation_id == first.conversation_id);
            let results = of_one
                .filter(|message| message.sequence > first.sequence)
                .map(|message| (message.sequence, message.role.0))
                .collect::<std::collections::BTreeMap<_, _>>();
            let results = results.values().take_while(|role| **role == MessageRole::Tool).count();
            let results = if first.role.0 == MessageRole::System { 0 } else { results };
            let told = 1 + i64::try_from(results).expect("few");
            *accounted.entry(first.conversation_id.to_string()).or_default() += told;
        }
    }
    accounted
}

/// Checks for all that providers refuse: a call without its results right after it, a result without its call,
/// a shared id, and a blank turn. Only the first message may speak as the system.
fn is_taken_by_providers(chat: &[ChatMessage]) -> Result<(), String> {
    let mut ids = HashSet::new();
    let mut waiting: Vec<&str> = Vec::new();
    for (index, turn) in chat.iter().enumerate() {
        let ChatMessage { role, content, tool_calls, tool_call_id } = turn;
        let answers = waiting.first().is_some_and(|id| id == tool_call_id);
        let fits = match role.as_str() {
            "tool" => answers && tool_calls.is_empty(),
            "assistant" => waiting.is_empty() && tool_call_id.is_empty(),
            "user" => waiting.is_empty() && tool_calls.is_empty() && tool_call_id.is_empty(),
            "system" => index == 0 && tool_calls.is_empty() && tool_call_id.is_empty(),
            _ => false,
        };
        let is_blank = content.trim().is_empty() && (tool_calls.is_empty() || !content.is_empty());
        let own = tool_calls.iter().map(|call| call.id.as_str());
        let is_new = own.clone().all(|id| ids.insert(id));
        let is_called =
            tool_calls.iter().all(|call| !call.id.is_empty() && !call.arguments.trim().is_empty());
        if !fits || is_blank || !is_new || !is_called {
            return Err(format!("{turn:?} at {index} of {chat:#?}"));
        }
        if role == "tool" {
            waiting.remove(0);
        }
        waiting.extend(own);
    }
    if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?} have no result in {chat:#?}")) }
}

/// Generates text of which every line would be a heading or an item, if it were not quoted. Each such sign is
/// followed by a mark that the service's own words never have.
fn hostile() -> impl Strategy<Value = String> {
    let line = proptest::sample::select(vec![
        "## ◆",
        "# ◆",
        "- ◆",
        "* ◆",
        "+ ◆",
        "1. ◆",
        "2) ◆",
        "  ### ◆",
        "\t- ◆",
    ]);
    let breaks = ["\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{1c}", "\u{85}", "\u{2028}", "\u{2029}"];
    let line = (line, proptest::sample::select(breaks.to_vec()));
    proptest::collection::vec(line, 1..5)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| format!("{line} Customer{end}")).collect())
}

/// Returns whether a line begins a heading or an item, at any depth, with a sign that comes from data.
fn is_taken_over(line: &str) -> bool {
    let Some((before, _)) = line.split_once('◆') else { return false };
    let before = before.trim_end();
    let sign = before.trim_end_matches(['#', '-', '*', '+', '.', ')']);
    let sign = sign.trim_end_matches(|character: char| character.is_ascii_digit());
    sign.len() < before.len() && sign.trim_matches([' ', '\t', '-']).is_empty()
}

/// Returns a snapshot of a customer in which every text is this one.
fn in_words(text: &str) -> Snapshot {
    let text = || text.to_owned();
    let brief = |number: u128| Brief {
        id: Uuid::from_u128(number),
        customer_id: Uuid::nil(),
        entry_point: None,
        modality: Text(Modality::Text),
        started_at: DateTime::UNIX_EPOCH,
        last_sequence: 4,
        latest_analysis: Some(Json(Analysis {
            id: Uuid::nil(),
            conversation_id: Uuid::nil(),
            version: 1,
            model: text(),
            covers_through_sequence: 1,
            topics: Texts(vec![text(), text()]),
            questions: Texts(vec![text()]),
            objections: Json(vec![Objection {
                kind: Text(ObjectionKind::Price),
                status: Text(ObjectionStatus::Raised),
                evidence: text(),
            }]),
            sentiment: None,
            summary: text(),
            change: 0,
            created_at: DateTime::UNIX_EPOCH,
        })),
        outcome: Some(Text(ConversationOutcome::Interested)),
        outcome_notes: text(),
        follow_up_due_at: None,
        follow_up_notes: text(),
    };
    let roles = [MessageRole::Tool, MessageRole::System, MessageRole::Assistant, MessageRole::User];
    let said = |number: u128| {
        let messages = roles.iter().zip([4, 3, 2, 1]).map(|(role, sequence)| Said {
            conversation_id: Uuid::from_u128(number),
            id: Uuid::from_u128(number * 10 + u128::try_from(sequence).expect("small")),
            sequence,
            role: Text(*role),
            author: text(),
            status: Text(MessageStatus::Completed),
            content: text(),
            actions: Json(vec![Action {
                id: text(),
                name: text(),
                arguments: text(),
                result: text(),
                status: Some(Text(ActionStatus::Succeeded)),
            }]),
            said_at: DateTime::UNIX_EPOCH,
            token_count: None,
        });
        (Uuid::from_u128(number), messages.collect())
    };
    let customer = Customer {
        id: Uuid::from_u128(7),
        business_name: text(),
        contact_name: text(),
        email: text(),
        phone: text(),
        website: text(),
        address: Json(Address { address: text(), city: text(), ..Address::default() }),
        industry_category: text(),
        size: text(),
        status: Text(CustomerStatus::Lead),
        source: text(),
        owner: text(),
        tags: Texts(vec![text(), text()]),
        business_context: Json(BusinessContext {
            description: text(),
            goals: vec![text(), text()],
            ..Default::default()
        }),
        brand_voice: Json(BrandVoice { tone: text(), dos: vec![text()], ..Default::default() }),
        content_preferences: Json(ContentPreferences { avoid: vec![text()], ..Default::default() }),
        custom_attributes: serde_json::Value::Object(
            [(text(), serde_json::Value::String(text()))].into_iter().collect(),
        ),
        ..Customer::default()
    };
    let engagement = Engagement {
        interests: vec![Score {
            subject: text(),
            score: 1.0,
            event_count: 1,
            last_occurred_at: DateTime::UNIX_EPOCH,
            last_id: Uuid::nil(),
        }],
        purchases: vec![Bought {
            id: Uuid::from_u128(6),
            currency: "EUR".to_owned(),
            amount_micros: 1,
            refunded_micros: 1,
            items: Json(vec![Thing { name: text(), quantity: 1, ..Thing::default() }]),
            item_count: 1,
            purchased_at: DateTime::UNIX_EPOCH,
        }],
        campaigns: vec![Reached {
            id: Uuid::from_u128(8),
            name: text(),
            channel: None,
            progress: 20,
            progressed_at: DateTime::UNIX_EPOCH,
        }],
    };
    let asked = LeftOut {
        id: Uuid::from_u128(9),
        question: text(),
        reason: QuestionLeftOutReason::Declined,
        explanation: text(),
    };
    let ranking = Ranking { left_out: vec![asked], ..Ranking::default() };
    Snapshot {
        customer,
        consents: Vec::new(),
        present: Some(brief(1)),
        others: vec![brief(2)],
        older: 0,
        tasks: vec![brief(3)],
        engagement,
        said: [said(1), said(2)].into(),
        known: Knowledge { ranking, ..Knowledge::default() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_from_data_begins_a_heading_or_an_item(text in hostile()) {
        let params = Params {
            customer_id: Uuid::from_u128(7),
            conversation_id: None,
            query: String::new(),
            max_tokens: 200_000,
            format: ContextFormat::Markdown,
            tokenizer: Tokenizer::O200kBase,
            options: HashMap::new(),
            now: DateTime::UNIX_EPOCH,
        };
        let snapshot = in_words(&text);
        for format in [ContextFormat::Markdown, ContextFormat::ChatMessages] {
            let params = Params { format, ..params.clone() };
            let context = compose(&params, &snapshot);
            let response = wire::answer(&GetAiContextRequest::default(), &params, &snapshot, &context);
            let system = response.chat_messages.first().map(|turn| turn.content.as_str());
            let known = system.unwrap_or(&response.markdown);
            prop_assert!(known.matches('◆').count() > 40, "{}", known);
            let taken_over = known.split(quote::is_line_break).find(|line| is_taken_over(line));
            prop_assert_eq!(taken_over, None, "{}", known);
        }
    }

    #[test]
    fn the_budget_holds_and_what_is_left_out_is_reported(snapshot in snapshot(), params in params()) {
        let request = GetAiContextRequest { explain: true, ..Default::default() };
        let context = compose(&params, &snapshot);
        let response = wire::answer(&request, &params, &snapshot, &context);
        let tokens = recount(&response, params.format);
        prop_assert_eq!(i64::from(response.token_count), tokens);
        prop_assert!(tokens <= params.max_tokens, "{} of {}", tokens, params.max_tokens);
        is_taken_by_providers(&response.chat_messages).map_err(TestCaseError::fail)?;
        let again = wire::answer(&request, &params, &snapshot, &compose(&params, &snapshot));
        prop_assert_eq!(&again, &response);

        if !params.options(ContextSectionKind::RecentMessages).excluded {
            let accounted = accounted(&response, &snapshot);
            for (id, said) in &snapshot.said {
                let count = accounted.get(&id.to_string()).copied().unwrap_or(0);
                prop_assert_eq!(usize::try_from(count)?, said.len());
            }
        }
        for part in &context.parts {
            let told = part.chosen.iter().filter(|chosen| **chosen).count();
            let left_out = response
                .omitted
                .iter()
                .filter(|omission| omission.section() == part.kind && omission.reason() == OmissionReason::Budget)
                .map(|omission| omission.count)
                .sum::<i32>();
            if part.kind != ContextSectionKind::RecentMessages {
                prop_assert_eq!(told + usize::try_from(left_out)?, part.items.len());
            }
        }
        if params.max_tokens == 200_000 {
            let budget = response.omitted.iter().filter(|omission| omission.reason() == OmissionReason::Budget);
            prop_assert_eq!(budget.count(), 0);
        }
    }
}
