//! Creates a realistic tenant: a coffee roastery's last month, with customers, conversations, campaigns, purchases
//! and their outcomes.
//!
//! ```text
//! cargo run --example demo_tenant -- [--server URL] [--tenant UUID] [--customers COUNT] [--days DAYS] [--seed SEED]
//! ```
//!
//! Everything goes through the service's own RPCs, many calls at the same time, and messages through one stream. A
//! run creates a new tenant, unless one is given.

mod month;
mod words;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use crm_contract::pb::add_message_request::Command;
use crm_contract::pb::add_message_response::Result as Answer;
use crm_contract::pb::campaign_service_client::CampaignServiceClient;
use crm_contract::pb::conversation_service_client::ConversationServiceClient;
use crm_contract::pb::customer_service_client::CustomerServiceClient;
use crm_contract::pb::engagement_service_client::EngagementServiceClient;
use crm_contract::{CallerMetadata, Failure, pb};
use crm_testkit::Random;
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use month::{Talk, wire};

/// The number of calls at the same time: far below what a server allows on one connection.
const CALLS: usize = 16;
/// The events of a call: fewer than the thousand that are allowed.
const EVENTS: usize = 500;
/// How long a server may be silent before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Create a tenant with a month of a coffee roastery in a running crm-backend.
#[derive(Debug, Parser)]
#[command(name = "demo_tenant", max_term_width = 100)]
struct Cli {
    /// Address of the service.
    #[arg(long, default_value = "http://127.0.0.1:50051", value_name = "URL")]
    server: String,

    /// Tenant to fill; a new one by default.
    #[arg(long, value_name = "UUID")]
    tenant: Option<Uuid>,

    /// Customers, each with a few conversations.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    customers: u16,

    /// Length of the period before today, in days.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,

    /// Seed of the random data: the same seed creates the same month.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The numbers of what was created.
#[derive(Default)]
struct Summary {
    tenant: Uuid,
    campaign: String,
    customers: usize,
    conversations: usize,
    messages: usize,
    campaign_events: usize,
    interest_events: usize,
    purchases: usize,
    refunds: usize,
    time: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match make(Cli::parse()).await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("demo_tenant: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn make(cli: Cli) -> Result<Summary, String> {
    let began = Instant::now();
    let clients = Clients::connect(&cli).await?;
    let (now, days) = (Utc::now(), u64::from(cli.days));
    let mut random = Random::new(cli.seed);
    let mut summary = Summary { tenant: clients.tenant, ..Summary::default() };

    let customers = clients.create_customers(month::customers(&mut random, cli.customers.into())).await?;
    summary.customers = customers.len();
    for (name, channel, filter) in CAMPAIGNS {
        let start = month::moment(&mut random, now, days);
        let campaign = clients.run_campaign(name, *channel, *filter, start).await?;
        let assigned = clients.assigned(&campaign).await?;
        let events: Vec<_> = assigned
            .iter()
            .flat_map(|id| month::campaign_events(&mut random, (id.as_str(), start)))
            .collect();
        summary.campaign_events += clients.record_campaign_events(&campaign, events).await?;
        summary.campaign = campaign;
    }

    let mut talks = Vec::new();
    for customer in &customers {
        for _ in 0..random.between(1, 5) {
            talks.push((customer.as_str(), month::talk(&mut random, now, days)));
        }
    }
    let ids = clients.open(&talks).await?;
    let said: Vec<_> = ids
        .iter()
        .zip(&talks)
        .flat_map(|(id, (_, talk))| {
            talk.messages(&mut random).into_iter().map(|message| (id.clone(), message))
        })
        .collect();
    summary.messages = clients.add_messages(said).await?;
    let endings: Vec<_> = ids
        .iter()
        .zip(&talks)
        .map(|(id, (customer, talk))| Ending::of(&mut random, (id, customer), talk))
        .collect();
    summary.interest_events = endings.iter().map(|ending| ending.interest.events.len()).sum();
    summary.purchases = endings.iter().filter(|ending| ending.purchase.is_some()).count();
    summary.refunds = endings.iter().filter(|ending| ending.refunded.is_some()).count();
    stream::iter(endings.into_iter().map(|ending| clients.finish(ending)))
        .buffer_unordered(CALLS)
        .try_collect::<Vec<()>>()
        .await?;
    summary.conversations = ids.len();
    summary.time = began.elapsed();
    Ok(summary)
}

/// The campaigns and their audience: all customers, or those with this tag.
const CAMPAIGNS: &[(&str, pb::ContactChannel, Option<&str>)] = &[
    ("Barista course in spring", pb::ContactChannel::Sms, Some("vip")),
    ("Autumn tasting", pb::ContactChannel::Email, None),
];

type Client = InterceptedService<Channel, CallerMetadata>;

#[derive(Clone)]
struct Clients {
    tenant: Uuid,
    customers: CustomerServiceClient<Client>,
    conversations: ConversationServiceClient<Client>,
    campaigns: CampaignServiceClient<Client>,
    engagement: EngagementServiceClient<Client>,
}

impl Clients {
    async fn connect(cli: &Cli) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(cli.server.clone())
            .map_err(|_| format!("{} is no URL; it looks like http://127.0.0.1:50051", cli.server))?;
        let channel = endpoint.connect_timeout(PATIENCE).keep_alive_timeout(PATIENCE).connect().await;
        let channel = channel.map_err(|_| {
            format!(
                "No service answers at {}. Start it with `cargo run`, or name another with --server.",
                cli.server
            )
        })?;
        let tenant = cli.tenant.unwrap_or_else(Uuid::now_v7);
        let says = CallerMetadata::of_tenant(&tenant.to_string()).map_err(|_| "the tenant cannot be sent")?;
        Ok(Self {
            tenant,
            customers: CustomerServiceClient::with_interceptor(channel.clone(), says.clone()),
            conversations: ConversationServiceClient::with_interceptor(channel.clone(), says.clone()),
            campaigns: CampaignServiceClient::with_interceptor(channel.clone(), says.clone()),
            engagement: EngagementServiceClient::with_interceptor(channel, says),
        })
    }

    async fn create_customers(
        &self,
        requests: Vec<pb::CreateCustomerRequest>,
    ) -> Result<Vec<String>, String> {
        let create = |request| {
            let mut client = self.customers.clone();
            async move { client.create_customer(request).await }
        };
        let created = stream::iter(requests.into_iter().map(create)).buffered(CALLS).map(|created| {
            let response = created.map_err(|status| failed("A customer cannot be created", &status))?;
            Ok(response.into_inner().customer.unwrap_or_default().id)
        });
        created.try_collect().await
    }

    /// Plans a campaign, assigns its customers, and runs it.
    async fn run_campaign(
        &self,
        name: &str,
        channel: pb::ContactChannel,
        tag: Option<&str>,
        start: DateTime<Utc>,
    ) -> Result<String, String> {
        let planned = pb::Campaign {
            name: name.to_owned(),
            goal: "More regular customers".to_owned(),
            channel: channel.into(),
            start_time: Some(wire(start)),
            end_time: Some(wire(start + TimeDelta::days(14))),
            budget: Some(month::euros(50_000)),
            ..Default::default()
        };
        let request = pb::CreateCampaignRequest { campaign: Some(planned), request_id: String::new() };
        let mut client = self.campaigns.clone();
        let created = client.create_campaign(request).await;
        let created = created.map_err(|status| failed("A campaign cannot be created", &status))?;
        let campaign = created.into_inner().campaign.unwrap_or_default();
        let filter = pb::ListCustomersRequest {
            tags: tag.map(str::to_owned).into_iter().collect(),
            ..Default::default()
        };
        let assign = pb::AssignCustomersRequest {
            campaign_id: campaign.id.clone(),
            customers: Some(pb::assign_customers_request::Customers::Filter(filter)),
            request_id: String::new(),
        };
        let assigned = client.assign_customers(assign).await;
        assigned.map_err(|status| failed("Customers cannot be assigned", &status))?;
        let active = pb::Campaign {
            id: campaign.id.clone(),
            status: pb::CampaignStatus::Active.into(),
            ..Default::default()
        };
        let update = pb::UpdateCampaignRequest { campaign: Some(active), ..Default::default() };
        let updated = client.update_campaign(update).await;
        updated.map_err(|status| failed("A campaign cannot be activated", &status))?;
        Ok(campaign.id)
    }

    /// Returns the customers of a campaign.
    async fn assigned(&self, campaign: &str) -> Result<Vec<String>, String> {
        let mut client = self.campaigns.clone();
        let mut request = pb::ListCampaignCustomersRequest {
            campaign_id: campaign.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        let mut assigned = Vec::new();
        loop {
            let page = client.list_campaign_customers(request.clone()).await;
            let page = page.map_err(|status| failed("Assignments cannot be read", &status))?.into_inner();
            assigned.extend(page.campaign_customers.into_iter().map(|customer| customer.customer_id));
            if page.next_page_token.is_empty() {
                return Ok(assigned);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn record_campaign_events(
        &self,
        campaign: &str,
        events: Vec<pb::CampaignEvent>,
    ) -> Result<usize, String> {
        for events in events.chunks(EVENTS) {
            let request = pb::RecordCampaignEventsRequest {
                campaign_id: campaign.to_owned(),
                events: events.to_vec(),
                request_id: String::new(),
            };
            let recorded = self.campaigns.clone().record_campaign_events(request).await;
            let recorded = recorded.map_err(|status| failed("Events cannot be recorded", &status))?;
            for result in recorded.into_inner().results {
                if let Some(pb::campaign_event_result::Result::Error(error)) = result.result {
                    return Err(format!("An event was refused: {}", error.message));
                }
            }
        }
        Ok(events.len())
    }

    /// Creates the conversations, in order.
    async fn open(&self, talks: &[(&str, Talk)]) -> Result<Vec<String>, String> {
        let open = |(customer, talk): &(&str, Talk)| {
            let (entry_point, modality) = talk.place;
            let conversation = pb::Conversation {
                customer_id: (*customer).to_owned(),
                entry_point: entry_point.into(),
                modality: modality.into(),
                presenter: Some(pb::Presenter { id: talk.model.1.to_owned(), ..Default::default() }),
                start_time: Some(wire(talk.start)),
                ..Default::default()
            };
            let request =
                pb::CreateConversationRequest { conversation: Some(conversation), ..Default::default() };
            let mut client = self.conversations.clone();
            async move { client.create_conversation(request).await }
        };
        let opened = stream::iter(talks.iter().map(open)).buffered(CALLS).map(|opened| {
            let response = opened.map_err(|status| failed("A conversation cannot be opened", &status))?;
            Ok(response.into_inner().conversation.unwrap_or_default().id)
        });
        opened.try_collect().await
    }

    /// Sends all messages through one stream, and waits for their acks.
    async fn add_messages(&self, said: Vec<(String, pb::Message)>) -> Result<usize, String> {
        let total = said.len();
        let requests = said.into_iter().map(|(conversation_id, message)| pb::AddMessageRequest {
            conversation_id,
            command: Some(Command::Message(message)),
        });
        let answers =
            self.conversations.clone().add_message(stream::iter(requests.collect::<Vec<_>>())).await;
        let mut answers = answers.map_err(|status| failed("Messages cannot be added", &status))?.into_inner();
        let mut acked = 0;
        while let Some(answer) =
            answers.message().await.map_err(|status| failed("The stream of messages was lost", &status))?
        {
            match answer.result {
                Some(Answer::Ack(_)) => acked += 1,
                Some(Answer::Error(error)) => {
                    return Err(format!(
                        "A message was refused: {}",
                        error.status.unwrap_or_default().message
                    ));
                }
                Some(Answer::GoAway(_)) | None => {}
            }
        }
        if acked == total {
            Ok(acked)
        } else {
            Err(format!("The stream ended after {acked} of {total} acks"))
        }
    }

    /// Records the outcome of a conversation, and ends it.
    async fn finish(&self, ending: Ending) -> Result<(), String> {
        let Ending { analysis, interest, purchase, refunded, end } = ending;
        let (mut conversations, mut engagement) = (self.conversations.clone(), self.engagement.clone());
        let recorded = conversations.record_analysis(analysis).await;
        recorded.map_err(|status| failed("An analysis cannot be recorded", &status))?;
        let recorded = engagement.record_interest_events(interest).await;
        recorded.map_err(|status| failed("Interest cannot be recorded", &status))?;
        if let Some(purchase) = purchase {
            let bought = engagement.record_purchase(purchase).await;
            let bought = bought.map_err(|status| failed("A purchase cannot be recorded", &status))?;
            let id = bought.into_inner().purchase.unwrap_or_default().id;
            if let Some(cents) = refunded {
                let amount = Some(month::euros(cents));
                let reason = "Came too late".to_owned();
                let request = pb::RefundPurchaseRequest { id, amount, reason, ..Default::default() };
                let refunded = engagement.refund_purchase(request).await;
                refunded.map_err(|status| failed("A purchase cannot be refunded", &status))?;
            }
        }
        let ended = conversations.end_conversation(end).await;
        ended.map_err(|status| failed("A conversation cannot be ended", &status))?;
        Ok(())
    }
}

/// The outcome of a conversation, as calls.
struct Ending {
    analysis: pb::RecordAnalysisRequest,
    interest: pb::RecordInterestEventsRequest,
    purchase: Option<pb::RecordPurchaseRequest>,
    /// The refunded cents.
    refunded: Option<u64>,
    end: pb::EndConversationRequest,
}

impl Ending {
    fn of(random: &mut Random, (id, customer): (&str, &str), talk: &Talk) -> Self {
        let events = talk.interest(random, customer, id);
        Self {
            analysis: analysis(id, talk),
            interest: pb::RecordInterestEventsRequest { events, ..Default::default() },
            purchase: talk.purchase(random, customer, id),
            refunded: talk.refunded,
            end: pb::EndConversationRequest {
                id: id.to_owned(),
                end_time: Some(wire(talk.end())),
                outcome: talk.outcome.into(),
                ..Default::default()
            },
        }
    }
}

fn analysis(id: &str, talk: &Talk) -> pb::RecordAnalysisRequest {
    let matter = talk.matter;
    let objection = |kind: pb::ObjectionKind| pb::Objection {
        kind: kind.into(),
        status: pb::ObjectionStatus::Raised.into(),
        evidence: String::new(),
    };
    let analysis = pb::ConversationAnalysis {
        conversation_id: id.to_owned(),
        model: talk.model.1.to_owned(),
        covers_through_sequence: i32::try_from(matter.talk.len()).unwrap_or(0),
        topics: vec![matter.topic.to_owned()],
        questions: vec![matter.question.to_owned()],
        objections: matter.objection.map(objection).into_iter().collect(),
        sentiment: Some(pb::Sentiment { label: matter.mood.into(), ..Default::default() }),
        summary: format!("They talked about: {}.", matter.topic),
        ..Default::default()
    };
    pb::RecordAnalysisRequest { analysis: Some(analysis), ..Default::default() }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, campaign, customers, conversations, messages, .. } = self;
        writeln!(f, "tenant         {tenant}")?;
        writeln!(f, "customers      {customers}")?;
        writeln!(f, "conversations  {conversations} with {messages} messages")?;
        writeln!(
            f,
            "campaigns      {} with {} events, e.g. {campaign}",
            CAMPAIGNS.len(),
            self.campaign_events
        )?;
        writeln!(f, "interest       {} events", self.interest_events)?;
        writeln!(f, "purchases      {}, of which {} were refunded", self.purchases, self.refunds)?;
        write!(f, "time           {:.1} s", self.time.as_secs_f64())
    }
}

/// Returns what failed and why, in a sentence.
fn failed(what: &str, status: &Status) -> String {
    format!("{what}: {}.", Failure::of(status))
}
