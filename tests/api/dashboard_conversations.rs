//! GetConversationStatistics, and the lists behind its numbers.

use crm_backend::pb::{
    AiMetadata, Conversation, ConversationAnalysis, ConversationEnvironment, ConversationOutcome,
    ConversationStatus, DashboardCount, DashboardRows, EndConversationRequest, EntryPoint,
    GetConversationStatisticsRequest, GetConversationStatisticsResponse, ListConversationsRequest, Message,
    MessageRole, Modality, Objection, ObjectionKind, ObjectionStatus, Presenter, Sentiment, SentimentLabel,
};
use prost_types::Duration;

use crate::support::campaigns::at;
use crate::support::conversations::message;
use crate::support::recount::{bare, recount};
use crate::support::{Crm, Refusal, Tenant};

const FROM: &str = "2026-01-01T00:00:00Z";
const UNTIL: &str = "2026-02-01T00:00:00Z";

fn january() -> GetConversationStatisticsRequest {
    GetConversationStatisticsRequest {
        time_from: Some(at(FROM)),
        time_until: Some(at(UNTIL)),
        ..Default::default()
    }
}

/// Returns a conversation of January.
fn talk(customer_id: &str, start: &str) -> Conversation {
    Conversation { customer_id: customer_id.to_owned(), start_time: Some(at(start)), ..Default::default() }
}

/// Returns a message from a model.
fn made(key: &str, ai: AiMetadata) -> Message {
    Message { role: MessageRole::Assistant.into(), ai: Some(ai), ..message(key, "Yes.") }
}

fn ai(model: &str, prompt: i32, completion: i32, cached: i32, millis: Option<i64>) -> AiMetadata {
    let response_duration = millis.map(|millis| Duration {
        seconds: millis / 1_000,
        nanos: i32::try_from(millis % 1_000).expect("millis") * 1_000_000,
    });
    AiMetadata {
        model: model.to_owned(),
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        cached_tokens: Some(cached),
        response_duration,
        ..Default::default()
    }
}

fn objection(kind: ObjectionKind, status: ObjectionStatus) -> Objection {
    Objection { kind: kind.into(), status: status.into(), evidence: String::new() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Fills a tenant with rows of all kinds in January, and more around it.
async fn busy(tenant: &Tenant) {
    let customer = tenant.customer("Café Zoë").await.id;
    let begin = async |request: Conversation| tenant.open(request).await.expect("a conversation");
    let presenter = |id: &str| Some(Presenter { id: id.to_owned(), ..Default::default() });
    let first = begin(Conversation {
        entry_point: EntryPoint::Whatsapp.into(),
        presenter: presenter("bot"),
        ..talk(&customer, FROM)
    })
    .await;
    let second = begin(Conversation {
        entry_point: EntryPoint::WebsiteWidget.into(),
        modality: Modality::Voice.into(),
        presenter: presenter("bot"),
        ..talk(&customer, "2026-01-31T23:59:59.999999Z")
    })
    .await;
    let third = begin(talk(&customer, "2026-01-15T12:00:00Z")).await;
    let test = begin(Conversation {
        environment: ConversationEnvironment::Test.into(),
        ..talk(&customer, "2026-01-15T12:00:00Z")
    })
    .await;
    let before = begin(talk(&customer, "2025-12-31T23:59:59.999999Z")).await;
    let after = begin(talk(&customer, UNTIL)).await;
    for talk in [&first, &second, &test, &before, &after] {
        tenant.add(&talk.id, message("a", "How much?")).await.expect("added");
        tenant.add(&talk.id, made("b", ai("large", 1_000, 200, 400, Some(1_500)))).await.expect("added");
        tenant.add(&talk.id, made("c", ai("small", 10, 5, 0, Some(20)))).await.expect("added");
    }
    tenant.add(&first.id, made("d", ai("large", 500, 100, 0, Some(500)))).await.expect("added");
    tenant.add(&first.id, made("e", ai("", 0, 0, 0, None))).await.expect("added");
    let analysis = |talk: &Conversation, topics: &[&str], label: SentimentLabel| ConversationAnalysis {
        conversation_id: talk.id.clone(),
        topics: texts(topics),
        questions: texts(&["How much?"]),
        sentiment: Some(Sentiment { label: label.into(), ..Default::default() }),
        ..Default::default()
    };
    let old = analysis(&first, &["weather"], SentimentLabel::Negative);
    tenant.analyse(old).await.expect("recorded");
    let latest = ConversationAnalysis {
        objections: vec![
            objection(ObjectionKind::Price, ObjectionStatus::Resolved),
            objection(ObjectionKind::Price, ObjectionStatus::Raised),
            objection(ObjectionKind::Timing, ObjectionStatus::Resolved),
        ],
        ..analysis(&first, &["Price", "price", "Größe"], SentimentLabel::Positive)
    };
    tenant.analyse(latest).await.expect("recorded");
    let latest = ConversationAnalysis {
        questions: texts(&["HOW MUCH?", "When?"]),
        objections: vec![objection(ObjectionKind::Price, ObjectionStatus::Resolved)],
        ..analysis(&second, &["PRICE", "größe", "delivery"], SentimentLabel::Positive)
    };
    tenant.analyse(latest).await.expect("recorded");
    for talk in [&test, &before, &after] {
        tenant.analyse(analysis(talk, &["price"], SentimentLabel::Mixed)).await.expect("recorded");
    }
    let end = |talk: &Conversation, time: &str, outcome: ConversationOutcome| EndConversationRequest {
        id: talk.id.clone(),
        end_time: Some(at(time)),
        outcome: outcome.into(),
        ..Default::default()
    };
    tenant
        .end(end(&first, "2026-01-01T00:10:00.000001Z", ConversationOutcome::Purchased))
        .await
        .expect("ended");
    tenant.end(end(&third, "2026-01-15T12:01:00Z", ConversationOutcome::Unspecified)).await.expect("ended");
    tenant.end(end(&before, UNTIL, ConversationOutcome::Spam)).await.expect("ended");
}

/// Returns the conversations of a window with their messages, as lists show them.
async fn read(
    tenant: &Tenant,
    request: &GetConversationStatisticsRequest,
    environments: &[ConversationEnvironment],
) -> Vec<(Conversation, Vec<Message>)> {
    let list = ListConversationsRequest {
        start_time_from: request.time_from,
        start_time_until: request.time_until,
        environments: environments.iter().map(|environment| (*environment).into()).collect(),
        ..Default::default()
    };
    let mut read = Vec::new();
    for talk in tenant.all_conversations(list).await {
        let messages = tenant.messages(&talk.id, 500).await;
        read.push((talk, messages));
    }
    read
}

fn pairs(counts: &[DashboardCount]) -> Vec<(&str, i64)> {
    counts.iter().map(|count| (count.value.as_str(), count.row_count)).collect()
}

/// Compares every number with the rows that its own request lists.
async fn lists_its_rows(tenant: &Tenant, answer: &GetConversationStatisticsResponse) {
    let lists = [
        &answer.statuses,
        &answer.entry_points,
        &answer.modalities,
        &answer.presenters,
        &answer.outcomes,
        &answer.sentiments,
        &answer.topics,
        &answer.questions,
    ];
    for number in lists.into_iter().flatten().chain(&answer.total) {
        match &number.rows {
            Some(rows) => assert_eq!(tenant.listed(rows).await, number.row_count, "{number:?}"),
            None => assert_eq!(number.value, "", "only what says nothing cannot be listed"),
        }
    }
    for objection in &answer.objections {
        let rows: &DashboardRows = objection.rows.as_ref().expect("a request");
        assert_eq!(tenant.listed(rows).await, objection.row_count, "{objection:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_count_by_what_they_are_and_what_was_said() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    busy(&tenant).await;
    busy(&other).await;
    let answer = tenant.conversation_statistics(january()).await.expect("an answer");
    assert_eq!(answer.total.as_ref().map(|total| total.row_count), Some(3));
    assert_eq!(pairs(&answer.statuses), [("CONVERSATION_STATUS_OPEN", 1), ("CONVERSATION_STATUS_ENDED", 2)]);
    assert_eq!(
        pairs(&answer.entry_points),
        [("", 1), ("ENTRY_POINT_WEBSITE_WIDGET", 1), ("ENTRY_POINT_WHATSAPP", 1)]
    );
    assert_eq!(pairs(&answer.modalities), [("MODALITY_TEXT", 2), ("MODALITY_VOICE", 1)]);
    assert_eq!(pairs(&answer.presenters), [("bot", 2), ("", 1)]);
    assert_eq!(pairs(&answer.outcomes), [("", 2), ("CONVERSATION_OUTCOME_PURCHASED", 1)]);
    assert_eq!(pairs(&answer.sentiments), [("SENTIMENT_LABEL_POSITIVE", 2)]);
    assert_eq!(pairs(&answer.topics), [("Größe", 2), ("PRICE", 2), ("delivery", 1)]);
    assert_eq!(pairs(&answer.questions), [("HOW MUCH?", 2), ("When?", 1)]);
    let objections: Vec<_> = answer
        .objections
        .iter()
        .map(|objection| (objection.kind(), objection.row_count, objection.unresolved_count))
        .collect();
    assert_eq!(objections, [(ObjectionKind::Price, 2, 1), (ObjectionKind::Timing, 1, 0)]);
    assert_eq!(answer.message_count, 8);
    let duration = answer.duration.as_ref().expect("a spread");
    let micros = |duration: &Option<Duration>| duration.as_ref().map(crm_backend::times::duration_to_micros);
    assert_eq!((duration.count, micros(&duration.average)), (2, Some(330_000_001)));
    assert_eq!((micros(&duration.p50), micros(&duration.p95)), (Some(60_000_000), Some(600_000_001)));
    lists_its_rows(&tenant, &answer).await;
    assert_eq!(bare(&answer), recount(&read(&tenant, &january(), &[ConversationEnvironment::Live]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_count_when_they_are_asked_for() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    busy(&tenant).await;
    for environments in [
        vec![ConversationEnvironment::Test],
        vec![ConversationEnvironment::Live, ConversationEnvironment::Test],
        vec![ConversationEnvironment::Simulation],
    ] {
        let request = GetConversationStatisticsRequest {
            environments: environments.iter().map(|environment| (*environment).into()).collect(),
            ..january()
        };
        let answer = tenant.conversation_statistics(request.clone()).await.expect("an answer");
        lists_its_rows(&tenant, &answer).await;
        assert_eq!(bare(&answer), recount(&read(&tenant, &request, &environments).await), "{environments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_to_nothing() {
    let crm = Crm::start().await;
    busy(&crm.tenant()).await;
    let answer = crm.tenant().conversation_statistics(january()).await.expect("an answer");
    assert_eq!(bare(&answer), recount(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_modality_or_analysis_shows_those_that_have_all_of_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    busy(&tenant).await;
    busy(&crm.tenant()).await;
    let all = || ListConversationsRequest {
        start_time_from: Some(at(FROM)),
        start_time_until: Some(at(UNTIL)),
        environments: vec![ConversationEnvironment::Live.into()],
        ..Default::default()
    };
    let unbounded =
        ListConversationsRequest { modalities: vec![Modality::Voice.into()], ..Default::default() };
    let cases = [
        (unbounded.clone(), 1),
        (
            ListConversationsRequest {
                modalities: vec![Modality::Voice.into(), Modality::Text.into()],
                ..all()
            },
            3,
        ),
        (ListConversationsRequest { topic: "pRICE".to_owned(), ..all() }, 2),
        (ListConversationsRequest { topic: "GRÖSSE".to_owned(), ..all() }, 2),
        (ListConversationsRequest { topic: "ｇｒｏｓｓｅ".to_owned(), ..all() }, 2),
        (ListConversationsRequest { topic: "GRÖßE".to_owned(), ..all() }, 2),
        (ListConversationsRequest { topic: "weather".to_owned(), ..all() }, 0),
        (ListConversationsRequest { topic: "%".to_owned(), ..all() }, 0),
        (ListConversationsRequest { question: "when?".to_owned(), ..all() }, 1),
        (ListConversationsRequest { objection_kinds: vec![ObjectionKind::Timing.into()], ..all() }, 1),
        (ListConversationsRequest { sentiments: vec![SentimentLabel::Mixed.into()], ..all() }, 0),
        (
            ListConversationsRequest {
                topic: "delivery".to_owned(),
                question: "How much?".to_owned(),
                objection_kinds: vec![ObjectionKind::Timing.into(), ObjectionKind::Price.into()],
                sentiments: vec![SentimentLabel::Positive.into(), SentimentLabel::Mixed.into()],
                ..all()
            },
            1,
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(tenant.all_conversations(request.clone()).await.len(), expected, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_analysis_needs_bounds() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let none = ListConversationsRequest::default;
    let filters = [
        ListConversationsRequest { topic: "x".to_owned(), ..none() },
        ListConversationsRequest { question: "x".to_owned(), ..none() },
        ListConversationsRequest { objection_kinds: vec![ObjectionKind::Price.into()], ..none() },
        ListConversationsRequest { sentiments: vec![SentimentLabel::Mixed.into()], ..none() },
    ];
    for filter in filters {
        for (from, until, fields) in [
            (None, None, &["start_time_from", "start_time_until"][..]),
            (None, Some(UNTIL), &["start_time_from"]),
            (Some(FROM), None, &["start_time_until"]),
            (Some("2024-12-27T23:59:59.999999Z"), Some(UNTIL), &["start_time_from"]),
        ] {
            let request = ListConversationsRequest {
                start_time_from: from.map(at),
                start_time_until: until.map(at),
                ..filter.clone()
            };
            tenant.conversation_page(request).await.expect_err("no bounds").is_invalid(fields);
        }
        let bounded = ListConversationsRequest {
            start_time_from: Some(at("2024-12-28T00:00:00Z")),
            start_time_until: Some(at(UNTIL)),
            ..filter
        };
        assert_eq!(tenant.conversation_page(bounded).await.expect("400 days").conversations, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_moves_on_counts_where_it_is() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let status = async |expected: &str| {
        let answer = tenant.conversation_statistics(Default::default()).await.expect("an answer");
        assert_eq!(pairs(&answer.statuses), [(expected, 1)]);
    };
    status("CONVERSATION_STATUS_OPEN").await;
    let waiting = ConversationStatus::WaitingOnAgent.into();
    tenant.revise(Conversation { status: waiting, ..talk.clone() }, &["status"]).await.expect("changed");
    status("CONVERSATION_STATUS_WAITING_ON_AGENT").await;
    tenant.finish(&talk.id).await;
    status("CONVERSATION_STATUS_ENDED").await;
}
