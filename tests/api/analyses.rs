//! RecordAnalysis and ListConversationAnalyses.

use crm_backend::pb::{
    ConversationAnalysis, GetConversationAnalysisRequest, ListConversationAnalysesRequest, Objection,
    ObjectionKind, ObjectionStatus, Sentiment, SentimentLabel, SentimentTrend,
};
use tonic::{Code, Status};

use crate::support::conversations::message;
use crate::support::{Crm, Refusal, Tenant, at_once};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

fn of(conversation_id: &str, covers_through_sequence: i32) -> ConversationAnalysis {
    ConversationAnalysis {
        conversation_id: conversation_id.to_owned(),
        covers_through_sequence,
        ..Default::default()
    }
}

async fn list(
    tenant: &Tenant,
    conversation_id: &str,
    page_size: i32,
) -> Result<Vec<ConversationAnalysis>, Status> {
    let mut request = ListConversationAnalysesRequest {
        conversation_id: conversation_id.to_owned(),
        page_size,
        ..Default::default()
    };
    let mut analyses = Vec::new();
    loop {
        let page = tenant.conversations().list_conversation_analyses(request.clone()).await?.into_inner();
        analyses.extend(page.analyses);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(analyses);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    tenant.add(&talk.id, message("a", "Too expensive!")).await.expect("added");
    let request = ConversationAnalysis {
        model: "m-1".to_owned(),
        topics: vec!["price".to_owned()],
        questions: vec!["How much?".to_owned()],
        objections: vec![Objection {
            kind: ObjectionKind::Price.into(),
            status: ObjectionStatus::Raised.into(),
            evidence: "Too expensive!".to_owned(),
        }],
        sentiment: Some(Sentiment {
            score: Some(-0.25),
            magnitude: Some(1.5),
            label: SentimentLabel::Negative.into(),
            trend: SentimentTrend::Declining.into(),
        }),
        summary: "Price.\nAgain.".to_owned(),
        ..of(&talk.id, 0)
    };
    let analysis = tenant.analyse(request.clone()).await.expect("recorded");
    let expected = ConversationAnalysis {
        id: analysis.id.clone(),
        create_time: analysis.create_time,
        conversation_id: talk.id.clone(),
        version: 1,
        covers_through_sequence: 1,
        model: request.model,
        topics: request.topics,
        questions: request.questions,
        objections: request.objections,
        sentiment: request.sentiment,
        summary: request.summary,
    };
    assert_eq!(analysis, expected);
    assert_eq!(list(&tenant, &talk.id, 0).await.expect("a page"), std::slice::from_ref(&expected));
    let now = tenant.read(&talk.id).await.expect("there");
    assert_eq!(now.latest_analysis, Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_analysis_is_read_by_its_id() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (talk, other) = (tenant.conversation().await, tenant.conversation().await);
    let first = tenant.analyse(of(&talk.id, 0)).await.expect("recorded");
    let second = tenant.analyse(of(&talk.id, 0)).await.expect("recorded");
    let get = async |tenant: &Tenant, conversation_id: &str, id: &str| {
        let request =
            GetConversationAnalysisRequest { conversation_id: conversation_id.to_owned(), id: id.to_owned() };
        let response = tenant.conversations().get_conversation_analysis(request).await;
        response.map(|response| response.into_inner().analysis.expect("the analysis"))
    };
    for analysis in [&first, &second] {
        assert_eq!(get(&tenant, &talk.id, &analysis.id).await.expect("there"), *analysis);
    }
    for (tenant, talk, id, reason) in [
        (&tenant, &*talk.id, UNKNOWN, "CONVERSATION_ANALYSIS_NOT_FOUND"),
        (&tenant, &*other.id, &*first.id, "CONVERSATION_ANALYSIS_NOT_FOUND"),
        (&tenant, UNKNOWN, &*first.id, "CONVERSATION_NOT_FOUND"),
        (&crm.tenant(), &*talk.id, &*first.id, "CONVERSATION_NOT_FOUND"),
    ] {
        get(tenant, talk, id).await.expect_err(reason).is(Code::NotFound, reason);
    }
    get(&tenant, "x", "y").await.expect_err("no ids").is_invalid(&["conversation_id", "id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mood_that_is_not_known_is_not_a_neutral_one() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    for (score, magnitude) in [(None, None), (Some(0.0), Some(0.0))] {
        let label = SentimentLabel::Negative.into();
        let sentiment = Some(Sentiment { score, magnitude, label, ..Default::default() });
        let request = ConversationAnalysis { sentiment, ..of(&talk.id, 0) };
        assert_eq!(tenant.analyse(request).await.expect("recorded").sentiment, sentiment);
        let latest = tenant.read(&talk.id).await.expect("there").latest_analysis;
        assert_eq!(latest.and_then(|latest| latest.sentiment), sentiment);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_analysis_is_the_newest_of_those_that_cover_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    for key in ["a", "b", "c"] {
        tenant.add(&talk.id, message(key, "Hello")).await.expect("added");
    }
    for (version, covers, latest) in [(1, 1, 1), (2, 3, 2), (3, 2, 2), (4, 3, 4), (5, 0, 5), (6, 1, 5)] {
        let analysis = tenant.analyse(of(&talk.id, covers)).await.expect("recorded");
        assert_eq!(analysis.version, version);
        assert_eq!(analysis.covers_through_sequence, if covers == 0 { 3 } else { covers });
        let now = tenant.read(&talk.id).await.expect("there");
        assert_eq!(now.latest_analysis.map(|analysis| analysis.version), Some(latest));
    }
    for page_size in [1, 2, 6, 7] {
        let versions: Vec<_> = list(&tenant, &talk.id, page_size)
            .await
            .expect("pages")
            .iter()
            .map(|analysis| analysis.version)
            .collect();
        assert_eq!(versions, [6, 5, 4, 3, 2, 1], "by {page_size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_covers_what_there_is() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    tenant.analyse(of(&talk.id, 0)).await.expect("of nothing");
    let error = tenant.analyse(of(&talk.id, 1)).await.expect_err("beyond the last");
    error.is(Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE");
    assert_eq!(error.fields(), ["analysis.covers_through_sequence"]);
    let error = tenant.analyse(of(&talk.id, -1)).await.expect_err("negative");
    error.is_invalid(&["analysis.covers_through_sequence"]);
    tenant.finish(&talk.id).await;
    tenant.analyse(of(&talk.id, 0)).await.expect("also after the end");
    let error = tenant.analyse(of(UNKNOWN, 0)).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    let error = list(&tenant, UNKNOWN, 0).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn moods_and_objections_out_of_range_are_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mood =
        |score, magnitude| Sentiment { score: Some(score), magnitude: Some(magnitude), ..Default::default() };
    let cases = [
        (mood(1.01, 0.0), "analysis.sentiment.score"),
        (mood(-1.01, 0.0), "analysis.sentiment.score"),
        (mood(f64::NAN, 0.0), "analysis.sentiment.score"),
        (mood(0.0, -0.1), "analysis.sentiment.magnitude"),
        (mood(0.0, f64::INFINITY), "analysis.sentiment.magnitude"),
        (mood(0.0, f64::NAN), "analysis.sentiment.magnitude"),
    ];
    for (sentiment, field) in cases {
        let request = ConversationAnalysis { sentiment: Some(sentiment), ..of(&talk.id, 0) };
        let error = tenant.analyse(request).await.expect_err(field);
        error.is(Code::InvalidArgument, "FIELD_INVALID");
        assert!(error.fields().iter().all(|found| found == field), "{error:?}");
    }
    let request = ConversationAnalysis { objections: vec![Objection::default()], ..of(&talk.id, 0) };
    let error = tenant.analyse(request).await.expect_err("without words");
    error.is_invalid(&["analysis.objections[0].kind", "analysis.objections[0].status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_recorded_at_once_are_counted_without_a_hole() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let records = (0..16).map(|_| {
        let (tenant, request) = (tenant.clone(), of(&talk.id, 0));
        async move { tenant.analyse(request).await.expect("recorded").version }
    });
    let mut versions = at_once(records).await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=16).collect::<Vec<_>>());
}
