//! Messages that arrive while a model writes them, each with a watcher.

use std::time::Duration;

use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::{
    AddMessageRequest, AddMessageResponse, MessageDelta, MessageFinish, MessageRole, MessageStart,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

use super::watch::{self, Events, GRACE, LEAD, OPENING};
use crate::costs::Work;
use crate::measure::{WARM_UP, milliseconds, quantile};
use crate::report::{Figure, Measured};
use crate::stage::Stage;
use crate::{Result, client, perf, writers};

/// The number of messages in progress.
const MESSAGES: u32 = 200;

/// The time between two deltas of a message: 50 per second, as from a fast model.
const INTERVAL: Duration = Duration::from_millis(20);

/// The bytes of the deltas in turn, as tokens have them.
const LENGTHS: [u32; 5] = [5, 12, 20, 8, 15];

/// The connections of the writers, and also of the watchers.
const CONNECTIONS: usize = 8;

/// The requests of a writer that may wait to be sent. In practice none waits, but a task must not wait for another
/// one before its next delta is due.
const AHEAD: usize = 64;

/// How long Postgres may keep the counts of an idle connection to itself: 10 s, and a bit.
const STATISTICS_DELAY: Duration = Duration::from_secs(11);

/// The key of the only message in its conversation.
const KEY: &str = "tokens";

/// `token_delta_p99` and `token_rows_per_delta`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let script = Script::new(stage.options.round());
    let before = rows(stage).await?;
    let mut values = Vec::new();
    for _ in 0..stage.options.rounds {
        stage.settle().await?;
        values.push(quantile(&round(stage, script).await?, 0.99)?);
    }
    let mut measured = Vec::new();
    if stage.options.wants("token_rows_per_delta") {
        tokio::time::sleep(STATISTICS_DELAY).await;
        let deltas = f64::from(stage.options.rounds) * f64::from(MESSAGES) * f64::from(script.deltas);
        let value = (rows(stage).await? - before) / deltas;
        measured.push(Measured::new("token_rows_per_delta", Figure::once(value)));
    }
    measured.push(Measured::rounds("token_delta_p99", &values)?);
    Ok(measured)
}

/// Returns the number of text rows that were ever written.
async fn rows(stage: &Stage<'_>) -> Result<f64> {
    let sql = "SELECT n_tup_ins::float8 FROM pg_stat_user_tables WHERE relname = 'message_pieces'";
    Ok(stage.sql.query_one(sql, &[]).await?.get(0))
}

/// The deltas of every message.
#[derive(Clone, Copy)]
struct Script {
    deltas: u32,
    /// The first deltas, which do not count.
    warm: u32,
}

impl Script {
    fn new(round: Duration) -> Self {
        let count = |time: Duration| (time.as_millis() / INTERVAL.as_millis()) as u32;
        Self { deltas: count(WARM_UP + round), warm: count(WARM_UP) }
    }

    /// Returns the bytes of the text before a delta.
    fn offset(number: u32) -> u32 {
        let turns = LENGTHS.len() as u32;
        let whole = number / turns * LENGTHS.iter().sum::<u32>();
        whole + LENGTHS.iter().take((number % turns) as usize).sum::<u32>()
    }

    /// Returns the bytes of the whole text.
    fn length(self) -> u32 {
        Self::offset(self.deltas)
    }
}

/// The times at which the deltas of a message are due.
#[derive(Clone, Copy)]
struct Schedule {
    script: Script,
    first: Instant,
}

impl Schedule {
    fn due(self, number: u32) -> Instant {
        self.first + INTERVAL * number
    }

    fn limit(self) -> Instant {
        self.due(self.script.deltas) + GRACE
    }
}

/// Returns how late every delta reached its watcher in a round, in milliseconds.
async fn round(stage: &Stage<'_>, script: Script) -> Result<Vec<f64>> {
    let conversations = stage.fresh_conversations(MESSAGES.into()).await?;
    let watching = client::channels(stage.address, CONNECTIONS).await?;
    let writing = client::channels(stage.address, CONNECTIONS).await?;
    let pairs = watching.iter().zip(&writing).cycle();
    let messages: Vec<(Events, Writer)> = stream::iter(conversations.into_iter().zip(pairs))
        .map(|((tenant, conversation), (watching, writing))| async move {
            let events = watch::open_whole(watching, tenant, conversation.clone(), true).await?;
            Result::Ok((events, Writer::start(writing, tenant, conversation).await?))
        })
        .buffered(OPENING)
        .try_collect()
        .await?;
    let recording = perf::begin().await?;
    let running = stage.costs.begin(Work::Delta);
    let begin = Instant::now() + LEAD;
    let (mut watchers, mut writers) = (JoinSet::new(), JoinSet::new());
    for (number, (events, writer)) in (0..).zip(messages) {
        // Spread over the time between two deltas of one message.
        let first = begin + INTERVAL * number / MESSAGES;
        let schedule = Schedule { script, first };
        watchers.spawn(watch(events, schedule));
        writers.spawn(writer.write(schedule));
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    let mut late = Vec::new();
    while let Some(told) = watchers.join_next().await {
        late.extend(told??);
    }
    running.end(u64::from(MESSAGES) * u64::from(script.deltas));
    perf::end(recording).await?;
    Ok(late)
}

/// Receives the text of a message until it is finished, and returns how late each delta came. A delta has come when
/// its last byte has, however the service combined it with others.
async fn watch(mut events: Events, schedule: Schedule) -> Result<Vec<f64>> {
    let mut late = Vec::with_capacity(schedule.script.deltas as usize);
    let mut told = 0;
    while told < schedule.script.deltas {
        let end = match watch::next(&mut events, schedule.limit()).await? {
            Event::MessageDelta(text) | Event::MessageSnapshot(text) => {
                usize::try_from(text.offset)? + text.text.len()
            }
            Event::MessageFinished(_) => schedule.script.length() as usize,
            _ => 0,
        };
        let now = Instant::now();
        while told < schedule.script.deltas && Script::offset(told + 1) as usize <= end {
            if told >= schedule.script.warm {
                late.push(milliseconds(now.saturating_duration_since(schedule.due(told))));
            }
            told += 1;
        }
    }
    Ok(late)
}

/// A stream with a message in progress.
struct Writer {
    requests: mpsc::Sender<AddMessageRequest>,
    answers: Streaming<AddMessageResponse>,
}

impl Writer {
    /// Starts a message, and waits until it is stored.
    async fn start(channel: &Channel, tenant: Uuid, conversation_id: String) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(AHEAD);
        let mut client = client::conversations(channel, tenant)?;
        let mut answers = client.add_message(ReceiverStream::new(outgoing)).await?.into_inner();
        let start = MessageStart {
            message_key: KEY.to_owned(),
            role: MessageRole::Assistant.into(),
            ..Default::default()
        };
        requests.send(AddMessageRequest { conversation_id, command: Some(Command::Start(start)) }).await?;
        writers::acked(answers.message().await?.ok_or("the stream ended")?)?;
        Ok(Self { requests, answers })
    }

    /// Sends every delta when it is due, and then finishes the message.
    async fn write(self, schedule: Schedule) -> Result<()> {
        let Self { requests, mut answers } = self;
        let send = async move {
            for number in 0..schedule.script.deltas {
                let (offset, end) = (Script::offset(number), Script::offset(number + 1));
                let delta = MessageDelta {
                    message_key: KEY.to_owned(),
                    offset: offset.try_into()?,
                    text: "oat milk ".chars().cycle().take((end - offset) as usize).collect(),
                };
                sleep_until(schedule.due(number)).await;
                requests.send(request(Command::Delta(delta))).await?;
            }
            let finish = MessageFinish {
                message_key: KEY.to_owned(),
                length: schedule.script.length().try_into()?,
                ..Default::default()
            };
            requests.send(request(Command::Finish(finish))).await?;
            Result::Ok(())
        };
        // The sending side is closed when all is sent, and the stream ends after the last ack.
        let take = async {
            while let Some(answer) = timeout_at(schedule.limit(), answers.message()).await?? {
                writers::acked(answer)?;
            }
            Result::Ok(())
        };
        tokio::try_join!(send, take).map(|_| ())
    }
}

/// Returns a request for the conversation of the previous request.
fn request(action: Command) -> AddMessageRequest {
    AddMessageRequest { conversation_id: String::new(), command: Some(action) }
}
