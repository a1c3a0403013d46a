//! Clients that do not read their events or acks, and many idle watchers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_testkit::cluster::Database;
use crm_testkit::meter::{self, mebibytes};
use rustix::process::Pid;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::{Adding, Client};
use super::log::{Entry, Event, Log, Meant, Request, Subject, Watched};
use super::run::{Run, Scenario};
use super::service::Service;
use super::stage::{Cast, Play, read, verdict};
use super::watchers::{End, Watcher};
use super::workload::Work;

/// The error of a memory measurement: what the allocator keeps, and buffers of connections to
/// Postgres that grow with the first large messages.
const NOISE: u64 = 24 << 20;

/// Checks the growth of a process's memory against a limit, if it can be measured. Returns it as
/// text.
fn bounded(pid: Pid, before: Option<u64>, limit: u64) -> String {
    let (Some(before), Some(now)) = (before, meter::memory(pid)) else { return "not measured".to_owned() };
    let growth = now.saturating_sub(before);
    assert!(growth <= limit, "{} grew by {}", mebibytes(before), mebibytes(growth));
    format!("{} grew by {}", mebibytes(before), mebibytes(growth))
}

/// Producers that fill one conversation with this many messages.
fn filling(messages: usize) -> Cast {
    const PRODUCERS: usize = 2;
    // Whole messages, as fast as the service accepts them.
    let work = Work {
        window: 128..129,
        messages: messages / PRODUCERS,
        pieces_once_in: None,
        again_once_in: 1_000,
        drops_once_in: None,
    };
    Cast { tenants: 1, conversations: 1, producers: PRODUCERS, watchers: 0, work }
}

/// An open watch that is not read.
struct Stalled {
    client: Client,
    watcher: Watcher,
    events: tonic::Streaming<pb::WatchConversationResponse>,
}

impl Stalled {
    /// Opens a watch on this connection.
    async fn open(mut client: Client, tenant: Uuid, conversation: &Arc<str>) -> Self {
        let watcher = Watcher::new(tenant, Arc::clone(conversation));
        let events = watcher.open(&mut client).await.expect("a watch");
        Self { client, watcher, events }
    }

    /// Reads the missed events.
    async fn catch_up(mut self, mut end: End) -> Watched {
        self.watcher.begin(self.events, &mut end).await;
        drop(self.client);
        self.watcher.into_watched()
    }
}

pub(crate) const WATCHERS: Scenario = Scenario {
    name: "stalled-watchers",
    fault: "watchers stop reading for 60 s while 100,000 messages arrive",
    promised: "catch up complete; at most 64 KB of memory per stalled stream",
    play: |run| Box::pin(stalled_watchers(run)),
};

/// Watchers of a conversation do not read while it is filled; then they do.
async fn stalled_watchers(mut run: Run) {
    /// The promised memory of each watcher.
    const EACH: u64 = 64 << 10;
    /// A connection has buffers of its own, which its streams share.
    const ON_EACH_CONNECTION: u64 = 10;
    /// The others are closed: the checker keeps all events, and has memory only for some watchers.
    const CATCH_UP: usize = 10;
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let (address, places) = (service.address(), (service.place(), service.place()));
    let messages = run.size.pick(3_000, 100_000);
    // As many before as are measured afterwards, so that everything has grown that only grows once.
    let warm = Play::begin(&filling(messages), &mut run.random, address, places.clone()).await;
    warm.complete(address).await;

    let mut play = Play::begin(&filling(messages), &mut run.random, address, places).await;
    let before = meter::memory(service.pid());
    let (tenant, conversation) = play.first_conversation();
    let count = run.size.pick(20, 400);
    let mut stalled = Vec::new();
    for _ in 0..count / ON_EACH_CONNECTION {
        let client = Client::connect(address, tenant).await;
        for _ in 0..ON_EACH_CONNECTION {
            stalled.push(Stalled::open(client.clone(), tenant, &conversation).await);
        }
    }
    let began = Instant::now();
    play.answers_in_all(messages).await;
    let arrived = began.elapsed();
    let stall = run.size.pick(Duration::ZERO, Duration::from_secs(60));
    tokio::time::sleep(stall.saturating_sub(arrived)).await;
    // So many watchers that the error of the measurement is within their allowed memory.
    let memory = bounded(service.pid(), before, EACH * count + run.size.pick(NOISE, 0));

    let began = Instant::now();
    stalled.truncate(CATCH_UP);
    for one in stalled {
        play.admit(one.catch_up(play.end()));
    }
    let figures = play.complete(address).await;
    run.say(&format_args!(
        "{count} stalled while {messages} messages came in {arrived:?}, caught up in {:?}; memory: {memory}; {figures}",
        began.elapsed(),
    ));
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_misses_nothing() {
    WATCHERS.short().await;
}

/// A stream that sends, and whose answers are not read.
struct Unread {
    subjects: Vec<Subject>,
    responses: tonic::Streaming<pb::AddMessageResponse>,
    sender: JoinSet<()>,
}

impl Unread {
    fn begin((requests, responses): Adding, conversation: &Arc<str>, count: usize, content: &str) -> Self {
        let subjects: Vec<Subject> = (0..count)
            .map(|number| Subject {
                conversation: Arc::clone(conversation),
                key: format!("u{number}").into(),
            })
            .collect();
        let (keys, content) = (subjects.clone(), content.to_owned());
        let mut sender = JoinSet::new();
        sender.spawn(async move {
            for Subject { conversation, key } in keys {
                let message = pb::Message {
                    message_key: key.to_string(),
                    role: pb::MessageRole::User.into(),
                    content: content.clone(),
                    ..Default::default()
                };
                let conversation_id = conversation.to_string();
                let request =
                    pb::AddMessageRequest { conversation_id, command: Some(Command::Message(message)) };
                requests.send(request).await.expect("an open stream");
            }
        });
        Self { subjects, responses, sender }
    }

    /// Reads all answers, and logs them.
    async fn read(mut self, content: String) -> Log {
        let mut log = Log::default();
        let stream = 0;
        for subject in &self.subjects {
            let event = Event::Invoke(Request::Whole);
            log.entries.push(Entry { stream, subject: subject.clone(), event });
            log.meant.insert(subject.clone(), Meant::whole(content.clone()));
        }
        while let Some(response) = self.responses.message().await.expect("no error") {
            let ack = match response.result.expect("a result") {
                Answer::Ack(ack) => ack,
                other => panic!("no ack: {other:?}"),
            };
            let subject = Subject::of(&ack.conversation_id, &ack.message_key);
            let event = Event::acked(Some(Request::Whole), &ack);
            log.entries.push(Entry { stream, subject, event });
        }
        self.sender.join_next().await.expect("a sender").expect("no panic");
        log
    }
}

/// Waits until a conversation no longer grows, because the service has stopped reading its sender.
async fn stands_still(client: &mut Client, conversation: &str) -> i32 {
    const UNCHANGED: usize = 25;
    const INTERVAL: Duration = Duration::from_millis(20);
    let (mut stored, mut unchanged) = (0, 0);
    while unchanged < UNCHANGED {
        tokio::time::sleep(INTERVAL).await;
        let count = client.count_messages(conversation).await.expect("a count");
        unchanged = if count > 0 && count == stored { unchanged + 1 } else { 0 };
        stored = count;
    }
    stored
}

pub(crate) const SENDERS: Scenario = Scenario {
    name: "unread-acks",
    fault: "senders never read their acks",
    promised: "memory bounded; all acked once they read",
    play: |run| Box::pin(unread_acks(run)),
};

async fn unread_acks(mut run: Run) {
    /// The memory that one such stream may hold: a window of 4 MiB, as received, as messages, as
    /// values of a statement, and as bytes for Postgres.
    const EACH: u64 = 16 << 20;
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let (tenant, mut logs, mut conversations) = (Uuid::new_v4(), Vec::new(), Vec::new());
    let mut observer = Client::connect(service.address(), tenant).await;
    let count = run.size.pick(4_000, 20_000);
    let streams = run.size.pick(2, 8);
    let content = run.random.words(run.size.pick(100, 8_000));
    let mut unread = Vec::new();
    observer.warm_up().await;
    let before = meter::memory(service.pid());
    for conversation in observer.create_conversations(streams).await {
        let mut client = Client::connect(service.address(), tenant).await;
        let stream = client.add_messages().await.expect("a stream");
        unread.push((client, Unread::begin(stream, &conversation, count, &content)));
        conversations.push(conversation);
    }
    let mut taken = Vec::new();
    for conversation in &conversations {
        let stored = stands_still(&mut observer, conversation).await;
        assert!(stored < i32::try_from(count).expect("a count"), "nothing holds the sender back");
        taken.push(stored);
    }
    let memory = bounded(service.pid(), before, EACH * streams as u64 + NOISE);
    let mut reading = JoinSet::new();
    for (client, unread) in unread {
        let content = content.clone();
        reading.spawn(async move {
            let log = unread.read(content).await;
            drop(client);
            log
        });
    }
    logs.extend(reading.join_all().await);
    let figures = verdict(&logs, &read(&[(tenant, conversations)], service.address()).await, &[]);
    run.say(&format_args!("held back after {taken:?} of {count} each; memory: {memory}; {figures}"));
    assert_eq!(figures.acked, count * streams);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_does_not_read_is_held_back_and_then_acked() {
    SENDERS.short().await;
}

pub(crate) const IDLE: Scenario = Scenario {
    name: "idle-watchers",
    fault: "10,000 idle watchers on 100 connections",
    promised: "at most 250 MB, at most 5 % of a core",
    play: |run| Box::pin(idle_watchers(run)),
};

async fn idle_watchers(run: Run) {
    const ON_EACH_CONNECTION: usize = 100;
    const MEMORY: u64 = 250 << 20;
    // The same for each of fewer.
    const EACH: u64 = 25 << 10;
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let tenant = Uuid::new_v4();
    let mut owner = Client::connect(service.address(), tenant).await;
    let conversations = owner.create_conversations(ON_EACH_CONNECTION).await;
    let connections = run.size.pick(5, 100);
    let unused = meter::memory(service.pid());
    let mut idle = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(service.address(), tenant).await;
        for conversation in &conversations {
            let watcher = Watcher::new(tenant, Arc::clone(conversation));
            idle.push(watcher.open(&mut client).await.expect("a watch"));
        }
    }
    let time = run.size.pick(Duration::from_secs(3), Duration::from_secs(20));
    let before = meter::busy(service.pid());
    tokio::time::sleep(time).await;
    let busy = meter::busy(service.pid());
    let all = MEMORY.saturating_sub(unused.unwrap_or(0));
    let memory = bounded(service.pid(), unused, run.size.pick(EACH * idle.len() as u64 + NOISE, all));
    match (before, busy) {
        (Some(before), Some(after)) => {
            let busy = after - before;
            run.say(&format_args!("{} idle: {memory}, busy {busy:?} of {time:?}", idle.len()));
            // A twentieth of a core; of one that runs a program without optimisation, a fifth.
            assert!(busy <= time / run.size.pick(5, 20), "busy {busy:?} of {time:?}");
        }
        _ => run.say(&format_args!("SKIPPED: this system does not tell what a process uses")),
    }
    drop(idle);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_watchers_cost_little() {
    IDLE.short().await;
}
