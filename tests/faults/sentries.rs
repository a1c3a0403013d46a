//! Clients that make the same call again and again, without a limit of their own, and measure each answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_backend::pb::watch_conversation_request::Start;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use super::client::{Client, Tenanted};

/// How long a sentry waits before the next call: it watches, and must not be a load.
const PAUSE: Duration = Duration::from_millis(20);

/// The call of a sentry.
#[derive(Debug, Clone)]
enum Question {
    /// Reads an existing customer.
    Lookup { tenant: Uuid, customer: String },
    /// Creates a customer of a new tenant, which competes with no other call.
    Write,
    /// Adds a message on a stream of its own, to a new conversation.
    Append,
    /// Watches a conversation from its beginning, until the event of the first message.
    Watch { tenant: Uuid, conversation: String },
}

impl Question {
    const NAMES: [&str; 4] = ["lookups", "writes", "appends", "watches"];

    async fn ask(&self, address: SocketAddr) -> Result<(), Status> {
        let new_tenant = Uuid::new_v4();
        match self {
            Self::Lookup { tenant, customer } => {
                let request = pb::GetCustomerRequest { id: customer.clone(), ..Default::default() };
                customers(&Client::try_connect(address, *tenant).await?).get_customer(request).await?;
            }
            Self::Write => drop(create(&Client::try_connect(address, new_tenant).await?).await?),
            Self::Append => drop(append(&mut Client::try_connect(address, new_tenant).await?).await?),
            Self::Watch { tenant, conversation } => {
                watch_first(&mut Client::try_connect(address, *tenant).await?, conversation).await?;
            }
        }
        Ok(())
    }
}

fn customers(client: &Client) -> CustomerServiceClient<Tenanted> {
    CustomerServiceClient::new(client.tenanted())
}

/// Creates a customer.
async fn create(client: &Client) -> Result<String, Status> {
    let business_name = format!("Café {}", Uuid::new_v4().simple());
    let customer = Some(pb::Customer { business_name, ..Default::default() });
    let request = pb::CreateCustomerRequest { customer, ..Default::default() };
    let response = customers(client).create_customer(request).await?;
    Ok(response.into_inner().customer.expect("a customer").id)
}

/// Creates a conversation with one message that came through a stream.
async fn append(client: &mut Client) -> Result<String, Status> {
    let customer_id = create(client).await?;
    let conversation = Some(pb::Conversation { customer_id, ..Default::default() });
    let request = pb::CreateConversationRequest { conversation, ..Default::default() };
    let response = client.conversations.create_conversation(request).await?;
    let conversation_id = response.into_inner().conversation.expect("a conversation").id;
    let message = pb::Message {
        message_key: "1".to_owned(),
        role: pb::MessageRole::User.into(),
        content: "Hello".to_owned(),
        ..Default::default()
    };
    let (requests, outgoing) = mpsc::channel(1);
    let request = pb::AddMessageRequest {
        conversation_id: conversation_id.clone(),
        command: Some(Command::Message(message)),
    };
    requests.send(request).await.expect("a stream that begins");
    let response = client.conversations.add_message(ReceiverStream::new(outgoing)).await?;
    let answer = response.into_inner().message().await?;
    match answer.and_then(|response| response.result) {
        Some(Answer::Ack(_)) => Ok(conversation_id),
        Some(Answer::Error(error)) => {
            let status = error.status.expect("a status");
            Err(Status::new(Code::from_i32(status.code), status.message))
        }
        Some(Answer::GoAway(_)) | None => Err(Status::unavailable("the stream ended")),
    }
}

async fn watch_first(client: &mut Client, conversation_id: &str) -> Result<(), Status> {
    let request = pb::WatchConversationRequest {
        conversation_id: conversation_id.to_owned(),
        start: Some(Start::AfterSequence(0)),
        include_deltas: true,
    };
    let mut events = client.conversations.watch_conversation(request).await?.into_inner();
    match events.message().await? {
        Some(_) => Ok(()),
        None => Err(Status::unavailable("the watch ended")),
    }
}

/// One sentry.
struct Sentry {
    question: Question,
    address: SocketAddr,
    /// When the last call with the right answer was made.
    well_since: watch::Sender<Instant>,
}

impl Sentry {
    /// Makes calls until `stop`, and returns how long the slowest answer took.
    async fn stand(self, stop: watch::Receiver<bool>) -> Duration {
        let mut slowest = Duration::ZERO;
        while !*stop.borrow() {
            let asked = Instant::now();
            let outcome = self.question.ask(self.address).await;
            slowest = slowest.max(asked.elapsed());
            match outcome {
                Ok(()) => drop(self.well_since.send_replace(asked)),
                Err(status) => {
                    let passing = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
                    assert!(passing, "{:?}: {status:?}", self.question);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        slowest
    }
}

/// Sentries for every kind of work in Postgres, and for health.
pub(crate) struct Sentries {
    sentries: JoinSet<Duration>,
    well_since: Vec<watch::Receiver<Instant>>,
    /// The states of health, each with the time of its beginning.
    health: watch::Receiver<Vec<(Instant, ServingStatus)>>,
    _asking: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Sentries {
    pub(crate) async fn begin(address: SocketAddr) -> Self {
        let tenant = Uuid::new_v4();
        let mut client = Client::connect(address, tenant).await;
        let customer = create(&client).await.expect("a customer");
        let conversation = append(&mut client).await.expect("a message");
        let questions = [
            Question::Lookup { tenant, customer },
            Question::Write,
            Question::Append,
            Question::Watch { tenant, conversation },
        ];
        let (mut sentries, mut well_since) = (JoinSet::new(), Vec::new());
        let stop = watch::Sender::new(false);
        for question in questions {
            let (sender, receiver) = watch::channel(Instant::now());
            let sentry = Sentry { question, address, well_since: sender };
            sentries.spawn(sentry.stand(stop.subscribe()));
            well_since.push(receiver);
        }
        let (sender, health) = watch::channel(Vec::new());
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                let status = client.health().await;
                sender.send_if_modified(|said| {
                    let changed = said.last().is_none_or(|(_, last)| *last != status);
                    changed.then(|| said.push((Instant::now(), status)));
                    changed
                });
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { sentries, well_since, health, _asking: asking, stop }
    }

    /// Waits until every kind of call made since `fault` gets the right answer, and health has been NOT_SERVING and
    /// then SERVING. Returns how long each took.
    pub(crate) async fn healed(&self, fault: Instant, limit: Duration) -> Vec<(&'static str, Duration)> {
        let mut healed = Vec::new();
        for (name, well_since) in Question::NAMES.into_iter().zip(&self.well_since) {
            let mut well_since = well_since.clone();
            let wait = well_since.wait_for(|asked| *asked > fault);
            let well = tokio::time::timeout_at((fault + limit).into(), wait).await;
            well.unwrap_or_else(|_| panic!("{name} do not go on within {limit:?}")).expect("a sentry");
            healed.push((name, fault.elapsed()));
        }
        let mut health = self.health.clone();
        let wait = health.wait_for(|said| {
            let mut since = said.iter().filter(|(at, _)| *at > fault).map(|(_, status)| *status);
            since.any(|status| status == ServingStatus::NotServing)
                && said.last().is_some_and(|(_, status)| *status == ServingStatus::Serving)
        });
        let well = tokio::time::timeout_at((fault + limit).into(), wait).await;
        well.unwrap_or_else(|_| panic!("health does not tell within {limit:?}")).expect("a sentry");
        healed.push(("health", fault.elapsed()));
        healed
    }

    /// Lets them finish, and returns how long the slowest answer took.
    pub(crate) async fn finish(self) -> Duration {
        self.stop.send_replace(true);
        self.sentries.join_all().await.into_iter().max().expect("sentries")
    }
}
