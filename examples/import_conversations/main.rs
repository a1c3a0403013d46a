//! Imports conversations from a file. It can be run repeatedly:
//!
//! ```text
//! cargo run --example import_conversations -- [FILE] [--server URL] [--tenant UUID]
//! ```
//!
//! The file has one JSON object per line, as in `examples/data/bakery.ndjson`. `scenario`, `actions`, `arguments` and
//! `result` may be left out; the last two are any text, which is kept unchanged:
//!
//! ```text
//! {"id": "…", "scenario": "…", "messages": [{"role": "user" or "assistant", "text": "…", "actions": [
//!     {"name": "…", "arguments": "…", "result": "…"}]}]}
//! ```
//!
//! Why it is safe to repeat, as an example for other clients:
//! 1. The whole file is read and checked before anything is sent.
//! 2. The `session_id` of a conversation is its `id` in the file, so an existing conversation is found.
//! 3. The `message_key` of a message is its place, so an existing message is acked as `deduplicated`.
//! 4. The conversations stay open, so that a later file may continue them. To import an ended conversation, add its
//!    messages and then call EndConversation with its `end_time`. Look for its `session_id` with ListConversations
//!    first, since an ended conversation does not keep its session.
//! 5. All messages go through one AddMessage stream, without waiting. An ack means that the message is committed. If
//!    a stream is lost, the messages without an ack are simply sent again.

mod file;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use crm_contract::pb::add_message_request::Command as Request;
use crm_contract::pb::add_message_response::Result as Answer;
use crm_contract::pb::conversation_service_client::ConversationServiceClient;
use crm_contract::pb::customer_service_client::CustomerServiceClient;
use crm_contract::{CallerMetadata, Failure, pb};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressStyle};
use prost_types::{Struct, Value, value::Kind};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use file::{Action, Conversation, Role};

/// The number of CreateConversation calls at the same time: far below what a server allows on one connection.
const CREATES_IN_FLIGHT: usize = 16;
/// How long a server may be silent before it is pinged; it is given up after as long again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of refused messages that are shown; the rest are only counted.
const REFUSALS_TOLD: u64 = 5;

/// Import conversations from a file into a running crm-backend.
///
/// They become conversations of one customer, who is named after the file: "Coffee Bar" for coffee-bar.ndjson. A
/// repeated import adds only what is missing.
#[derive(Debug, Parser)]
#[command(name = "import_conversations", max_term_width = 100)]
struct Cli {
    /// File with one conversation per line, as JSON; by default, the example of a bakery.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/bakery.ndjson"),
          hide_default_value = true)]
    file: PathBuf,

    /// Address of the service.
    #[arg(long, default_value = "http://127.0.0.1:50051", value_name = "URL", value_parser = endpoint)]
    server: Endpoint,

    /// Tenant of the conversations.
    #[arg(long, default_value = "0199d1c0-0000-7000-8000-000000000001", value_name = "UUID",
          value_parser = tenant)]
    tenant: CallerMetadata,
}

/// A conversation on the server, with its contents from the file.
struct Opened {
    id: String,
    new: bool,
    conversation: Conversation,
}

/// The result of an import: conversations opened and found, messages added, known and refused.
#[derive(Default)]
struct Summary {
    customer: String,
    opened: u64,
    found: u64,
    added: u64,
    known: u64,
    refused: u64,
    time: Duration,
    stream_time: Duration,
}

type Customers = CustomerServiceClient<InterceptedService<Channel, CallerMetadata>>;
type Conversations = ConversationServiceClient<InterceptedService<Channel, CallerMetadata>>;

#[tokio::main]
async fn main() -> ExitCode {
    match import(Cli::parse()).await {
        Ok(summary) => {
            println!("{summary}");
            if summary.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("import_conversations: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn import(cli: Cli) -> Result<Summary, String> {
    let conversations = file::read(&cli.file)?;
    let (name, slug) = file::name_customer(&cli.file)?;
    let started = Instant::now();
    let channel = cli.server.connect().await.map_err(|_| {
        let server = cli.server.uri();
        format!("No service answers at {server}. Start it with `cargo run`, or name another with --server.")
    })?;
    let customers = CustomerServiceClient::with_interceptor(channel.clone(), cli.tenant.clone());
    let service = ConversationServiceClient::with_interceptor(channel, cli.tenant);

    let customer = find_or_create_customer(customers, name, slug).await?;
    let bar = progress(conversations.len(), "conversations");
    let opening =
        conversations.into_iter().map(|conversation| open(service.clone(), &customer.id, conversation));
    let opening = stream::iter(opening).buffered(CREATES_IN_FLIGHT).inspect(|_| bar.inc(1));
    let opened: Vec<Opened> = opening.try_collect().await?;
    drop(bar);

    let mut summary =
        Summary { customer: format!("{} ({})", customer.business_name, customer.id), ..Summary::default() };
    for opened in &opened {
        *if opened.new { &mut summary.opened } else { &mut summary.found } += 1;
    }
    let sending = Instant::now();
    add_messages(service, &opened, &mut summary).await?;
    summary.stream_time = sending.elapsed();
    summary.time = started.elapsed();
    Ok(summary)
}

async fn find_or_create_customer(
    mut service: Customers,
    name: String,
    slug: String,
) -> Result<pb::Customer, String> {
    let found = service
        .get_customer_by_slug(pb::GetCustomerBySlugRequest { slug: slug.clone(), ..Default::default() })
        .await;
    let customer = match found {
        Err(status) if status.code() == Code::NotFound => {
            let customer = Some(pb::Customer { business_name: name, slug, ..Default::default() });
            let new = pb::CreateCustomerRequest { customer, ..Default::default() };
            let created = service.create_customer(new).await;
            created.map_err(failed("The customer cannot be created"))?.into_inner().customer
        }
        found => found.map_err(failed("The customer cannot be read"))?.into_inner().customer,
    };
    Ok(customer.unwrap_or_default())
}

/// Creates a conversation, or finds the one from an earlier run.
async fn open(
    mut service: Conversations,
    customer_id: &str,
    conversation: Conversation,
) -> Result<Opened, String> {
    let session_id = conversation.id.clone();
    let scenario = Value { kind: Some(Kind::StringValue(conversation.scenario.clone())) };
    let new = pb::Conversation {
        customer_id: customer_id.to_owned(),
        session_id: session_id.clone(),
        entry_point: pb::EntryPoint::Import.into(),
        environment: pb::ConversationEnvironment::Live.into(),
        metadata: Some(Struct { fields: [("scenario".to_owned(), scenario)].into() }),
        ..Default::default()
    };
    let new = pb::CreateConversationRequest { conversation: Some(new), ..Default::default() };
    let created = service.create_conversation(new).await;
    let new = created.is_ok();
    let answered = match created {
        Err(status) if status.code() == Code::AlreadyExists => {
            let filter =
                pb::ListConversationsRequest { session_id: session_id.clone(), ..Default::default() };
            let listed = service.list_conversations(filter).await;
            listed.map_err(failed("A conversation cannot be read"))?.into_inner().conversations.pop()
        }
        created => created.map_err(failed("A conversation cannot be created"))?.into_inner().conversation,
    };
    let pb::Conversation { id, customer_id: with, .. } = answered.unwrap_or_default();
    if with != customer_id {
        return Err(format!("Conversation {session_id} is there already, with another customer: {with}."));
    }
    Ok(Opened { id, new, conversation })
}

/// Sends all messages through one stream, and counts the answers.
async fn add_messages(
    mut service: Conversations,
    opened: &[Opened],
    summary: &mut Summary,
) -> Result<(), String> {
    let requests: Vec<_> = opened.iter().flat_map(requests).collect();
    let total = requests.len();
    let bar = progress(total, "messages");
    let mut answered = 0;
    let lost = |answered, status: Status| {
        failed(&format!("The stream was lost after {answered} of {total} answers"))(status)
    };
    // HTTP/2 sends the requests at the pace of the server; nothing here waits for an answer.
    let sent = service.add_message(stream::iter(requests)).await;
    let mut answers = sent.map_err(|status| lost(0, status))?.into_inner();
    while let Some(answer) = answers.message().await.map_err(|status| lost(answered, status))? {
        match answer.result {
            Some(Answer::Ack(ack)) if ack.deduplicated => summary.known += 1,
            Some(Answer::Ack(_)) => summary.added += 1,
            Some(Answer::Error(error)) => {
                summary.refused += 1;
                if summary.refused <= REFUSALS_TOLD {
                    bar.suspend(|| eprintln!("{}", refusal(error, opened)));
                }
            }
            // Received messages are still answered, and then the stream ends.
            Some(Answer::GoAway(_)) | None => continue,
        }
        answered += 1;
        bar.inc(1);
    }
    if answered < total { Err(lost(answered, Status::unavailable("the server is stopping"))) } else { Ok(()) }
}

fn requests(opened: &Opened) -> impl Iterator<Item = pb::AddMessageRequest> {
    (1..).zip(&opened.conversation.messages).map(|(place, message)| {
        let action = |Action { name, arguments, result }: &Action| pb::MessageAction {
            name: name.clone(),
            arguments: arguments.clone(),
            result: result.clone(),
            ..Default::default()
        };
        let role = match message.role {
            Role::User => pb::MessageRole::User,
            Role::Assistant => pb::MessageRole::Assistant,
        };
        let message = pb::Message {
            message_key: format!("m-{place:04}"),
            role: role.into(),
            content: message.text.clone(),
            actions: message.actions.iter().map(action).collect(),
            ..Default::default()
        };
        pb::AddMessageRequest { conversation_id: opened.id.clone(), command: Some(Request::Message(message)) }
    })
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.added + self.known + self.refused;
        let (opened, found) = (HumanCount(self.opened), HumanCount(self.found));
        let (added, known, refused) =
            (HumanCount(self.added), HumanCount(self.known), HumanCount(self.refused));
        let rate = HumanCount((messages as f64 / self.stream_time.as_secs_f64()) as u64);
        let seconds = self.time.as_secs_f64();
        writeln!(f, "customer       {}", self.customer)?;
        writeln!(f, "conversations  {opened} new, {found} there already")?;
        writeln!(f, "messages       {added} added, {known} there already, {refused} failed")?;
        write!(f, "time           {seconds:.2} s; the stream took {rate} messages per second")?;
        if self.opened + self.added == 0 { write!(f, "\nNothing was added.") } else { Ok(()) }
    }
}

/// A progress bar on stderr if that is a terminal; it is removed when dropped.
fn progress(total: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:13} {wide_bar} {human_pos} of {human_len}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total as u64).with_style(style).with_message(what).with_finish(ProgressFinish::AndClear)
}

/// Returns what failed and why, in a sentence, and what to do if a retry helps.
fn failed(what: &str) -> impl FnOnce(Status) -> String {
    move |status| {
        let mut text = format!("{what}: {}.", Failure::of(&status));
        // A lost connection can appear as any of several codes.
        let gone =
            [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::DeadlineExceeded];
        if gone.contains(&status.code()) {
            text += " Run it again: what is there already is not added twice.";
        }
        text
    }
}

/// Describes a refused message with the names of the file.
fn refusal(error: pb::MessageError, opened: &[Opened]) -> String {
    let opened = opened.iter().find(|opened| opened.id == error.conversation_id);
    let session_id = opened.map_or(&error.conversation_id, |opened| &opened.conversation.id);
    let failure = Failure::of_item(&error.status.unwrap_or_default());
    format!("Conversation {session_id}, message {}: {failure}.", error.message_key)
}

fn tenant(text: &str) -> Result<CallerMetadata, String> {
    let id = uuid::Uuid::parse_str(text).map_err(|error| error.to_string())?;
    CallerMetadata::of_tenant(&id.to_string()).map_err(|_| "cannot be sent".to_owned())
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    let endpoint = url.starts_with("http://").then(|| Endpoint::from_shared(url.to_owned()));
    let endpoint = endpoint.and_then(Result::ok).ok_or("it looks like http://127.0.0.1:50051")?;
    Ok(endpoint.connect_timeout(PATIENCE).http2_keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE))
}
