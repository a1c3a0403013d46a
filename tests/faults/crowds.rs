//! Many clients at once: on the same keys, and on one conversation.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_testkit::Random;
use crm_testkit::cluster::Database;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::Client;
use super::log::{Ack, Entry, Event, Log, Meant, Request, Subject};
use super::run::{Run, Scenario};
use super::service::Service;
use super::stage::{self, Cast, Play, verdict};
use super::workload::Work;

/// Writers of one conversation.
const CROWD: usize = 64;

/// The streams of the storm, half of them through each replica.
const STREAMS: usize = 8;

/// The conversations of the storm.
const CONVERSATIONS: usize = 4;

/// How often each key is sent, on average.
const SENDS: usize = 20;

/// How far a stream's requests may be ahead of its answers.
const AHEAD: usize = 512;

/// Returns the message of a subject, which is the same for every sender.
fn message(subject: &Subject) -> pb::AddMessageRequest {
    let message = pb::Message {
        message_key: subject.key.to_string(),
        role: pb::MessageRole::User.into(),
        content: text(subject),
        ..Default::default()
    };
    let conversation_id = subject.conversation.to_string();
    pb::AddMessageRequest { conversation_id, command: Some(Command::Message(message)) }
}

fn text(subject: &Subject) -> String {
    format!("The words of {}.", subject.key)
}

/// Sends `count` random subjects, and reads every answer.
async fn storm(mut client: Client, subjects: Arc<[Subject]>, count: usize, mut random: Random) -> Log {
    let (requests, mut responses) = client.add_messages().await.expect("a stream");
    let (sent, mut waiting) = mpsc::channel::<Subject>(AHEAD);
    let send = async move {
        for _ in 0..count {
            let subject = random.choose(&subjects);
            requests.send(message(subject)).await.expect("an open stream");
            sent.send(subject.clone()).await.expect("a reader");
        }
    };
    let read = async {
        let mut log = Log::default();
        let mut unanswered = VecDeque::new();
        while let Some(response) = responses.message().await.expect("no error") {
            let ack = match response.result.expect("a result") {
                Answer::Ack(ack) => ack,
                other => panic!("no ack: {other:?}"),
            };
            // An answer can be faster than the record of its request.
            if unanswered.is_empty() {
                unanswered.push_back(waiting.recv().await.expect("a request"));
            }
            while let Ok(subject) = waiting.try_recv() {
                unanswered.push_back(subject);
            }
            let asked = unanswered.pop_front().expect("a request");
            write_down(&mut log, asked, &ack);
        }
        log
    };
    let ((), log) = tokio::join!(send, read);
    log
}

/// Records a request and its answer. The checker compares their subjects.
fn write_down(log: &mut Log, asked: Subject, ack: &pb::MessageAck) {
    log.meant.entry(asked.clone()).or_insert_with(|| Meant::whole(text(&asked)));
    let subject = Subject::of(&ack.conversation_id, &ack.message_key);
    log.entries.push(Entry { stream: 0, subject: asked, event: Event::Invoke(Request::Whole) });
    log.entries.push(Entry { stream: 0, subject, event: Event::acked(Some(Request::Whole), ack) });
}

pub(crate) const DUPLICATES: Scenario = Scenario {
    name: "duplicates",
    fault: "duplicate storm through two replicas",
    promised: "one effect each over 1 million sends",
    play: |run| Box::pin(duplicate_storm(run)),
};

async fn duplicate_storm(mut run: Run) {
    let database = Database::new().await;
    let replicas = [Service::start(&database.url()), Service::start(&database.url())];
    let tenant = Uuid::new_v4();
    let addresses: Vec<SocketAddr> = replicas.iter().map(Service::address).collect();
    let conversations = Client::connect(addresses[0], tenant).await.create_conversations(CONVERSATIONS).await;
    let sends = run.size.pick(5_000, 1_000_000);
    let subjects: Arc<[Subject]> = (0..sends / SENDS)
        .map(|number| Subject {
            conversation: Arc::clone(&conversations[number % CONVERSATIONS]),
            key: format!("key-{number}").into(),
        })
        .collect();
    let began = Instant::now();
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let client = Client::connect(addresses[number % 2], tenant).await;
        streams.spawn(storm(client, Arc::clone(&subjects), sends / STREAMS, run.random.fork()));
    }
    let logs = streams.join_all().await;
    let took = began.elapsed();
    let stored = stage::read(&[(tenant, conversations)], addresses[0]).await;
    let figures = verdict(&logs, &stored, &[]);
    run.say(&format_args!("{} keys in {took:?}; {figures}", subjects.len()));
    check_made(&logs, figures.stored);
    for replica in replicas {
        replica.terminate();
    }
}

/// No request failed, so exactly one ack of each key says that it added the message.
fn check_made(logs: &[Log], stored: usize) {
    let mut made = BTreeMap::<&Subject, usize>::new();
    for entry in logs.iter().flat_map(|log| &log.entries) {
        if let Event::Ok(Ack { deduplicated, .. }) = entry.event {
            *made.entry(&entry.subject).or_default() += usize::from(!deduplicated);
        }
    }
    assert_eq!(made.len(), stored);
    let wrong: Vec<_> = made.iter().filter(|(_, made)| **made != 1).take(10).collect();
    assert!(wrong.is_empty(), "not added by one send: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_through_two_replicas_have_one_effect() {
    DUPLICATES.short().await;
}

pub(crate) const WRITERS: Scenario = Scenario {
    name: "writers",
    fault: "64 writers on one conversation",
    promised: "no hole",
    play: |run| Box::pin(many_writers(run)),
};

async fn many_writers(mut run: Run) {
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let cast = Cast {
        tenants: 1,
        conversations: 1,
        producers: CROWD,
        watchers: Cast::usual().watchers,
        work: Work {
            window: 1..16,
            messages: run.size.pick(20, 2_000),
            pieces_once_in: None,
            again_once_in: 8,
            drops_once_in: None,
        },
    };
    let began = Instant::now();
    let places = (service.place(), service.place());
    let play = Play::begin(&cast, &mut run.random, service.address(), places).await;
    play.answers_in_all(CROWD * cast.work.messages).await;
    let took = began.elapsed();
    let figures = play.complete(service.address()).await;
    run.say(&format_args!("{took:?}; {figures}"));
    assert_eq!(figures.acked, CROWD * cast.work.messages);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_on_one_conversation_leave_no_hole() {
    WRITERS.short().await;
}
