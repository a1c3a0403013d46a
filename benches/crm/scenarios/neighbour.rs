//! A calm tenant beside one that floods the service.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{self, WatchConversationRequest};
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::dashboard::{Answer, CALLS, Filled};
use super::watch;
use crate::fill;
use crate::measure::{WARM_UP, milliseconds, quantile};
use crate::report::{Figure, Measured, NEIGHBOUR};
use crate::stage::{Stage, Tenant};
use crate::writers::{self, CONTENT, Keys};
use crate::{Result, client};

/// The time between two calls of the calm tenant, for each kind: as for a person at a desk, and an agent that talks.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long the flood runs before the calm tenant is measured: longer than the retry delay of the first refused
/// calls.
const RISE: Duration = Duration::from_secs(2);

/// How long the calm tenant waits for one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// The streams that write to conversations that do not exist.
const STREAMS: usize = 100;

/// The connections that these streams share.
const CONNECTIONS: usize = 10;

/// The messages of such a stream that wait for their answer.
const WINDOW: usize = 200;

/// The watchers that fall behind.
const WATCHERS: usize = 10_000;

/// The connections that the watchers share.
const WATCHING_CONNECTIONS: usize = 100;

/// The watched conversations, and the messages of each: some twenty pages for every watcher.
const WATCHED: (u64, u64) = (100, 240);

/// The kinds of work of the calm tenant.
const KINDS: [&str; 3] = ["acks", "GetCustomer", "watch"];

/// A flood.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Messages to conversations that do not exist, on 100 streams.
    UnknownConversations,
    /// 10,000 watchers that read conversations from their beginning, again and again.
    Watchers,
    /// This many dashboard calls at the same time.
    Dashboards(usize),
}

/// All floods.
const FLOODS: [Flood; 4] =
    [Flood::UnknownConversations, Flood::Watchers, Flood::Dashboards(32), Flood::Dashboards(256)];

/// The data for floods.
struct Neighbour {
    address: SocketAddr,
    tenant: Uuid,
    watched: Vec<String>,
    filled: Filled,
}

/// `noisy_neighbour`: the worst latency of the calm tenant over the floods, compared with its latency alone.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let neighbour = Neighbour::new(stage).await?;
    let begin = async |flood: Flood| neighbour.begin(flood).await;
    beside(stage, "noisy_neighbour", &FLOODS, begin).await
}

/// Returns the worst latency of a calm tenant beside each flood that `begin` starts, under this name.
pub(super) async fn beside<F: Copy + Debug>(
    stage: &Stage<'_>,
    name: &'static str,
    floods: &[F],
    begin: impl AsyncFn(F) -> Result<JoinSet<Result<()>>>,
) -> Result<Vec<Measured>> {
    let calm = stage.tenant().await?;
    let mut worst: Option<Measured> = None;
    for flood in floods.iter().copied() {
        stage.settle().await?;
        let alone = in_a_thread(stage, &calm).await?;
        let mut tasks = begin(flood).await?;
        sleep(RISE).await;
        let flooded = in_a_thread(stage, &calm).await?;
        if let Some(ended) = tasks.try_join_next() {
            return Err(format!("the flood {flood:?} ended: {ended:?}").into());
        }
        tasks.shutdown().await;
        for ((kind, alone), flooded) in KINDS.into_iter().zip(alone).zip(flooded) {
            let p99 =
                |took: &[f64]| Figure::of_parts(took, stage.options.rounds, |part| quantile(part, 0.99));
            let measured = Measured::new(name, p99(&flooded)?).beside(p99(&alone)?);
            let (value, baseline) = (measured.figure.value, quantile(&alone, 0.99)?);
            let medians = (quantile(&alone, 0.5)?, quantile(&flooded, 0.5)?);
            eprintln!(
                "{flood:?}: {kind} p99 {baseline:.1} ms alone, {value:.1} ms beside it; p50 {:.1} and {:.1} ms",
                medians.0, medians.1
            );
            if worst.as_ref().is_none_or(|worst| excess(worst) < excess(&measured)) {
                worst = Some(measured);
            }
        }
    }
    Ok(worst.into_iter().collect())
}

/// Returns how much of the allowed limit a result uses.
fn excess(measured: &Measured) -> f64 {
    let (ratio, milliseconds) = NEIGHBOUR;
    let baseline = measured.baseline.map_or(0.0, |baseline| baseline.value);
    measured.figure.value / milliseconds.max(baseline * ratio)
}

/// The latencies of a tenant in milliseconds, by kind, in a round.
type Waited = [Vec<f64>; 3];

/// Measures the calm tenant in a thread of its own, so that the flood's clients do not delay it.
async fn in_a_thread(stage: &Stage<'_>, calm: &Tenant) -> Result<Waited> {
    let (address, round) = (stage.address, stage.options.round());
    let (tenant, customer) = (calm.id, calm.customer.to_string());
    let conversation = stage.one_conversation(calm).await?.text(1);
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(wait(address, tenant, (customer, conversation), round))
    });
    measured.await?
}

/// Returns the latencies of one tenant in a round: it writes, reads a customer, and watches its own messages.
async fn wait(
    address: SocketAddr,
    tenant: Uuid,
    (customer, conversation): (String, String),
    round: Duration,
) -> Result<Waited> {
    let channel = client::channel(address).await?;
    let keys = Keys::new();
    let sent: Mutex<HashMap<String, Instant>> = Mutex::default();
    let mut events = watch::open_whole(&channel, tenant, conversation.clone(), false).await?;
    let warm = Instant::now() + WARM_UP;
    let end = warm + round;
    let write = async {
        let mut client = client::conversations(&channel, tenant)?;
        let (requests, outgoing) = tokio::sync::mpsc::channel(1);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut answers = client.add_message(outgoing).await?.into_inner();
        let mut number = 0;
        every_interval(warm, end, async |began| {
            number += 1;
            let key = keys.key(0, number);
            sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), began);
            requests.send(writers::message(conversation.clone(), key)).await?;
            writers::acked(answers.message().await?.ok_or("the stream ended")?)
        })
        .await
    };
    let read = every_interval(warm, end, async |_| {
        let request = pb::GetCustomerRequest { id: customer.clone(), ..Default::default() };
        client::customers(&channel, tenant)?.get_customer(request).await?;
        Ok(())
    });
    let told = async {
        let mut told = Vec::new();
        // The event of the last message comes after the round, and does not count.
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok(event) = timeout(left, watch::next(&mut events, end + LIMIT)).await else { break };
            if let Event::MessageAdded(added) = event? {
                let key = added.message.ok_or("an event without its message")?.message_key;
                let began = sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                told.extend(began.filter(|began| *began >= warm).map(|began| milliseconds(began.elapsed())));
            }
        }
        Result::Ok(told)
    };
    let (acks, customers, told) = tokio::try_join!(write, read, told)?;
    Ok([acks, customers, told])
}

/// Makes a call once in each interval until the end. Returns the milliseconds of each call after the warm-up.
async fn every_interval(
    warm: Instant,
    end: Instant,
    mut call: impl AsyncFnMut(Instant) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut took = Vec::new();
    loop {
        ticks.tick().await;
        let began = Instant::now();
        if began >= end {
            return Ok(took);
        }
        timeout(LIMIT, call(began)).await.map_err(|_| "the calm tenant got no answer in time")??;
        if began >= warm {
            took.push(milliseconds(began.elapsed()));
        }
    }
}

impl Neighbour {
    async fn new(stage: &Stage<'_>) -> Result<Self> {
        let channel = client::channel(stage.address).await?;
        let busy = stage.tenant().await?;
        let (conversations, messages) = WATCHED;
        let watched = fill::conversations(&stage.sql, busy.id, busy.conversation, conversations).await?;
        fill::messages(&stage.sql, &channel, (busy.id, busy.customer), watched, messages).await?;
        let filled = stage.shelf.month(stage).await?;
        fill::tidy(&stage.sql).await?;
        Ok(Self { address: stage.address, tenant: busy.id, watched: watched.texts(), filled })
    }

    /// Starts a flood, which runs until its tasks are stopped.
    async fn begin(&self, flood: Flood) -> Result<JoinSet<Result<()>>> {
        let mut tasks = JoinSet::new();
        match flood {
            Flood::UnknownConversations => {
                let channels = client::channels(self.address, CONNECTIONS).await?;
                for channel in channels.iter().cycle().take(STREAMS) {
                    tasks.spawn(write_to_nowhere(channel.clone(), self.tenant));
                }
            }
            Flood::Watchers => {
                let channels = client::channels(self.address, WATCHING_CONNECTIONS).await?;
                let watchers = channels.iter().cycle().zip(self.watched.iter().cycle());
                for (channel, conversation) in watchers.take(WATCHERS) {
                    tasks.spawn(read_again(channel.clone(), self.tenant, conversation.clone()));
                }
            }
            Flood::Dashboards(calls) => {
                let channels = client::channels(self.address, CONNECTIONS).await?;
                let answers = CALLS.into_iter().cycle();
                for (channel, answer) in channels.iter().cycle().zip(answers).take(calls) {
                    tasks.spawn(ask_again(self.filled, channel.clone(), answer));
                }
            }
        }
        Ok(tasks)
    }
}

/// Sends messages to conversations that do not exist, as fast as they are refused.
async fn write_to_nowhere(channel: Channel, tenant: Uuid) -> Result<()> {
    let window = Arc::new(tokio::sync::Semaphore::new(WINDOW));
    let room = Arc::clone(&window);
    let requests = stream::unfold(room, |room| async move {
        room.acquire().await.ok()?.forget();
        let message = pb::Message {
            message_key: "1".to_owned(),
            role: pb::MessageRole::User.into(),
            content: CONTENT.clone(),
            ..Default::default()
        };
        let request = pb::AddMessageRequest {
            conversation_id: Uuid::new_v4().to_string(),
            command: Some(pb::add_message_request::Command::Message(message)),
        };
        Some((request, room))
    });
    let mut client = client::conversations(&channel, tenant)?;
    let mut answers = client.add_message(requests).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if writers::acked(answer).is_ok() {
            return Err("a message to nowhere was acked".into());
        }
        window.add_permits(1);
    }
    Err("the stream ended".into())
}

/// Watches a conversation from its beginning to its last message, again and again.
async fn read_again(channel: Channel, tenant: Uuid, conversation_id: String) -> Result<()> {
    let (_, messages) = WATCHED;
    loop {
        let start = Some(Start::AfterSequence(0));
        let request = WatchConversationRequest {
            conversation_id: conversation_id.clone(),
            start,
            include_deltas: false,
        };
        let mut client = client::conversations(&channel, tenant)?;
        let events = match client.watch_conversation(request).await {
            Ok(events) => events.into_inner(),
            Err(status) => {
                come_back(status).await?;
                continue;
            }
        };
        let mut events = events.take(usize::try_from(messages)?);
        while let Some(event) = events.next().await {
            if let Err(status) = event {
                come_back(status).await?;
                break;
            }
        }
    }
}

/// Requests a dashboard again and again.
async fn ask_again(filled: Filled, channel: Channel, answer: Answer) -> Result<()> {
    loop {
        if let Err(error) = filled.last_month(&channel, answer).await {
            come_back(*error.downcast::<Status>()?).await?;
        }
    }
}

/// Waits as a refused client does.
pub(super) async fn come_back(status: Status) -> Result<()> {
    let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    match (status.code(), retry) {
        (Code::ResourceExhausted | Code::Unavailable, Some(delay)) => sleep(delay).await,
        (Code::DeadlineExceeded, _) => {}
        _ => return Err(status.into()),
    }
    Ok(())
}
