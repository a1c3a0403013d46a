//! Every answer of every RPC is smaller than the default limit of gRPC clients, for any stored data. Each resource is
//! filled to its limit here, and then requested in every possible way.

use std::collections::BTreeMap;

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb;
use crm_backend::pb::add_message_request::Command as Ask;
use crm_backend::pb::assign_customers_request::Customers;
use crm_backend::pb::watch_conversation_request::Start;
use futures_util::{StreamExt, stream};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{FieldMask, Struct, Timestamp, Value};
use uuid::Uuid;

use crate::support::conversations::{delta, finish, message, start};
use crate::support::raw::{call_bytes, rpc, rpcs};
use crate::support::{Crm, PATIENCE, Settings, Tenant};

/// The default limit of gRPC clients.
const ANSWER: usize = 4 << 20;

/// The number of parallel requests: few enough that all get a connection in time beside other tests.
const AT_ONCE: usize = 4;

/// The limit of a resource, and of a request.
const RESOURCE: usize = 1 << 20;

/// Returns the longest text of this many characters.
fn wide(characters: usize) -> String {
    "\u{1f600}".repeat(characters)
}

/// Returns this many different texts of this many characters.
fn texts(count: usize, characters: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:0>4}{}", wide(characters - 4))).collect()
}

/// Makes calls, and records the sizes of the answers.
struct Asker {
    tenant: Tenant,
    largest: BTreeMap<&'static str, usize>,
}

impl Asker {
    async fn ask<R: Message + Default>(&mut self, name: &'static str, request: impl Message) -> R {
        let answer = ask(&self.tenant, name, request).await;
        let largest = self.largest.entry(name).or_default();
        *largest = answer.len().max(*largest);
        decode(&answer)
    }

    /// Makes these calls, several at the same time.
    async fn ask_all<R: Message + Default>(
        &mut self,
        name: &'static str,
        requests: impl IntoIterator<Item = impl Message>,
    ) -> Vec<R> {
        let tenant = &self.tenant;
        let requests = requests.into_iter().map(|request| ask(tenant, name, request));
        let answers: Vec<_> = stream::iter(requests).buffered(AT_ONCE).collect().await;
        let largest = self.largest.entry(name).or_default();
        *largest = answers.iter().map(Vec::len).chain([*largest]).max().unwrap_or(0);
        answers.iter().map(|answer| decode(answer)).collect()
    }
}

fn decode<R: Message + Default>(answer: &[u8]) -> R {
    R::decode(answer).expect("the answer that the contract says")
}

async fn ask(tenant: &Tenant, name: &str, request: impl Message) -> Vec<u8> {
    let (rpc, id) = (rpc(name), tenant.id.to_string());
    let bytes = request.encode_to_vec();
    assert!(bytes.len() <= RESOURCE, "{name}: a request of {} bytes", bytes.len());
    let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(answer.len() < ANSWER, "{name}: an answer of {} bytes", answer.len());
    answer
}

/// Returns an object with one text of this many bytes.
fn blanks(bytes: usize) -> Struct {
    let kind = Some(Kind::StringValue(" ".repeat(bytes)));
    Struct { fields: [("text".to_owned(), Value { kind })].into() }
}

/// Returns an object that takes the most bytes for its JSON: many small numbers.
fn numbers(count: usize) -> Struct {
    let number = |_| Value { kind: Some(Kind::NumberValue(1.0)) };
    let list = prost_types::ListValue { values: (0..count).map(number).collect() };
    Struct { fields: [("n".to_owned(), Value { kind: Some(Kind::ListValue(list)) })].into() }
}

/// Returns a customer of the maximum size.
fn customer(number: usize) -> pb::CreateCustomerRequest {
    let mut customer = pb::Customer {
        business_name: format!("{number}{}", wide(250)),
        contact_name: wide(256),
        address: wide(512),
        tags: texts(50, 64),
        business_context: Some(pb::BusinessContext {
            description: wide(8_192),
            products_and_services: texts(100, 1_024),
            ..Default::default()
        }),
        brand_voice: Some(pb::BrandVoice { sample_texts: texts(6, 8_192), ..Default::default() }),
        content_preferences: Some(pb::ContentPreferences { avoid: texts(100, 256), ..Default::default() }),
        ..Default::default()
    };
    let left = RESOURCE - customer.encoded_len() - 1_000;
    customer.custom_attributes = Some(blanks(left));
    pb::CreateCustomerRequest { customer: Some(customer), request_id: String::new() }
}

async fn of_customers(asker: &mut Asker) -> pb::Customer {
    let requests: Vec<_> = (0..5).map(customer).collect();
    let created: Vec<pb::CreateCustomerResponse> = asker.ask_all("CreateCustomer", requests).await;
    let mut created = created.into_iter().map(|created| created.customer.expect("the customer"));
    let (first, second) = (created.next().expect("one"), created.next().expect("another"));
    let (id, slug) = (first.id.clone(), first.slug.clone());
    let _: pb::GetCustomerResponse = asker
        .ask(
            "GetCustomer",
            pb::GetCustomerRequest { id: id.clone(), show_deleted: true, ..Default::default() },
        )
        .await;
    let by_slug = pb::GetCustomerBySlugRequest { slug, show_deleted: true, ..Default::default() };
    let _: pb::GetCustomerBySlugResponse = asker.ask("GetCustomerBySlug", by_slug).await;
    let list = pb::ListCustomersRequest {
        page_size: 500,
        view: pb::CustomerView::Full.into(),
        ..Default::default()
    };
    let _: pb::ListCustomersResponse = asker.ask("ListCustomers", list).await;
    let update = pb::UpdateCustomerRequest {
        customer: Some(pb::Customer { id: id.clone(), city: "Bonn".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let _: pb::UpdateCustomerResponse = asker.ask("UpdateCustomer", update).await;
    let update = pb::UpdateBusinessContextRequest {
        customer_id: id.clone(),
        business_context: Some(pb::BusinessContext {
            target_audience: "all".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["target_audience".to_owned()] }),
        ..Default::default()
    };
    let _: pb::UpdateBusinessContextResponse = asker.ask("UpdateBusinessContext", update).await;
    let update = pb::UpdateBrandVoiceRequest {
        customer_id: id.clone(),
        brand_voice: Some(pb::BrandVoice { tone: "warm".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let _: pb::UpdateBrandVoiceResponse = asker.ask("UpdateBrandVoice", update).await;
    let update = pb::UpdateContentPreferencesRequest {
        customer_id: id.clone(),
        content_preferences: Some(pb::ContentPreferences {
            frequency: "weekly".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let _: pb::UpdateContentPreferencesResponse = asker.ask("UpdateContentPreferences", update).await;
    let tags = vec!["x".to_owned()];
    let remove = pb::RemoveCustomerTagsRequest { customer_id: id.clone(), tags, ..Default::default() };
    let _: pb::RemoveCustomerTagsResponse = asker.ask("RemoveCustomerTags", remove).await;
    let tags = first.tags[..1].to_vec();
    let add = pb::AddCustomerTagsRequest { customer_id: id, tags, ..Default::default() };
    let _: pb::AddCustomerTagsResponse = asker.ask("AddCustomerTags", add).await;
    let delete = pb::DeleteCustomerRequest { id: second.id.clone(), ..Default::default() };
    let _: pb::DeleteCustomerResponse = asker.ask("DeleteCustomer", delete).await;
    let undelete = pb::UndeleteCustomerRequest { id: second.id, ..Default::default() };
    let _: pb::UndeleteCustomerResponse = asker.ask("UndeleteCustomer", undelete).await;
    first
}

/// Returns an analysis of at least this many bytes.
fn analysis(conversation_id: &str, objections: usize) -> pb::RecordAnalysisRequest {
    let analysis = pb::ConversationAnalysis {
        conversation_id: conversation_id.to_owned(),
        model: wide(128),
        topics: texts(100, 256),
        questions: texts(40, 2_048),
        summary: wide(16_384),
        objections: (0..objections)
            .map(|_| pb::Objection {
                kind: pb::ObjectionKind::Price.into(),
                status: pb::ObjectionStatus::Raised.into(),
                evidence: wide(4_096),
            })
            .collect(),
        ..Default::default()
    };
    pb::RecordAnalysisRequest { analysis: Some(analysis), ..Default::default() }
}

async fn of_conversations(asker: &mut Asker, customer_id: &str) -> String {
    let conversation = pb::Conversation {
        customer_id: customer_id.to_owned(),
        metadata: Some(blanks(450_000)),
        presenter: Some(pb::Presenter { persona: wide(4_096), ..Default::default() }),
        ..Default::default()
    };
    let create =
        |_| pb::CreateConversationRequest { conversation: Some(conversation.clone()), ..Default::default() };
    let created: Vec<pb::CreateConversationResponse> =
        asker.ask_all("CreateConversation", (0..5).map(create)).await;
    let ids: Vec<_> = created.into_iter().map(|created| created.conversation.expect("one").id).collect();
    let recorded: Vec<pb::RecordAnalysisResponse> =
        asker.ask_all("RecordAnalysis", ids.iter().map(|id| analysis(id, 2))).await;
    let id = ids.first().expect("one").clone();
    let recorded = recorded.into_iter().next().and_then(|recorded| recorded.analysis).expect("one");
    let get = pb::GetConversationAnalysisRequest { conversation_id: id.clone(), id: recorded.id };
    let _: pb::GetConversationAnalysisResponse = asker.ask("GetConversationAnalysis", get).await;
    let _: Vec<pb::RecordAnalysisResponse> =
        asker.ask_all("RecordAnalysis", (0..5).map(|_| analysis(&id, 2))).await;
    let _: pb::ListConversationAnalysesResponse = asker
        .ask(
            "ListConversationAnalyses",
            pb::ListConversationAnalysesRequest {
                conversation_id: id.clone(),
                page_size: 500,
                ..Default::default()
            },
        )
        .await;
    let _: pb::GetConversationResponse = asker
        .ask("GetConversation", pb::GetConversationRequest { id: id.clone(), ..Default::default() })
        .await;
    let update = pb::UpdateConversationRequest {
        conversation: Some(pb::Conversation {
            id: id.clone(),
            outcome_notes: wide(4_096),
            ..Default::default()
        }),
        ..Default::default()
    };
    let _: pb::UpdateConversationResponse = asker.ask("UpdateConversation", update).await;
    let view = pb::ConversationView::Full.into();
    let list = pb::ListConversationsRequest { page_size: 500, view, ..Default::default() };
    let _: pb::ListConversationsResponse = asker.ask("ListConversations", list).await;
    let last = ids.last().expect("one").clone();
    let end =
        pb::EndConversationRequest { id: last.clone(), outcome_notes: wide(4_096), ..Default::default() };
    let _: pb::EndConversationResponse = asker.ask("EndConversation", end).await;
    let reopen = pb::ReopenConversationRequest { id: last, ..Default::default() };
    let _: pb::ReopenConversationResponse = asker.ask("ReopenConversation", reopen).await;
    id
}

fn actions() -> Vec<pb::MessageAction> {
    let action = |_| pb::MessageAction {
        name: "look_up".to_owned(),
        arguments: "a".repeat(250_000),
        result: "b".repeat(250_000),
        ..Default::default()
    };
    (0..2).map(action).collect()
}

/// Messages of the maximum size: those in parts are largest.
async fn of_messages(asker: &mut Asker, conversation_id: &str) {
    let id = conversation_id.to_owned();
    let whole = |number: usize| pb::CreateMessageRequest {
        conversation_id: id.clone(),
        message: Some(pb::Message {
            actions: actions(),
            metadata: Some(numbers(500)),
            ..message(&format!("w{number}"), "x")
        }),
        ..Default::default()
    };
    let _: Vec<pb::CreateMessageResponse> = asker.ask_all("CreateMessage", (0..4).map(whole)).await;
    let action = Some(Ask::Message(message("one", &"y".repeat(262_144))));
    let add = pb::AddMessageRequest { conversation_id: id.clone(), command: action };
    let _: pb::AddMessageResponse = asker.ask("AddMessage", add).await;
    let mut stream = asker.tenant.stream().await;
    let Ask::Start(opening) = start("parts", "producer") else { panic!("a start") };
    let metadata = Some(blanks(RESOURCE - 10_000));
    let closing = match finish("parts", 262_144) {
        Ask::Finish(closing) => pb::MessageFinish { actions: actions(), ..closing },
        _ => panic!("a finish"),
    };
    let opening = Ask::Start(pb::MessageStart { metadata, ..opening });
    stream.tell(&id, [opening, delta("parts", 0, &"z".repeat(262_144)), Ask::Finish(closing)]);
    let mut ack = stream.acked(0).await;
    while ack.status() != pb::MessageStatus::Completed {
        ack = stream.outcome().await.expect("an ack");
    }
    let name = Some(pb::get_message_request::Name::Id(ack.message_id));
    let get = pb::GetMessageRequest { conversation_id: id.clone(), name, ..Default::default() };
    let _: pb::GetMessageResponse = asker.ask("GetMessage", get).await;
    for order_by in ["", "sequence desc"] {
        let list = pb::ListMessagesRequest {
            conversation_id: id.clone(),
            page_size: 500,
            order_by: order_by.to_owned(),
            ..Default::default()
        };
        let _: pb::ListMessagesResponse = asker.ask("ListMessages", list).await;
    }
    // Its first event is the largest.
    let after = ack.sequence - 1;
    let start = Some(Start::AfterSequence(after));
    let watch = pb::WatchConversationRequest { conversation_id: id, start, ..Default::default() };
    let _: pb::WatchConversationResponse = asker.ask("WatchConversation", watch).await;
}

async fn of_questions(asker: &mut Asker, customer_id: &str, conversation_id: &str) {
    let request = |question| pb::CreatePendingQuestionRequest {
        pending_question: Some(question),
        request_id: String::new(),
    };
    let create = |number: usize| {
        request(pb::PendingQuestion {
            customer_id: customer_id.to_owned(),
            question: format!("{number} {}", wide(2_040)),
            purpose: wide(2_048),
            target_field: format!("custom_attributes.k{number}"),
            ..Default::default()
        })
    };
    let created: Vec<pb::CreatePendingQuestionResponse> =
        asker.ask_all("CreatePendingQuestion", (0..180).map(create)).await;
    let ids: Vec<_> = created.into_iter().map(|created| created.pending_question.expect("one").id).collect();
    let answer = |id: &String| pb::MarkPendingQuestionAnsweredRequest {
        id: id.clone(),
        answer: wide(8_192),
        ..Default::default()
    };
    let (answered, open) = ids.split_at(60);
    let _: Vec<pb::MarkPendingQuestionAnsweredResponse> =
        asker.ask_all("MarkPendingQuestionAnswered", answered.iter().map(answer)).await;
    // With the customer, which has the maximum size.
    let question = request(pb::PendingQuestion {
        customer_id: customer_id.to_owned(),
        question: "In which city?".to_owned(),
        target_field: "city".to_owned(),
        ..Default::default()
    });
    let question: pb::CreatePendingQuestionResponse = asker.ask("CreatePendingQuestion", question).await;
    let written = pb::MarkPendingQuestionAnsweredRequest {
        id: question.pending_question.expect("one").id,
        answer: "Köln".to_owned(),
        write_to_customer: true,
        overwrite: true,
        ..Default::default()
    };
    let _: pb::MarkPendingQuestionAnsweredResponse = asker.ask("MarkPendingQuestionAnswered", written).await;
    let verify = pb::MarkPendingQuestionVerifiedRequest {
        id: answered[0].clone(),
        verified_by: wide(256),
        ..Default::default()
    };
    let _: pb::MarkPendingQuestionVerifiedResponse = asker.ask("MarkPendingQuestionVerified", verify).await;
    let asked = pb::MarkPendingQuestionAskedRequest { id: open[0].clone(), ..Default::default() };
    let _: pb::MarkPendingQuestionAskedResponse = asker.ask("MarkPendingQuestionAsked", asked).await;
    let skip = |id: &String| pb::SkipPendingQuestionRequest {
        id: id.clone(),
        declined: true,
        reason: wide(1_024),
        ..Default::default()
    };
    let _: Vec<pb::SkipPendingQuestionResponse> =
        asker.ask_all("SkipPendingQuestion", open[1..11].iter().map(skip)).await;
    let update = pb::UpdatePendingQuestionRequest {
        pending_question: Some(pb::PendingQuestion {
            id: open[12].clone(),
            purpose: wide(2_000),
            ..Default::default()
        }),
        ..Default::default()
    };
    let _: pb::UpdatePendingQuestionResponse = asker.ask("UpdatePendingQuestion", update).await;
    let get = pb::GetPendingQuestionRequest { id: answered[1].clone() };
    let _: pb::GetPendingQuestionResponse = asker.ask("GetPendingQuestion", get).await;
    let list = pb::ListPendingQuestionsRequest { page_size: 500, ..Default::default() };
    let _: pb::ListPendingQuestionsResponse = asker.ask("ListPendingQuestions", list).await;
    let next = pb::NextPendingQuestionsRequest {
        customer_id: customer_id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        limit: 50,
        include_left_out: true,
        ..Default::default()
    };
    let _: pb::NextPendingQuestionsResponse = asker.ask("NextPendingQuestions", next).await;
    let delete = pb::DeletePendingQuestionRequest { id: answered[2].clone(), ..Default::default() };
    let _: pb::DeletePendingQuestionResponse = asker.ask("DeletePendingQuestion", delete).await;
}

async fn of_faqs(asker: &mut Asker, customer_id: &str) {
    let create = |number: usize| pb::CreateCustomerFaqRequest {
        customer_faq: Some(pb::CustomerFaq {
            customer_id: customer_id.to_owned(),
            question: format!("Delivery on day {number}? {}", wide(2_000)),
            answer: wide(16_384),
            category: wide(128),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    let created: Vec<pb::CreateCustomerFaqResponse> =
        asker.ask_all("CreateCustomerFaq", (0..40).map(create)).await;
    let ids: Vec<_> = created.into_iter().map(|created| created.customer_faq.expect("one").id).collect();
    let id = ids.first().expect("one").clone();
    let observe = |number: usize| pb::RecordFaqObservationRequest {
        customer_id: customer_id.to_owned(),
        observation: Some(pb::FaqObservation {
            kind: pb::FaqObservationKind::Asked.into(),
            customer_faq_id: id.clone(),
            question: wide(2_048),
            answer: format!("{number} {}", wide(16_370)),
            observed_by: wide(256),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    let _: Vec<pb::RecordFaqObservationResponse> =
        asker.ask_all("RecordFaqObservation", (0..40).map(observe)).await;
    let get = pb::GetCustomerFaqRequest { id: id.clone() };
    let _: pb::GetCustomerFaqResponse = asker.ask("GetCustomerFaq", get).await;
    let observations =
        pb::ListFaqObservationsRequest { customer_faq_id: id.clone(), page_size: 500, ..Default::default() };
    let observations: pb::ListFaqObservationsResponse = asker.ask("ListFaqObservations", observations).await;
    let observation = pb::GetFaqObservationRequest { id: observations.observations[0].id.clone() };
    let _: pb::GetFaqObservationResponse = asker.ask("GetFaqObservation", observation).await;
    let list = pb::ListCustomerFaqsRequest { page_size: 500, ..Default::default() };
    let _: pb::ListCustomerFaqsResponse = asker.ask("ListCustomerFaqs", list).await;
    let search = pb::SearchCustomerFaqsRequest {
        customer_id: customer_id.to_owned(),
        query: "Delivery".to_owned(),
        limit: 100,
        ..Default::default()
    };
    let _: pb::SearchCustomerFaqsResponse = asker.ask("SearchCustomerFaqs", search).await;
    let update = pb::UpdateCustomerFaqRequest {
        customer_faq: Some(pb::CustomerFaq { id: id.clone(), category: wide(100), ..Default::default() }),
        ..Default::default()
    };
    let _: pb::UpdateCustomerFaqResponse = asker.ask("UpdateCustomerFaq", update).await;
    let verify = pb::MarkCustomerFaqVerifiedRequest {
        id: id.clone(),
        verification_status: pb::FaqVerificationStatus::HumanVerified.into(),
        verified_by: wide(256),
        answer: wide(16_384),
        ..Default::default()
    };
    let _: pb::MarkCustomerFaqVerifiedResponse = asker.ask("MarkCustomerFaqVerified", verify).await;
    let delete = pb::DeleteCustomerFaqRequest { id: ids[1].clone(), ..Default::default() };
    let _: pb::DeleteCustomerFaqResponse = asker.ask("DeleteCustomerFaq", delete).await;
}

async fn of_campaigns(asker: &mut Asker, customer_id: &str) -> String {
    let create = |number: usize| {
        let campaign = pb::Campaign {
            name: format!("{number} {}", wide(250)),
            goal: wide(2_048),
            audience: wide(4_096),
            channel: pb::ContactChannel::Email.into(),
            ..Default::default()
        };
        pb::CreateCampaignRequest { campaign: Some(campaign), request_id: String::new() }
    };
    let created: Vec<pb::CreateCampaignResponse> =
        asker.ask_all("CreateCampaign", (0..110).map(create)).await;
    let ids: Vec<_> = created.into_iter().map(|created| created.campaign.expect("one").id).collect();
    let id = ids.first().expect("one").clone();
    let _: pb::GetCampaignResponse =
        asker.ask("GetCampaign", pb::GetCampaignRequest { id: id.clone() }).await;
    let list = pb::ListCampaignsRequest { page_size: 500, ..Default::default() };
    let _: pb::ListCampaignsResponse = asker.ask("ListCampaigns", list).await;
    let update = pb::UpdateCampaignRequest {
        campaign: Some(pb::Campaign { id: id.clone(), goal: wide(2_000), ..Default::default() }),
        ..Default::default()
    };
    let _: pb::UpdateCampaignResponse = asker.ask("UpdateCampaign", update).await;
    let delete = pb::DeleteCampaignRequest { id: ids[1].clone(), ..Default::default() };
    let _: pb::DeleteCampaignResponse = asker.ask("DeleteCampaign", delete).await;
    let customer_ids: Vec<_> = (0..9_999).map(|_| Uuid::now_v7().to_string()).collect();
    let some = customer_ids.iter().cloned().chain([customer_id.to_owned()]).collect();
    let assign = pb::AssignCustomersRequest {
        campaign_id: id.clone(),
        customers: Some(Customers::Ids(pb::CustomerIds { customer_ids: some })),
        ..Default::default()
    };
    let _: pb::AssignCustomersResponse = asker.ask("AssignCustomers", assign).await;
    let unassign =
        pb::UnassignCustomersRequest { campaign_id: id.clone(), customer_ids, ..Default::default() };
    let _: pb::UnassignCustomersResponse = asker.ask("UnassignCustomers", unassign).await;
    let list =
        pb::ListCampaignCustomersRequest { page_size: 500, campaign_id: id.clone(), ..Default::default() };
    let _: pb::ListCampaignCustomersResponse = asker.ask("ListCampaignCustomers", list).await;
    let good = |number: usize| pb::CampaignEvent {
        event_id: format!("{number}{}", wide(120)),
        customer_id: customer_id.to_owned(),
        kind: pb::CampaignEventKind::Sent.into(),
        ..Default::default()
    };
    // Nearly every field of every event is invalid.
    let bad = |number: usize| {
        let mut event = good(number);
        event.event_id = format!("{number}{}", wide(260));
        event.customer_id = "c".repeat(40);
        event.conversation_id = "c".repeat(40);
        event.kind = 99;
        event.cost = Some(pb::Money { currency_code: "e".to_owned(), units: -1, nanos: -1 });
        event
    };
    for events in [(0..1_000).map(good).collect::<Vec<_>>(), (0..900).map(bad).collect()] {
        let record =
            pb::RecordCampaignEventsRequest { campaign_id: id.clone(), events, ..Default::default() };
        let _: pb::RecordCampaignEventsResponse = asker.ask("RecordCampaignEvents", record).await;
    }
    // A page of large events.
    let large = |number: usize| pb::CampaignEvent {
        event_id: format!("large {number}"),
        detail: wide(1_024),
        url: wide(2_048),
        ..good(number)
    };
    for batch in 0..10 {
        let events = (0..60).map(|number| large(batch * 60 + number)).collect();
        let record =
            pb::RecordCampaignEventsRequest { campaign_id: id.clone(), events, ..Default::default() };
        let recorded: pb::RecordCampaignEventsResponse = asker.ask("RecordCampaignEvents", record).await;
        let event = recorded.results.into_iter().next().and_then(|result| result.result);
        let Some(pb::campaign_event_result::Result::CampaignEvent(event)) = event else {
            panic!("not recorded: {event:?}")
        };
        let get = pb::GetCampaignEventRequest { id: event.id };
        let _: pb::GetCampaignEventResponse = asker.ask("GetCampaignEvent", get).await;
    }
    let list =
        pb::ListCampaignEventsRequest { page_size: 500, campaign_id: id.clone(), ..Default::default() };
    let _: pb::ListCampaignEventsResponse = asker.ask("ListCampaignEvents", list).await;
    let consents = pb::ListConsentsRequest { page_size: 500, ..Default::default() };
    let _: pb::ListConsentsResponse = asker.ask("ListConsents", consents).await;
    let performance = pb::GetCampaignPerformanceRequest { campaign_id: id.clone(), ..Default::default() };
    let _: pb::GetCampaignPerformanceResponse = asker.ask("GetCampaignPerformance", performance).await;
    id
}

async fn of_engagement(asker: &mut Asker, customer_id: &str) {
    let good = |number: usize| pb::InterestEvent {
        event_id: format!("{number}{}", wide(120)),
        kind: pb::InterestKind::Viewed.into(),
        subject: format!("{number}{}", wide(110)),
        ..Default::default()
    };
    // Nearly every field of every event is invalid.
    let bad = |number: usize| {
        let mut event = good(number);
        event.event_id = format!("{number}{}", wide(260));
        event.subject.clear();
        event.kind = 99;
        event.weight = Some(1e9);
        event.source = "\u{7}".to_owned();
        event.conversation_id = "c".to_owned();
        event
    };
    for events in [(0..1_000).map(good).collect::<Vec<_>>(), (0..900).map(bad).collect()] {
        let customer_id = customer_id.to_owned();
        let record = pb::RecordInterestEventsRequest { customer_id, events, ..Default::default() };
        let _: pb::RecordInterestEventsResponse = asker.ask("RecordInterestEvents", record).await;
    }
    let list = pb::ListInterestEventsRequest { page_size: 500, ..Default::default() };
    let listed: pb::ListInterestEventsResponse = asker.ask("ListInterestEvents", list).await;
    let get = pb::GetInterestEventRequest { id: listed.interest_events[0].id.clone() };
    let _: pb::GetInterestEventResponse = asker.ask("GetInterestEvent", get).await;
    let scores = pb::GetInterestScoresRequest {
        customer_id: customer_id.to_owned(),
        limit: 100,
        ..Default::default()
    };
    let _: pb::GetInterestScoresResponse = asker.ask("GetInterestScores", scores).await;
    let euros = |units| Some(pb::Money { currency_code: "EUR".to_owned(), units, nanos: 0 });
    let purchase = |_| {
        let purchase = pb::Purchase {
            customer_id: customer_id.to_owned(),
            amount: euros(1_000),
            items: (0..500)
                .map(|_| pb::PurchaseItem {
                    sku: wide(128),
                    name: wide(256),
                    quantity: 1,
                    unit_price: euros(2),
                })
                .collect(),
            ..Default::default()
        };
        pb::RecordPurchaseRequest { purchase: Some(purchase), request_id: String::new() }
    };
    let bought: Vec<pb::RecordPurchaseResponse> = asker.ask_all("RecordPurchase", (0..4).map(purchase)).await;
    let ids = bought.into_iter().map(|bought| bought.purchase.expect("one").id).collect::<Vec<_>>();
    let refund = |id: &String| pb::RefundPurchaseRequest {
        id: id.clone(),
        amount: euros(1),
        reason: wide(2_048),
        ..Default::default()
    };
    for _ in 0..30 {
        let _: pb::RefundPurchaseResponse = asker.ask("RefundPurchase", refund(&ids[0])).await;
    }
    let id = ids[0].clone();
    let refunds = pb::ListRefundsRequest { page_size: 500, purchase_id: id.clone(), ..Default::default() };
    let _: pb::ListRefundsResponse = asker.ask("ListRefunds", refunds).await;
    let settle =
        pb::SettlePurchaseRequest { id, status: pb::PurchaseStatus::Paid.into(), ..Default::default() };
    let _: pb::SettlePurchaseResponse = asker.ask("SettlePurchase", settle).await;
    let void = pb::VoidPurchaseRequest { id: ids[1].clone(), reason: wide(2_048), ..Default::default() };
    let _: pb::VoidPurchaseResponse = asker.ask("VoidPurchase", void).await;
    let get = pb::GetPurchaseRequest { id: ids[1].clone() };
    let _: pb::GetPurchaseResponse = asker.ask("GetPurchase", get).await;
    let list = pb::ListPurchasesRequest { page_size: 500, ..Default::default() };
    let _: pb::ListPurchasesResponse = asker.ask("ListPurchases", list).await;
}

async fn of_dashboards(asker: &mut Asker) {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()).expect("small");
    let (time_from, time_until) = (time(now - 399 * 86_400), time(now));
    let customers = pb::GetCustomerStatisticsRequest {
        time_from,
        time_until,
        time_zone: "Europe/Berlin".to_owned(),
        ..Default::default()
    };
    let _: pb::GetCustomerStatisticsResponse = asker.ask("GetCustomerStatistics", customers).await;
    let conversations = pb::GetConversationStatisticsRequest { time_from, time_until, ..Default::default() };
    let _: pb::GetConversationStatisticsResponse =
        asker.ask("GetConversationStatistics", conversations).await;
    let campaigns = pb::GetCampaignStatisticsRequest { time_from, time_until, ..Default::default() };
    let _: pb::GetCampaignStatisticsResponse = asker.ask("GetCampaignStatistics", campaigns).await;
    let funnel = pb::GetConversionFunnelRequest { time_from, time_until, ..Default::default() };
    let _: pb::GetConversionFunnelResponse = asker.ask("GetConversionFunnel", funnel).await;
}

async fn of_contexts(asker: &mut Asker, customer_id: &str, conversation_id: &str) {
    use pb::ContextFormat::{ChatMessages, Markdown, Structured};
    for format in [Structured, Markdown, ChatMessages] {
        let context = pb::GetAiContextRequest {
            customer_id: customer_id.to_owned(),
            conversation_id: conversation_id.to_owned(),
            query: "Delivery".to_owned(),
            max_tokens: 200_000,
            format: format.into(),
            explain: true,
            ..Default::default()
        };
        let _: pb::GetAiContextResponse = asker.ask("GetAiContext", context).await;
    }
}

/// The answers that are large, so that a test without data would be noticed.
const LARGE: [&str; 11] = [
    "CreateCustomer",
    "GetConversation",
    "GetMessage",
    "ListCampaigns",
    "ListConversationAnalyses",
    "ListConversations",
    "ListCustomerFaqs",
    "ListCustomers",
    "ListFaqObservations",
    "ListMessages",
    "ListPurchases",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_any_rpc_is_larger_than_clients_take() {
    // Large answers take long on a busy machine.
    let crm = Crm::with(Settings { transaction: PATIENCE, ..Settings::default() }).await;
    let mut asker = Asker { tenant: crm.tenant(), largest: BTreeMap::new() };
    let customer = of_customers(&mut asker).await;
    let conversation = of_conversations(&mut asker, &customer.id).await;
    of_messages(&mut asker, &conversation).await;
    of_questions(&mut asker, &customer.id, &conversation).await;
    of_faqs(&mut asker, &customer.id).await;
    of_campaigns(&mut asker, &customer.id).await;
    of_engagement(&mut asker, &customer.id).await;
    of_dashboards(&mut asker).await;
    of_contexts(&mut asker, &customer.id, &conversation).await;
    let list = pb::ListAuditEventsRequest { page_size: 500, ..Default::default() };
    let listed: pb::ListAuditEventsResponse = asker.ask("ListAuditEvents", list).await;
    let get = pb::GetAuditEventRequest { id: listed.audit_events[0].id.clone() };
    let _: pb::GetAuditEventResponse = asker.ask("GetAuditEvent", get).await;
    let missing: Vec<_> = rpcs().into_iter().filter(|rpc| !asker.largest.contains_key(rpc.name())).collect();
    assert!(missing.is_empty(), "not asked here: {missing:?}");
    let small = LARGE.iter().filter(|name| asker.largest.get(*name).is_none_or(|size| *size < RESOURCE / 2));
    let none: [&&str; 0] = [];
    assert_eq!(small.collect::<Vec<_>>(), none, "{:#?}", asker.largest);
}
