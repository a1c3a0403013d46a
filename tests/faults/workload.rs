//! Clients that add messages, whole and in pieces, in spite of all connection failures, and log
//! requests and outcomes.

mod job;
mod session;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use crm_backend::pb;
use crm_backend::pb::MessageStatus;
use crm_testkit::Random;
use tokio::sync::watch;
use uuid::Uuid;

use super::client::{Client, PAUSE};
use super::log::{Entry, Event, Log, Meant, Subject};
use job::{Job, Kind};

/// The characters of a usual text, of a text in pieces, and of a large one, which is rare.
const SHORT: Range<usize> = 1..120;
const IN_PIECES: Range<usize> = 1..300;
const LARGE: Range<usize> = 2_000..20_000;
const LARGE_ONCE_IN: usize = 100;

/// The acked messages that are kept to be sent again.
const PAST: usize = 64;

/// The address of the service; it changes when a server is restarted or another one takes over.
pub(crate) type Place = watch::Receiver<SocketAddr>;

/// The parameters of a producer.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// The number of messages in progress, drawn anew for each stream.
    pub(crate) window: Range<usize>,
    /// The total number of messages, unless it is stopped before.
    pub(crate) messages: usize,
    /// One in this many messages comes in pieces.
    pub(crate) pieces_once_in: Option<usize>,
    /// One in this many requests repeats a message that was acked.
    pub(crate) again_once_in: usize,
    /// It drops its stream after one in this many requests.
    pub(crate) drops_once_in: Option<usize>,
}

/// A client of one tenant.
pub(crate) struct Producer {
    name: String,
    tenant: Uuid,
    conversations: Vec<Arc<str>>,
    work: Work,
    random: Random,
    log: Log,
    /// The messages in progress.
    jobs: BTreeMap<u32, Job>,
    past: Vec<(Subject, String)>,
    next_number: u32,
    next_stream: u32,
    stop: watch::Receiver<bool>,
    /// Counts the answers of all producers.
    progress: watch::Sender<usize>,
}

impl Producer {
    pub(crate) fn new(
        name: String,
        tenant: Uuid,
        conversations: Vec<Arc<str>>,
        work: Work,
        random: Random,
        (stop, progress): (watch::Receiver<bool>, watch::Sender<usize>),
    ) -> Self {
        Self {
            name,
            tenant,
            conversations,
            work,
            random,
            log: Log::default(),
            jobs: BTreeMap::new(),
            past: Vec::new(),
            next_number: 0,
            next_stream: 0,
            stop,
            progress,
        }
    }

    /// Works until everything that it began is acked, and it is stopped or has sent its last
    /// message.
    pub(crate) async fn run(mut self, place: Place) -> Log {
        let mut client = None;
        while !self.is_done() {
            let address = *place.borrow();
            client = match client.filter(|(known, _)| *known == address) {
                Some(client) => Some(client),
                None => Client::try_connect(address, self.tenant).await.ok().map(|client| (address, client)),
            };
            let opened = match &mut client {
                Some((_, client)) => client.add_messages().await.ok(),
                None => None,
            };
            match opened {
                Some(stream) => self.serve(stream).await,
                None => {
                    client = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.log
    }

    fn is_done(&self) -> bool {
        self.jobs.is_empty() && !self.takes_more()
    }

    fn takes_more(&self) -> bool {
        !*self.stop.borrow() && (self.next_number as usize) < self.work.messages
    }

    /// Begins as many messages as may be in progress.
    fn refill(&mut self, window: usize) {
        while self.jobs.len() < window && self.takes_more() {
            let number = self.next_number;
            self.next_number += 1;
            let again = !self.past.is_empty() && self.random.once_in(self.work.again_once_in);
            let job = if again { self.repeated() } else { self.new_job(number) };
            self.jobs.insert(number, job);
        }
    }

    fn new_job(&mut self, number: u32) -> Job {
        let conversation = Arc::clone(self.random.choose(&self.conversations));
        let subject = Subject { conversation, key: format!("{}-{number}", self.name).into() };
        let in_pieces = self.work.pieces_once_in.is_some_and(|count| self.random.once_in(count));
        let length = match (in_pieces, self.random.once_in(LARGE_ONCE_IN)) {
            (_, true) => LARGE,
            (true, false) => IN_PIECES,
            (false, false) => SHORT,
        };
        let length = self.random.within(length);
        let text = self.random.words(length);
        let kind = if in_pieces {
            let aborts = self.random.once_in(5).then(|| self.random.within(0..text.len()));
            Kind::Pieces { aborts, reopens: self.random.once_in(2) }
        } else {
            Kind::Whole
        };
        let meant = Meant { text: text.clone(), end: None, reopened: false };
        self.log.meant.insert(subject.clone(), meant);
        Job::new(subject, text, kind)
    }

    fn repeated(&mut self) -> Job {
        let (subject, text) = self.random.choose(&self.past).clone();
        Job::new(subject, text, Kind::Again)
    }

    /// Ends a job: the message has this status and a text of this length.
    fn close(&mut self, number: u32, end: MessageStatus, length: usize) {
        let Some(job) = self.jobs.remove(&number) else { return };
        let meant = self.log.meant.get_mut(&job.subject).expect("it was meant");
        meant.end = Some(end);
        meant.text.truncate(length);
        if job.kind == Kind::Whole {
            if self.past.len() == PAST {
                let place = self.random.within(0..PAST);
                self.past.swap_remove(place);
            }
            self.past.push((job.subject, job.text));
        }
    }

    fn write_down(&mut self, stream: u32, subject: Subject, event: Event) {
        self.log.entries.push(Entry { stream, subject, event });
    }

    fn fault(&mut self, text: String) {
        self.log.faults.push(format!("{}: {text}", self.name));
    }
}

/// Returns the conversation of a request, which is sometimes left out if it is that of the previous
/// request.
fn named(subject: &Subject, before: &mut Option<Arc<str>>, random: &mut Random) -> String {
    let same = before.as_ref() == Some(&subject.conversation);
    *before = Some(Arc::clone(&subject.conversation));
    if same && random.once_in(2) { String::new() } else { subject.conversation.to_string() }
}

/// Returns the code and the text of an error in a stream.
fn refusal(error: pb::MessageError) -> (Subject, tonic::Code, String) {
    let pb::MessageError { message_key, status, conversation_id } = error;
    let status = status.expect("a status");
    (Subject::of(&conversation_id, &message_key), tonic::Code::from_i32(status.code), status.message)
}
