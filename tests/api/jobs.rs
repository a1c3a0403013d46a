//! The jobs of docs/jobs.md, each with the number of calls that the page tells.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use crm_backend::pb::{
    ActionStatus, BounceKind, Campaign, CampaignEventKind, CampaignStatus, ContactChannel, ContextReference,
    Conversation, ConversationStatus, CreateConversationRequest, Customer, EntryPoint, ExternalId,
    FaqObservation, GetAiContextRequest, ListCampaignCustomersRequest, ListConversationsRequest,
    ListCustomersRequest, ListMessagesRequest, MarkPendingQuestionAnsweredRequest,
    MarkPendingQuestionAskedRequest, MessageAction, MessageFinish, MessageRole, MessageStatus,
    ObjectionStatus, RecordFaqObservationRequest, add_message_request::Command,
};
use tonic::{Code, Status};

use crate::support::campaigns::{Outcome, as_status, event, planned};
use crate::support::context::{action, analysis, of};
use crate::support::conversations::{delta, message, start};
use crate::support::customers::named;
use crate::support::questions::about;
use crate::support::{Crm, Refusal, Tenant, at_once};

const PAGE: &str = include_str!("../../docs/jobs.md");

/// Counts the calls of a client.
#[derive(Default)]
struct Calls(AtomicU32);

impl Calls {
    /// Counts a call.
    fn one<F: Future>(&self, call: F) -> Pin<Box<F>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        // The stack of a test has no room for the futures of many calls.
        Box::pin(call)
    }

    /// Holds the number of calls to what the page tells of a job.
    #[track_caller]
    fn are_those_of(self, job: &str) {
        let row =
            PAGE.lines().find(|line| line.starts_with(&format!("| {job} |"))).expect("a row of the table");
        let told = row.split('|').nth(2).expect("the number of calls").trim();
        assert_eq!(told, self.0.load(Ordering::Relaxed).to_string(), "{row}");
    }
}

/// The id of the resource that an error names.
fn holder(error: &Status) -> String {
    let details = tonic_types::StatusExt::get_error_details(error);
    details.resource_info().expect("a resource").resource_name.clone()
}

fn external(source: &str, id: &str) -> Vec<ExternalId> {
    vec![ExternalId { source: source.to_owned(), id: id.to_owned() }]
}

/// The number that writes.
const NUMBER: &str = "+491512345678";

/// Takes a message of a number that may be unknown, and answers the ids of customer and conversation.
async fn receive(tenant: &Tenant, calls: &Calls, key: &str, text: &str) -> (String, String) {
    let visitor = Customer {
        phone: NUMBER.to_owned(),
        source: "whatsapp".to_owned(),
        external_ids: external("whatsapp", NUMBER),
        ..Default::default()
    };
    let customer_id = match calls.one(tenant.create(visitor)).await {
        Ok(customer) => customer.id,
        Err(error) => {
            error.is(Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
            holder(&error)
        }
    };
    let conversation = Conversation {
        customer_id: customer_id.clone(),
        session_id: format!("whatsapp:{NUMBER}"),
        entry_point: EntryPoint::Whatsapp.into(),
        contact_channel: ContactChannel::Whatsapp.into(),
        ..Default::default()
    };
    let request = CreateConversationRequest {
        conversation: Some(conversation),
        reuse_open: true,
        request_id: String::new(),
    };
    let mut conversations = tenant.conversations();
    let opened = calls.one(conversations.create_conversation(request)).await.expect("a conversation");
    let conversation = opened.into_inner().conversation.expect("a conversation");
    calls.one(tenant.add(&conversation.id, message(key, text))).await.expect("stored");
    (customer_id, conversation.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_unknown_number() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let first = Calls::default();
    let (customer_id, conversation_id) = receive(&tenant, &first, "wamid.1", "Hi").await;
    first.are_those_of("A message of an unknown number");
    let again = Calls::default();
    assert_eq!(receive(&tenant, &again, "wamid.2", "Are you open?").await.1, conversation_id);
    again.are_those_of("The next message of that number");
    // The same webhook again, and others at the same time.
    let all = at_once((0..8).map(|number| {
        let tenant = tenant.clone();
        async move {
            let key = format!("wamid.{}", 1 + number % 4);
            receive(&tenant, &Calls::default(), &key, ["Hi", "Are you open?", "?", "??"][number % 4]).await
        }
    }))
    .await;
    assert!(all.iter().all(|ids| *ids == (customer_id.clone(), conversation_id.clone())), "{all:?}");
    assert_eq!(tenant.messages(&conversation_id, 50).await.len(), 4, "each once");
    assert_eq!(tenant.list_all(ListCustomersRequest::default()).await.len(), 1);
}

/// An agent's part in a conversation.
struct Turn {
    tenant: Tenant,
    calls: Calls,
    customer_id: String,
    /// The id of the conversation.
    id: String,
    /// The question that may be asked of the customer.
    question_id: String,
}

const REPLY: &str = "Yes, from 20 €. What else may we know?";

impl Turn {
    async fn new(tenant: Tenant) -> Self {
        let customer_id = tenant.customer("Café Zoë").await.id;
        let (question, _) =
            tenant.create_question(about(&customer_id, "industry_category")).await.expect("a question");
        let talk = Conversation { customer_id: customer_id.clone(), ..Default::default() };
        let id = tenant.open(talk).await.expect("a conversation").id;
        Self { tenant, calls: Calls::default(), customer_id, id, question_id: question.id }
    }

    /// Reads what is known, and finds the question there.
    async fn look(&self) {
        let request = GetAiContextRequest { conversation_id: self.id.clone(), ..of(&self.customer_id) };
        let context = self.calls.one(self.tenant.context(request)).await.expect("a context");
        let names = |reference: &ContextReference| reference.resource_id == self.question_id;
        assert!(context.references.iter().any(names), "no second call");
    }

    /// Writes a reply with the results of two tools that ran at once, and answers its id.
    async fn reply(&self) -> String {
        let mut stream = self.calls.one(self.tenant.stream()).await;
        stream.tell(&self.id, [start("a", "worker")]);
        stream.acked(0).await;
        let tool = |id: &str, name: &str, result: &str| MessageAction {
            id: id.to_owned(),
            ..action(name, ActionStatus::Succeeded, result)
        };
        let actions = vec![tool("call-1", "zones", "{}"), tool("call-2", "prices", "{\"from\": 20}")];
        let finish = |actions| {
            let length = i32::try_from(REPLY.len()).expect("a short text");
            Command::Finish(MessageFinish {
                message_key: "a".to_owned(),
                length,
                actions,
                ..Default::default()
            })
        };
        stream.tell(&self.id, [delta("a", 0, REPLY), finish(actions.clone())]);
        let ack = loop {
            let ack = stream.outcome().await.expect("an ack");
            if ack.status() == MessageStatus::Completed {
                break ack;
            }
        };
        // A finish that comes again, with less, is an error and not a loss.
        stream.tell(&self.id, [finish(actions[..1].to_vec())]);
        stream.outcome().await.expect_err("another content");
        let stored = self.tenant.message(&self.id, &ack.message_id).await.expect("the reply");
        assert_eq!(stored.actions, actions);
        ack.message_id
    }

    /// Records that the reply asked the question, and that the customer's message had answered it.
    async fn record_question(&self, reply_id: &str, said_id: &str) {
        let asked = MarkPendingQuestionAskedRequest {
            id: self.question_id.clone(),
            conversation_id: self.id.clone(),
            message_id: reply_id.to_owned(),
            ..Default::default()
        };
        self.calls.one(self.tenant.mark_asked(asked)).await.expect("recorded");
        let answered = MarkPendingQuestionAnsweredRequest {
            id: self.question_id.clone(),
            answer: "café".to_owned(),
            conversation_id: self.id.clone(),
            message_id: said_id.to_owned(),
            write_to_customer: true,
            ..Default::default()
        };
        self.calls.one(self.tenant.mark_answered(answered)).await.expect("recorded");
    }

    /// Records what the customer wanted to know, and what the conversation is about.
    async fn record_rest(&self, said_id: &str) {
        let observation = FaqObservation {
            question: "Do you deliver?".to_owned(),
            answer: "From 20 €".to_owned(),
            conversation_id: self.id.clone(),
            message_id: said_id.to_owned(),
            ..Default::default()
        };
        let request = RecordFaqObservationRequest {
            customer_id: self.customer_id.clone(),
            observation: Some(observation),
            ..Default::default()
        };
        self.calls.one(self.tenant.observe(request)).await.expect("recorded");
        let analysis = analysis(&self.id, 2, ObjectionStatus::Raised);
        self.calls.one(self.tenant.analyse(analysis)).await.expect("recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_of_an_agent_that_uses_two_tools() {
    let crm = Crm::start().await;
    let turn = Turn::new(crm.tenant()).await;
    let said = message("q", "We are a café. Do you deliver?");
    let said_id = turn.tenant.add(&turn.id, said).await.expect("stored").0.id;
    turn.look().await;
    let reply_id = turn.reply().await;
    turn.record_question(&reply_id, &said_id).await;
    turn.record_rest(&said_id).await;
    let customer = turn.tenant.get(&turn.customer_id).await.expect("the customer");
    assert_eq!(customer.industry_category, "café");
    turn.calls.are_those_of("A turn of an agent that uses two tools");
}

/// Brings a record of another system.
async fn bring(tenant: &Tenant, calls: &Calls, number: u32, name: &str) {
    let record = || Customer { external_ids: external("erp", &number.to_string()), ..named(name) };
    if let Err(error) = calls.one(tenant.create(record())).await {
        error.is(Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
        let customer = Customer { id: holder(&error), ..record() };
        calls.one(tenant.update(customer, &["business_name"])).await.expect("updated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_synchronisation() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let first = Calls::default();
    for number in 0..10 {
        bring(&tenant, &first, number, &format!("Shop {number}")).await;
    }
    first.are_those_of("The first synchronisation of 10 records");
    let next = Calls::default();
    for number in 0..10 {
        bring(&tenant, &next, number, &format!("Store {number}")).await;
    }
    next.are_those_of("The next one, of 10 records that are there");
    let all = tenant.list_all(ListCustomersRequest::default()).await;
    assert_eq!(all.len(), 10, "each once");
    assert!(all.iter().all(|customer| customer.business_name.starts_with("Store")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conversations_that_wait_for_a_person() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for number in 0..3 {
        let customer_id = tenant.customer(&format!("Shop {number}")).await.id;
        let waits = Conversation {
            customer_id,
            status: ConversationStatus::WaitingOnAgent.into(),
            ..Default::default()
        };
        let id = tenant.open(waits).await.expect("a conversation").id;
        tenant.add(&id, message("m", &format!("Is shop {number} there?"))).await.expect("stored");
    }
    tenant.conversation().await;
    let calls = Calls::default();
    let waiting = ListConversationsRequest {
        statuses: vec![ConversationStatus::WaitingOnAgent.into()],
        order_by: "update_time desc".to_owned(),
        ..Default::default()
    };
    let page = calls.one(tenant.conversation_page(waiting)).await.expect("a page");
    let mut screen = Vec::new();
    for conversation in &page.conversations {
        let customer = calls.one(tenant.get(&conversation.customer_id)).await.expect("the customer");
        let last = ListMessagesRequest {
            conversation_id: conversation.id.clone(),
            page_size: 1,
            order_by: "sequence desc".to_owned(),
            ..Default::default()
        };
        let last = calls.one(tenant.message_page(last)).await.expect("a page").messages;
        assert_eq!(last[0].role(), MessageRole::User);
        screen.push((customer.business_name, last[0].content.clone()));
    }
    screen.sort();
    let expected = [0, 1, 2].map(|number| (format!("Shop {number}"), format!("Is shop {number} there?")));
    assert_eq!(screen, expected);
    calls.are_those_of("3 conversations that wait for a person, on one screen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailing_and_its_bounces() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for number in 0..10 {
        let customer = Customer {
            email: format!("shop{number}@example.com"),
            tags: vec!["newsletter".to_owned()],
            ..named(&format!("Shop {number}"))
        };
        tenant.create(customer).await.expect("a customer");
    }
    tenant.customer("Another").await;
    let readers = || ListCustomersRequest { tags: vec!["newsletter".to_owned()], ..Default::default() };

    let calls = Calls::default();
    let campaign = Campaign { channel: ContactChannel::Email.into(), ..planned("Spring") };
    let campaign = calls.one(tenant.plan(campaign)).await.expect("a campaign");
    let assigned = calls.one(tenant.assign_found(&campaign.id, readers())).await.expect("assigned");
    assert_eq!((assigned.added_count, assigned.refused.len()), (10, 0));
    let active = as_status(&campaign, CampaignStatus::Active);
    calls.one(tenant.revise_campaign(active, &["status"])).await.expect("active");
    // Addresses, and who may be written to: two lists, joined by the customer's id.
    let page = ListCustomersRequest { page_size: 500, ..readers() };
    let addresses = calls.one(tenant.list(page)).await.expect("a page").customers;
    let page = ListCampaignCustomersRequest {
        campaign_id: campaign.id.clone(),
        exclude_refused: true,
        page_size: 500,
        ..Default::default()
    };
    let recipients = calls.one(tenant.assignment_page(page)).await.expect("a page").campaign_customers;
    let of = |id: &str| addresses.iter().find(|customer| customer.id == id).expect("an address");
    let sent: Vec<_> = recipients
        .iter()
        .map(|recipient| {
            event(&of(&recipient.customer_id).email, &recipient.customer_id, CampaignEventKind::Sent)
        })
        .collect();
    let results = calls.one(tenant.record(&campaign.id, &sent)).await.expect("recorded");
    assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
    let mut bounce = event("bounce-1", &recipients[0].customer_id, CampaignEventKind::Bounced);
    bounce.set_bounce_kind(BounceKind::Hard);
    bounce.detail = "550 5.1.1 no such user".to_owned();
    let results = calls.one(tenant.record(&campaign.id, &[bounce.clone()])).await.expect("recorded");
    assert!(results[0].error().is_none());
    calls.are_those_of("A mailing to 10 customers, and a report of its bounces");
    // The mailer reports again.
    let results = tenant.record(&campaign.id, &[bounce]).await.expect("recorded");
    assert!(results[0].deduplicated);
}
