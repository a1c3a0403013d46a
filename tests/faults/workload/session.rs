//! One stream of a producer, from its beginning to its end.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crm_backend::pb;
use crm_backend::pb::MessageStatus;
use crm_backend::pb::add_message_response::Result as Answer;
use tonic::{Code, Status};

use super::job::{Kind, Stage};
use super::{Producer, named, refusal};
use crate::client::{Adding, PAUSE, is_passing};
use crate::log::{Event, Request, Subject};

/// A service that does not send a due answer for this long has lost it: a batch may take 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// After a message was abandoned or its connection lost, one in this many continues with other words.
const REWRITES_ONCE_IN: usize = 3;

/// A producer's knowledge about its stream.
struct Session {
    stream: u32,
    window: usize,
    /// The requests that wait for an answer of their own, in the order sent.
    waiting: VecDeque<(u32, Subject, Request)>,
    /// The messages of which pieces were sent, which are acked at any time.
    pieces: HashSet<Subject>,
    /// The messages in pieces that had an error. Later errors of them belong to it.
    broken: HashSet<Subject>,
    /// The conversation of the last request.
    conversation: Option<Arc<str>>,
    /// Whether no more requests are sent.
    closing: bool,
    /// Whether the server ends the stream, and does not answer what it did not receive.
    going_away: bool,
}

impl Producer {
    /// Sends and reads until the stream ends, or all work is done.
    pub(super) async fn serve(&mut self, (requests, mut responses): Adding) {
        let mut session = self.begin();
        let mut requests = Some(requests);
        loop {
            let ready = self.ready(&mut session);
            let sender = requests.clone().filter(|_| !session.closing);
            if sender.is_none() {
                requests = None;
            }
            tokio::select! {
                permit = async { sender.as_ref().expect("see below").reserve().await },
                        if sender.is_some() && !ready.is_empty() => {
                    match permit {
                        Ok(permit) => permit.send(self.draw(&ready, &mut session)),
                        // The stream has ended; reading the answers gives the reason.
                        Err(_) => session.closing = true,
                    }
                    let drops = self.work.drops_once_in;
                    if drops.is_some_and(|count| self.random.once_in(count)) {
                        // In half of the cases the requests in progress still get their answers.
                        session.closing = true;
                        if self.random.once_in(2) {
                            break;
                        }
                    }
                }
                answer = tokio::time::timeout(SILENCE, responses.message()) => {
                    let answer = answer.unwrap_or_else(|_| Err(Status::internal("nothing is said any more")));
                    if !self.hear(answer, &mut session).await {
                        break;
                    }
                }
            }
        }
        self.lose(session.stream, session.waiting);
    }

    fn begin(&mut self) -> Session {
        let stream = self.next_stream;
        self.next_stream += 1;
        self.jobs.values_mut().for_each(super::Job::lose_stream);
        Session {
            stream,
            window: self.random.within(self.work.window.clone()),
            waiting: VecDeque::new(),
            pieces: HashSet::new(),
            broken: HashSet::new(),
            conversation: None,
            closing: false,
            going_away: false,
        }
    }

    /// Returns the jobs that can continue. If there are none, all work is done, or only answers are missing.
    fn ready(&mut self, session: &mut Session) -> Vec<u32> {
        self.refill(session.window);
        if self.jobs.is_empty() {
            session.closing = true;
        }
        self.jobs.iter().filter(|(_, job)| job.is_ready()).map(|(number, _)| *number).collect()
    }

    /// Returns the next request of one of these jobs.
    fn draw(&mut self, ready: &[u32], session: &mut Session) -> pb::AddMessageRequest {
        let number = *self.random.choose(ready);
        let job = self.jobs.get_mut(&number).expect("a job");
        let (action, request) = job.next(&self.name, &mut self.random);
        let subject = job.subject.clone();
        let conversation_id = named(&subject, &mut session.conversation, &mut self.random);
        match request {
            Some(request) => {
                if request == Request::Start && job.aborted {
                    self.log.meant.get_mut(&subject).expect("it was meant").reopened = true;
                }
                session.waiting.push_back((number, subject.clone(), request));
                self.write_down(session.stream, subject, Event::Invoke(request));
            }
            None => {
                session.pieces.insert(subject);
            }
        }
        pb::AddMessageRequest { conversation_id, command: Some(action) }
    }

    /// Handles a response of the stream. Returns whether the stream goes on.
    async fn hear(
        &mut self,
        answer: Result<Option<pb::AddMessageResponse>, Status>,
        session: &mut Session,
    ) -> bool {
        match answer {
            Ok(Some(response)) => {
                match response.result.expect("a result") {
                    Answer::Ack(ack) => self.acked(&ack, session),
                    Answer::Error(error) => {
                        self.refused(error, session);
                        tokio::time::sleep(PAUSE).await;
                    }
                    Answer::GoAway(_) => {
                        session.closing = true;
                        session.going_away = true;
                    }
                }
                self.progress.send_modify(|answers| *answers += 1);
                true
            }
            Ok(None) => {
                if !session.waiting.is_empty() && !session.going_away {
                    self.fault(format!("the stream ended with OK and owes {:?}", session.waiting));
                }
                false
            }
            Err(status) => {
                if !is_passing(&status) || status.message() == "nothing is said any more" {
                    self.fault(format!("the stream ended with {status:?}"));
                }
                false
            }
        }
    }

    fn acked(&mut self, ack: &pb::MessageAck, session: &mut Session) {
        let about = Subject::of(&ack.conversation_id, &ack.message_key);
        let status = ack.status();
        let at_front = session
            .waiting
            .front()
            .is_some_and(|(_, front, request)| *front == about && fits(*request, status));
        let place = if at_front {
            Some(0)
        } else if session.pieces.contains(&about) {
            None
        } else {
            session.waiting.iter().position(|(_, waiting, _)| *waiting == about)
        };
        let answered = place.and_then(|place| session.waiting.remove(place));
        if answered.is_none() && !session.pieces.contains(&about) {
            self.fault(format!("{about:?} was acked, and nothing of it was sent"));
            return;
        }
        let event = Event::acked(answered.as_ref().map(|(_, _, request)| *request), ack);
        self.write_down(session.stream, about, event);
        if let Some((number, _, request)) = answered {
            let durable = usize::try_from(ack.durable_offset).expect("an offset");
            self.advance(number, request, status, durable);
        }
    }

    /// Continues a job after the answer to this request.
    fn advance(&mut self, number: u32, request: Request, status: MessageStatus, durable: usize) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let length = job.text.len();
        match request {
            Request::Whole => self.close(number, MessageStatus::Completed, length),
            Request::Finish => self.close(number, MessageStatus::Completed, length),
            Request::Start if status == MessageStatus::Completed => {
                self.close(number, MessageStatus::Completed, length);
            }
            Request::Start => {
                if job.stage == Stage::Resuming {
                    self.resume(number, durable);
                }
            }
            Request::Abort => {
                if durable != job.written {
                    let words =
                        format!("{:?} was given up at {} and ends at {durable}", job.subject, job.written);
                    self.log.faults.push(words);
                }
                let Kind::Pieces { reopens: true, .. } = job.kind else {
                    self.close(number, MessageStatus::Incomplete, durable);
                    return;
                };
                job.kind = Kind::Pieces { aborts: None, reopens: false };
                job.stage = Stage::Idle;
            }
        }
    }

    /// Continues a text from there, sometimes with other words.
    fn resume(&mut self, number: u32, durable: usize) {
        let job = self.jobs.get_mut(&number).expect("a job");
        if !job.text.is_char_boundary(durable) {
            let words = format!("{:?} is said to have {durable} bytes of {:?}", job.subject, job.text);
            self.fault(words);
            // Otherwise it would never end.
            self.jobs.remove(&number);
            return;
        }
        job.stage = Stage::Writing(durable);
        job.written = durable;
        // With a late start, words of the earlier text could come.
        if !job.haunted && self.random.once_in(REWRITES_ONCE_IN) {
            job.text.truncate(durable);
            job.text.push_str(&self.random.words(20));
            let meant = self.log.meant.get_mut(&job.subject).expect("it was meant");
            meant.text.clone_from(&job.text);
        }
    }

    fn refused(&mut self, error: pb::MessageError, session: &mut Session) {
        let (about, code, words) = refusal(error);
        let passing = matches!(code, Code::Unavailable | Code::DeadlineExceeded);
        *self.log.excuses.entry(format!("{code:?}: {words}")).or_default() += 1;
        if session.pieces.contains(&about) || self.is_in_pieces(&about) {
            // It is unknown which of its requests is refused, and those after it are refused with it.
            let first = session.broken.insert(about.clone());
            let rival = code == Code::FailedPrecondition && self.is_resumed(&about);
            if first && !passing && !rival && code != Code::Aborted {
                self.fault(format!("{about:?} was refused with {code:?}: {words}"));
            }
            let (lost, kept) = session.waiting.drain(..).partition(|(_, waiting, _)| *waiting == about);
            session.waiting = kept;
            self.lose(session.stream, lost);
            session.closing = true;
            return;
        }
        if !passing && code != Code::Aborted {
            self.fault(format!("{about:?} was refused with {code:?}: {words}"));
        }
        let place = session.waiting.iter().position(|(_, waiting, _)| *waiting == about);
        let Some((number, _, _)) = place.and_then(|place| session.waiting.remove(place)) else {
            self.fault(format!("{about:?} was refused, and nothing of it was sent"));
            return;
        };
        let event = if passing { Event::Unknown } else { Event::Fail(code) };
        self.write_down(session.stream, about, event);
        if let Some(job) = self.jobs.get_mut(&number) {
            job.stage = Stage::Idle;
        }
    }

    fn is_in_pieces(&self, about: &Subject) -> bool {
        let mut jobs = self.jobs.values();
        jobs.any(|job| job.subject == *about && matches!(job.kind, Kind::Pieces { .. }))
    }

    /// Whether the end of an earlier stream may come after the beginning of this one, and take its message away. The
    /// service still carries out what it received on a lost connection.
    fn is_resumed(&self, about: &Subject) -> bool {
        self.jobs.values().any(|job| job.subject == *about && job.resumed)
    }

    /// Requests without an answer may have happened, or may still happen.
    fn lose(&mut self, stream: u32, lost: VecDeque<(u32, Subject, Request)>) {
        for (number, subject, request) in lost {
            if let Some(job) = self.jobs.get_mut(&number) {
                job.haunted |= request == Request::Start;
            }
            self.write_down(stream, subject, Event::Unknown);
        }
    }
}

/// Whether an ack with this status can be the answer to this request, and not one for pieces before it.
fn fits(request: Request, status: MessageStatus) -> bool {
    match request {
        Request::Whole | Request::Start => true,
        Request::Finish => status == MessageStatus::Completed,
        Request::Abort => status == MessageStatus::Incomplete,
    }
}
