//! The log reveals nothing of what clients send. The program logs everything, its own events and those of its
//! libraries, while canary texts are in every field of every RPC, and in every fault.

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb::{
    BrandVoice, BusinessContext, ContentPreferences, Conversation, ConversationAnalysis, Customer, ExternalId,
};
use crm_testkit::{Ended, Scratch, Server};
use prost::Message;
use prost_reflect::{Kind, MethodDescriptor, ReflectMessage, Value};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::support::conversations::{delta, finish, message, start};
use crate::support::customers::named;
use crate::support::fields::{fields, plant};
use crate::support::misfortune;
use crate::support::postgres::Database;
use crate::support::raw::{call_bytes, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Refusal, Tenant};

/// A word in everything that a client sends here, and nowhere else.
const CANARY: &str = "kanarienvogel";

/// The word that the errors of misfortune quote.
const QUOTED: &str = misfortune::CANARY;

/// The metadata that carries credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "cookie", "x-forwarded-client-cert"];

/// Returns the forms in which a library may print bytes.
fn disguises(text: &str) -> Vec<String> {
    let join =
        |separator: &str, show: fn(u8) -> String| text.bytes().map(show).collect::<Vec<_>>().join(separator);
    vec![
        text.to_owned(),
        join(", ", |byte| byte.to_string()),
        join("", |byte| format!("{byte:02x}")),
        join(" ", |byte| format!("{byte:02x}")),
        join(", ", |byte| format!("{byte:#x}")),
    ]
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("a URL");
    endpoint.connect().await.expect("the service listens")
}

/// Makes a call with canaries as credentials, and ignores the outcome.
async fn call(tenant: &Tenant, rpc: &MethodDescriptor, bytes: Vec<u8>) {
    let id = tenant.id.to_string();
    let mut metadata = vec![(TENANT_HEADER, id.as_str()), ("grpc-timeout", "5S")];
    let secret = format!("Bearer {CANARY}");
    metadata.extend(CREDENTIALS.map(|name| (name, secret.as_str())));
    drop(call_bytes(tenant.channel(), rpc, &metadata, bytes).await);
}

/// Creates all resources of a tenant, with canaries as texts.
async fn everything(tenant: &Tenant) -> About {
    let text = || format!("Zoë {CANARY}");
    let request = Customer {
        slug: CANARY.to_owned(),
        contact_name: text(),
        email: format!("{CANARY}@{CANARY}.example"),
        website: format!("https://{CANARY}.example/{CANARY}?token={CANARY}"),
        address: text(),
        city: text(),
        owner: text(),
        tags: vec![text()],
        external_ids: vec![ExternalId { source: CANARY.to_owned(), id: text() }],
        business_context: Some(BusinessContext { description: text(), ..Default::default() }),
        brand_voice: Some(BrandVoice { tone: text(), ..Default::default() }),
        content_preferences: Some(ContentPreferences { topics: vec![text()], ..Default::default() }),
        ..named(&text())
    };
    let customer = tenant.create(request).await.expect("a customer");
    let open = Conversation { customer_id: customer.id.clone(), ..Default::default() };
    let talk = tenant.open(open).await.expect("a conversation");
    let (said, _) = tenant.add(&talk.id, message(CANARY, &text())).await.expect("added");
    let mut stream = tenant.stream().await;
    let piece = text();
    stream.tell(
        &talk.id,
        [
            start("pieces", CANARY),
            delta("pieces", 0, &piece),
            finish("pieces", piece.len()),
            delta("?", 0, CANARY),
        ],
    );
    for _ in 0..2 {
        stream.outcome().await.expect("an ack");
    }
    let analysis =
        ConversationAnalysis { conversation_id: talk.id.clone(), summary: text(), ..Default::default() };
    About {
        slug: customer.slug,
        analysis: tenant.analyse(analysis).await.expect("recorded").id,
        conversation: talk.id,
        message: said.id,
        question: tenant.question(&customer.id, &text()).await.id,
        faq: tenant.faq(&customer.id, &text(), &text()).await.id,
        observation: Uuid::now_v7().to_string(),
        campaign: tenant.campaign(&text()).await.id,
        purchase: tenant.purchase(&customer.id).await.id,
        audit_event: tenant.events(Default::default()).await.remove(0).id,
        customer: customer.id,
        text: text(),
        ..About::nothing()
    }
}

/// Calls every RPC: valid, again as a retry, without its tenant, with every field invalid, and truncated.
async fn every_rpc(tenant: &Tenant, about: &About) {
    // Deletes and ends come last, so that the other calls find their resources.
    let mut rpcs = rpcs();
    rpcs.sort_by_key(|rpc| {
        (rpc.name().starts_with("Delete") || rpc.name() == "EndConversation", rpc.index())
    });
    for rpc in rpcs {
        let about = About { request_id: Uuid::new_v4().to_string(), ..about.clone() };
        let sample = samples::request(&rpc, &about);
        if rpc.name() != "WatchConversation" {
            call(tenant, &rpc, sample.encode_to_vec()).await;
            call(tenant, &rpc, sample.encode_to_vec()).await;
        }
        let mut wrong = sample.clone();
        for path in fields(&sample.descriptor()) {
            if path.last().is_some_and(|field| field.kind() == Kind::String) {
                plant(&mut wrong, &path, Value::String(format!("\u{1}{CANARY}")));
            }
        }
        let bytes = wrong.encode_to_vec();
        call(tenant, &rpc, bytes.clone()).await;
        call(tenant, &rpc, bytes[..bytes.len().saturating_sub(1)].to_vec()).await;
        let nobody = call_bytes(tenant.channel(), &rpc, &[("authorization", CANARY)], bytes).await;
        nobody.expect_err("no tenant").is(tonic::Code::Unauthenticated, "TENANT_REQUIRED");
    }
}

/// Causes faults whose causes are logged.
async fn every_fault(tenant: &Tenant, conversation_id: &str) {
    for what in ["22P02", "22001", "40P01", "42P01", "42501", "42501 policy", "57P01", "23514"] {
        let request = Customer { owner: what.to_owned(), ..named(CANARY) };
        tenant.create(request).await.expect_err(what);
        let mut stream = tenant.stream().await;
        stream.send(conversation_id, message(&format!("{CANARY} {what}"), what));
        stream.outcome().await.expect_err(what);
    }
}

/// Returns the program's log of all this.
async fn log(format: &str) -> Ended {
    let (scratch, database) = (Scratch::of(env!("CARGO_BIN_EXE_crm-backend")), Database::create().await);
    misfortune::prepare(&database.nodes().await).await;
    let url = database.url();
    let filter = "trace,tokio_postgres=trace,tokio_postgres::query=trace";
    let arguments = ["--database-url", url.as_str(), "--log", filter, "--log-format", format];
    let server = Server::start_with(&scratch, &arguments);
    let tenant = Tenant::new(channel(&server).await);
    let about = everything(&tenant).await;
    every_rpc(&tenant, &about).await;
    let talk = tenant.conversation().await;
    every_fault(&tenant, &talk.id).await;
    drop(tenant);
    server.terminate()
}

async fn tells_nothing(format: &str) {
    let Ended { stdout, stderr, .. } = log(format).await;
    for (text, place) in [(&stdout, "standard output"), (&stderr, "the log")] {
        let low = text.to_lowercase();
        for canary in [CANARY, QUOTED].into_iter().flat_map(disguises) {
            let line = low.lines().find(|line| line.contains(&canary));
            assert_eq!(line, None, "{place} has {canary:?}");
        }
    }
    // It did log, from us and from libraries, and raised the alarm.
    for line in
        ["answered", "CreateCustomer", "frame=", "internal error", "Postgres refused a right", "alarm"]
    {
        let line = if format == "json" && line == "frame=" { "\"frame\":" } else { line };
        assert!(stderr.contains(line), "nothing of {line}");
    }
    assert!(!stderr.contains("tokio_postgres::") || !stderr.contains("executing"), "statements are logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_gets_into_the_log_for_people() {
    tells_nothing("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_gets_into_the_log_for_programs() {
    tells_nothing("json").await;
}
