//! The I/O of one `AddMessage` stream: requests in, writes to the lanes, answers out.

use std::time::Instant;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::audited::{Audit, Author};
use super::rules::Outcome;
use super::session::{Session, Step};
use super::wire;
use super::writer::{Pending, Reply, Writer};
use crate::conversations::feed::{Event, Feed};
use crate::live::bus::Topic;
use crate::live::lanes::Lanes;
use crate::pb::{AddMessageRequest, AddMessageResponse};
use crate::rpc::layer::room::Meter;

/// The limit of answers that wait for the client to read them, beside those that HTTP/2 has taken: enough to
/// fill a frame.
pub(crate) const ANSWERS: usize = 64;

/// A response, or the end of the stream.
type Answer = Result<AddMessageResponse, Status>;

/// The state that all streams share.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) lanes: Lanes<Writer>,
    pub(crate) feed: Feed,
    pub(crate) stop: CancellationToken,
    pub(crate) audit: Audit,
}

/// The state of a stream that is served.
struct Stream {
    shared: Streams,
    author: Author,
    session: Session,
    /// Counts the requests that were read and are not answered.
    meter: Option<Meter>,
    /// The steps that the session asks for.
    steps: Vec<Step>,
    /// The channel over which the lanes return the outcomes of writes.
    replies: mpsc::UnboundedSender<(u64, Outcome)>,
    outcomes: mpsc::UnboundedReceiver<(u64, Outcome)>,
    responses: mpsc::Sender<Answer>,
    /// Whether the client may send more.
    reads: bool,
    /// The status that the stream ends with, if it broke off.
    broken: Option<Status>,
}

/// Serves a stream until the client closes it or goes away, or the server stops. The requests read so far are
/// committed in any case.
pub(crate) async fn serve(
    shared: Streams,
    author: Author,
    (mut requests, meter): (Streaming<AddMessageRequest>, Option<Meter>),
    responses: mpsc::Sender<Answer>,
) {
    let (replies, outcomes) = mpsc::unbounded_channel();
    let mut stream = Stream {
        shared,
        author,
        session: Session::new(Uuid::new_v4()),
        meter,
        steps: Vec::new(),
        replies,
        outcomes,
        responses,
        reads: true,
        broken: None,
    };
    while stream.reads || !stream.session.is_settled() {
        stream.turn(&mut requests).await;
        stream.submit();
        if let Some(meter) = &stream.meter {
            meter.hold(stream.session.unanswered_bytes());
        }
    }
    if let Some(status) = stream.broken.take() {
        // A client that is gone does not receive it.
        let _ = stream.responses.send(Err(status)).await;
    }
}

impl Stream {
    /// Waits for something to happen, and handles all that has happened.
    async fn turn(&mut self, requests: &mut Streaming<AddMessageRequest>) {
        let due = self.session.due().map(tokio::time::Instant::from_std);
        let may_read = self.reads && self.session.has_room();
        let gone = self.responses.is_closed();
        tokio::select! {
            Some((ticket, outcome)) = self.outcomes.recv() => {
                self.session.settle(ticket, outcome, &mut self.steps);
                while let Ok((ticket, outcome)) = self.outcomes.try_recv() {
                    self.session.settle(ticket, outcome, &mut self.steps);
                }
                self.send();
            }
            request = requests.next(), if may_read => {
                self.take(request);
                while self.reads && self.session.has_room()
                    && let Some(request) = requests.next().now_or_never()
                {
                    self.take(request);
                }
                self.send();
            }
            () = room_for_one(&self.responses), if self.session.has_answer() && !gone => self.send(),
            () = wait_until(due), if due.is_some() => {
                self.session.flush_due(Instant::now(), &mut self.steps);
            }
            () = self.shared.stop.cancelled(), if self.reads => {
                self.end();
                self.session.say(wire::go_away("the server is stopping; go on through a new stream"));
                self.send();
            }
            // No client would read an answer: the call's deadline has passed, or the client is gone.
            () = self.responses.closed(), if self.reads || self.session.has_answer() => {
                if self.reads {
                    self.end();
                }
                while self.answer().is_some() {}
            }
        }
    }

    fn take(&mut self, request: Option<Result<AddMessageRequest, Status>>) {
        match request {
            Some(Ok(request)) => {
                if let Some(meter) = &self.meter {
                    meter.take();
                }
                self.session.accept(request, Instant::now(), &mut self.steps);
            }
            Some(Err(status)) => {
                // The bytes are not a request, or the client is gone and will not receive an answer.
                tracing::debug!(code = ?status.code(), "a stream broke off");
                self.broken = Some(status);
                self.end();
            }
            None => self.end(),
        }
    }

    /// Stops reading, and stores the text that was read.
    fn end(&mut self) {
        self.reads = false;
        self.session.flush_all(&mut self.steps);
    }

    /// Sends the answers that are decided, while the client reads them.
    fn send(&mut self) {
        while self.session.has_answer() {
            let Ok(permit) = self.responses.clone().try_reserve_owned() else { return };
            if let Some(answer) = self.answer() {
                permit.send(Ok(answer));
            }
        }
    }

    /// Returns the next answer that is decided. A refusal is recorded in the audit log, even if no client reads
    /// it.
    fn answer(&mut self) -> Option<AddMessageResponse> {
        let answer = self.session.answer()?;
        self.shared.audit.note(&self.author, &answer);
        Some(answer)
    }

    /// Takes the steps that the session asks for.
    fn submit(&mut self) {
        let Self { shared: Streams { lanes, feed, .. }, author, steps, replies, .. } = self;
        let mut writes = Vec::new();
        for step in steps.drain(..) {
            match step {
                Step::Write(ticket, write) => {
                    let reply = Reply::new(ticket, replies.clone());
                    writes.push(Pending { author: author.clone(), write, reply });
                }
                Step::Show(conversation_id, text) => {
                    let (topic, event) = (Topic::of(&author.caller, conversation_id), Event::Text(text));
                    feed.tell_others(topic, &event);
                    feed.tell_here(topic, || event);
                }
                Step::Lose(conversation_id, mark) => {
                    let (topic, event) = (Topic::of(&author.caller, conversation_id), Event::Lost(mark));
                    feed.tell_others(topic, &event);
                    feed.tell_here(topic, || event);
                }
            }
        }
        if !writes.is_empty() {
            lanes.submit(writes);
        }
    }
}

async fn room_for_one(responses: &mpsc::Sender<Answer>) {
    // The result does not matter: the next turn sees whether there is room, and whether the client is gone.
    let _ = responses.reserve().await;
}

async fn wait_until(instant: Option<tokio::time::Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant).await;
    }
}
