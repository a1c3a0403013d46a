//! The time from the ack of a message to the watchers of its conversation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{ConversationEvent, WatchConversationRequest, WatchConversationResponse};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::costs::Work;
use crate::measure::{WARM_UP, milliseconds, quantile};
use crate::report::Measured;
use crate::stage::{Stage, TENANTS};
use crate::writers::{self, Keys};
use crate::{Result, client, perf};

/// The number of watched conversations.
const CONVERSATIONS: usize = 100;

/// The total number of watchers: ten of each conversation.
const WATCHERS: usize = 1_000;

/// The connections that the watchers share, with some tens of watchers each.
pub(super) const CONNECTIONS: usize = 20;

/// The streams that write, each to five conversations. They are assigned to the tenants in turn.
/// Their number is a multiple of the tenants', so the conversations of a stream belong to one
/// tenant.
const WRITERS: usize = 5 * TENANTS;

/// The time between two messages, over all streams together: 1,000 per second.
const INTERVAL: Duration = Duration::from_millis(1);

/// The watches that are opened at the same time: each queries the database, which answers some at a
/// time.
pub(super) const OPENING: usize = 16;

/// The time before the first message is due, so that no stream is late with it.
pub(super) const LEAD: Duration = Duration::from_millis(200);

/// How long after the last message is due its event may come. After that it is lost.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// A watch of a conversation.
pub(super) type Events = Streaming<WatchConversationResponse>;

/// `watch_p99`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let mut values = Vec::new();
    for _ in 0..stage.options.rounds {
        stage.settle().await?;
        let conversations = conversations(stage).await?;
        let watches = watching(stage, &conversations).await?;
        values.push(quantile(&round(stage, &conversations, watches, Some(Work::Told)).await?, 0.99)?);
    }
    Ok(vec![Measured::rounds("watch_p99", &values)?])
}

/// Watches a conversation from now on, without the text of messages in progress.
pub(super) async fn open_now(channel: &Channel, tenant: Uuid, conversation_id: String) -> Result<Events> {
    open(channel, tenant, WatchConversationRequest { conversation_id, ..Default::default() }).await
}

/// Watches a conversation from its first message on.
pub(super) async fn open_whole(
    channel: &Channel,
    tenant: Uuid,
    conversation_id: String,
    include_deltas: bool,
) -> Result<Events> {
    // So nothing is missed: "from now on" would leave out events while the request is on its way.
    let start = Some(Start::AfterSequence(0));
    open(channel, tenant, WatchConversationRequest { conversation_id, start, include_deltas }).await
}

async fn open(channel: &Channel, tenant: Uuid, request: WatchConversationRequest) -> Result<Events> {
    Ok(client::conversations(channel, tenant)?.watch_conversation(request).await?.into_inner())
}

/// Returns the next event of a watch, which must not end.
pub(super) async fn next(events: &mut Events, limit: Instant) -> Result<Event> {
    loop {
        let response = timeout_at(limit, events.message()).await;
        let response = response.map_err(|_| "a watcher was not told everything in time")??;
        let event = response.ok_or("a watch ended")?.event;
        if let Some(ConversationEvent { event: Some(event), .. }) = event {
            return Ok(event);
        }
    }
}

/// When messages are due, and when their acks came.
struct Schedule {
    begin: Instant,
    /// Microseconds from the beginning, by the number of the message; 0 if there is no ack.
    acked: Vec<AtomicU64>,
}

impl Schedule {
    fn new(round: Duration) -> Result<Self> {
        let messages = (WARM_UP + round).as_millis() / INTERVAL.as_millis();
        // All conversations have the same number of messages.
        let messages = usize::try_from(messages)?.next_multiple_of(CONVERSATIONS);
        let acked = (0..messages).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { begin: Instant::now() + LEAD, acked })
    }

    fn due(&self, number: usize) -> Result<Instant> {
        Ok(self.begin + INTERVAL * u32::try_from(number)?)
    }

    /// Returns the microseconds from the beginning to now.
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns the time at which all waits end.
    fn limit(&self) -> Result<Instant> {
        Ok(self.due(self.acked.len())? + GRACE)
    }

    /// Returns the milliseconds from the ack of a message to the event at `told`; 0 if the event
    /// came first.
    fn lateness(&self, number: usize, told: u64) -> Result<f64> {
        let acked = self.acked.get(number).ok_or("a message that nobody sent")?.load(Ordering::Relaxed);
        Ok(milliseconds(Duration::from_micros(told.saturating_sub(acked))))
    }
}

/// A conversation, and its tenant.
pub(super) type Watched = (Uuid, String);

/// The keys of the messages that a watcher is told of.
pub(super) type Told = BoxStream<'static, Result<String>>;

/// Creates the conversations of a round.
pub(super) async fn conversations(stage: &Stage<'_>) -> Result<Vec<Watched>> {
    stage.fresh_conversations(CONVERSATIONS as u64).await
}

/// Returns the conversation of each watcher.
pub(super) fn watchers(conversations: &[Watched]) -> impl Iterator<Item = &Watched> {
    conversations.iter().cycle().take(WATCHERS)
}

/// Opens the watches of a round.
pub(super) async fn watching(stage: &Stage<'_>, conversations: &[Watched]) -> Result<Vec<Told>> {
    let channels = client::channels(stage.address, CONNECTIONS).await?;
    stream::iter(watchers(conversations).zip(channels.iter().cycle()))
        .map(async |((tenant, conversation), channel)| {
            let events = open_whole(channel, *tenant, conversation.clone(), false).await?;
            Ok(events.err_into().try_filter_map(async |response| key(response)).boxed())
        })
        .buffered(OPENING)
        .try_collect()
        .await
}

/// Returns the key of the message in an event; `None` if it is another event.
fn key(response: WatchConversationResponse) -> Result<Option<String>> {
    match response.event {
        Some(ConversationEvent { event: Some(Event::MessageAdded(added)), .. }) => {
            Ok(Some(added.message.ok_or("an event without its message")?.message_key))
        }
        _ => Ok(None),
    }
}

/// Returns how late every event came in a round, in milliseconds. Perhaps records what each costs.
pub(super) async fn round(
    stage: &Stage<'_>,
    conversations: &[Watched],
    watches: Vec<Told>,
    work: Option<Work>,
) -> Result<Vec<f64>> {
    let recording = perf::begin().await?;
    let running = work.map(|work| stage.costs.begin(work));
    let schedule = Arc::new(Schedule::new(stage.options.round())?);
    let mut watchers = JoinSet::new();
    for events in watches {
        watchers.spawn(watch(events, Arc::clone(&schedule)));
    }
    write_all(stage, conversations, &schedule).await?;
    let warm = usize::try_from(WARM_UP.as_millis() / INTERVAL.as_millis())?;
    let (mut late, mut events) = (Vec::new(), 0);
    while let Some(told) = watchers.join_next().await {
        for (number, at) in told?? {
            events += 1;
            if number >= warm {
                late.push(schedule.lateness(number, at)?);
            }
        }
    }
    if let Some(running) = running {
        running.end(events);
    }
    perf::end(recording).await?;
    Ok(late)
}

/// Receives all messages of a conversation. Returns their numbers, with the times at which they came.
async fn watch(mut told: Told, schedule: Arc<Schedule>) -> Result<Vec<(usize, u64)>> {
    let (expected, limit) = (schedule.acked.len() / CONVERSATIONS, schedule.limit()?);
    let mut times = Vec::with_capacity(expected);
    while times.len() < expected {
        let key = timeout_at(limit, told.try_next()).await;
        let key = key.map_err(|_| "a watcher was not told everything in time")??;
        let number = writers::number(&key.ok_or("a watch ended")?)?;
        times.push((usize::try_from(number)?, schedule.now()));
    }
    Ok(times)
}

/// Sends all messages when they are due, and receives their acks.
async fn write_all(
    stage: &Stage<'_>,
    conversations: &[(Uuid, String)],
    schedule: &Arc<Schedule>,
) -> Result<()> {
    let channel = client::channel(stage.address).await?;
    let keys = Keys::new();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // Messages go to the conversations in turn, so a writer always has the same ones.
        let mine: Vec<_> = conversations.iter().skip(writer).step_by(WRITERS).cloned().collect();
        writers.spawn(write(channel.clone(), mine, writer, keys, Arc::clone(schedule)));
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(
    channel: Channel,
    conversations: Vec<(Uuid, String)>,
    writer: usize,
    keys: Keys,
    schedule: Arc<Schedule>,
) -> Result<()> {
    let tenant = conversations.first().ok_or("a writer without conversations")?.0;
    let (requests, outgoing) = mpsc::channel(conversations.len());
    let mut client = client::conversations(&channel, tenant)?;
    let mut answers = client.add_message(ReceiverStream::new(outgoing)).await?.into_inner();
    let numbers = (writer..schedule.acked.len()).step_by(WRITERS);
    let send = async {
        for (number, (_, conversation)) in numbers.clone().zip(conversations.iter().cycle()) {
            sleep_until(schedule.due(number)?).await;
            let key = keys.key(writer, number as u64);
            requests.send(writers::message(conversation.clone(), key)).await?;
        }
        Result::Ok(())
    };
    // Acks come in the order of the messages.
    let take = async {
        for number in numbers.clone() {
            let answer = answers.message().await?.ok_or("the stream ended")?;
            let acked = schedule.acked.get(number).ok_or("an ack too many")?;
            acked.store(schedule.now().max(1), Ordering::Relaxed);
            writers::acked(answer)?;
        }
        Result::Ok(())
    };
    tokio::try_join!(send, take).map(|_| ())
}
