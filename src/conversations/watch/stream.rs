//! The I/O of one `WatchConversation` stream.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

use super::Position;
use super::actions::{self, Draft, Opening, Page};
use super::follower::{Follower, Next};
use super::ticks::{self, Ticks};
use crate::conversations::feed::{Event, Feed};
use crate::conversations::messages::actions::check_position;
use crate::conversations::rules::is_over;
use crate::db::turns::{Room, Turns};
use crate::db::{Db, Deadline, TenantTx};
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::live::hub::{RecvError, Subscription};
use crate::metrics::{Open, WatchStart};
use crate::pb::conversation_event::Event as Told;
use crate::pb::watch_conversation_request::Start;
use crate::pb::{self, ErrorReason, WatchConversationResponse};
use crate::rpc::PageKey;

/// The time without an event after which a stream tells a checkpoint.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(15);

const _: () = assert!(CHECKPOINT_AFTER.as_millis() <= ticks::LONGEST.as_millis());

/// The limit of one read of the database.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// How long a watcher retries while the database does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause before a watcher asks the database again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The number of watchers that read at once, at most half of them of one tenant. So thousands of watchers that
/// come back together leave connections to other calls.
const READERS: usize = 4;

/// The number of watchers of a tenant that may wait to read. Each is a stream, and a setting limits the number
/// of streams. This limit is above any value of the setting.
const READERS_WAITING: usize = 1 << 20;

/// The state that all streams share.
#[derive(Clone)]
pub(crate) struct Watches {
    db: Db,
    feed: Feed,
    page_key: PageKey,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// The turns to read. They are shared between tenants, so that a tenant whose watchers fall behind does not
    /// keep the others waiting.
    readers: Turns,
    /// The times of checkpoints.
    ticks: Ticks,
}

impl Watches {
    pub(crate) fn new(
        db: Db,
        feed: Feed,
        page_key: PageKey,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let ticks = Ticks::new();
        tracker.spawn(ticks.clone().run(stop.clone()));
        let readers = Turns::new(Room::halved(READERS, READERS_WAITING));
        Self { db, feed, page_key, tracker, stop, readers, ticks }
    }
}

/// A stream of responses.
pub(crate) type Responses = Pin<Box<dyn Stream<Item = Result<WatchConversationResponse, Status>> + Send>>;

/// The request of a client to watch a conversation.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) conversation_id: Uuid,
    pub(crate) start: Option<Start>,
    pub(crate) include_deltas: bool,
}

/// Begins to watch a conversation.
pub(crate) async fn open(shared: Watches, caller: Caller, params: Params) -> Result<Responses> {
    let Params { conversation_id, start, include_deltas } = params;
    // Subscribes first and reads then, so that no event between the two is missed.
    let events = shared.feed.watch(&caller, conversation_id);
    let reader = Reader { shared, caller, conversation_id };
    let opening = reader.begin(include_deltas).await?;
    let change = opening.head.change_count;
    let over = is_over(opening.head.status);
    let here = Position { sequence: opening.head.last_sequence, change, own: change, over };
    let counted = &reader.shared.db.metrics().watch;
    counted.starts[begins(start.as_ref())].inc();
    let open = Open::count(counted.watchers.clone());
    let position = reader.start(start, here)?;
    let watcher = Watcher {
        follower: Follower::new(position, include_deltas, opening),
        reader,
        events,
        heard: None,
        behind: position != here,
        quiet_since: Instant::now(),
        ended: false,
        _open: open,
    };
    Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
        let response = watcher.next().await?;
        Some((response.map_err(Status::from), watcher))
    })))
}

struct Watcher {
    reader: Reader,
    events: Subscription<Event>,
    follower: Follower,
    /// An event that was received and is not handled yet.
    heard: Option<Event>,
    /// Whether there is a page to read.
    behind: bool,
    /// The time at which the client was last told something.
    quiet_since: Instant,
    /// Whether the last response was returned.
    ended: bool,
    _open: Open,
}

fn begins(start: Option<&Start>) -> WatchStart {
    match start {
        None => WatchStart::Now,
        Some(Start::AfterSequence(_)) => WatchStart::Sequence,
        Some(Start::ResumeToken(_)) => WatchStart::Resume,
    }
}

impl Watcher {
    /// Returns the next response; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<WatchConversationResponse>> {
        loop {
            if let Some((told, position)) = self.follower.next() {
                self.quiet_since = Instant::now();
                return Some(Ok(self.reader.response(told, position)));
            }
            if self.ended {
                return None;
            }
            if self.reader.shared.stop.is_cancelled() {
                self.ended = true;
                let reason = "the server is stopping; go on through a new call with this resume_token";
                let told = Told::GoAway(pb::GoAway { reason: reason.to_owned() });
                return Some(Ok(self.reader.response(told, self.follower.position())));
            }
            // When the server stops, the stream does not wait for anything, including a database that is away.
            // A client that is told its resume token loses nothing.
            let stop = self.reader.shared.stop.clone();
            match stop.run_until_cancelled(self.advance()).await {
                Some(Err(error)) if !stop.is_cancelled() => {
                    self.ended = true;
                    return Some(Err(error));
                }
                _ => {}
            }
        }
    }

    /// Takes one step that may produce an event to tell. It may be cancelled when the server stops.
    async fn advance(&mut self) -> Result<()> {
        if self.behind {
            let page = self.reader.page(self.follower.position()).await?;
            self.behind = page.more;
            self.follower.read(page);
            return Ok(());
        }
        if let Some(event) = self.heard.take() {
            return self.hear(event).await;
        }
        let checkpoint = self.quiet_since + CHECKPOINT_AFTER;
        tokio::select! {
            // A checkpoint says that nothing happened, so it comes only if no event waits.
            biased;
            event = self.events.next() => match event {
                Ok(event) => self.heard = Some(event),
                Err(lost) => {
                    if let RecvError::Lagged(missed) = lost {
                        let counted = &self.reader.shared.db.metrics().watch;
                        counted.lagged.inc();
                        counted.missed.inc_by(missed);
                    }
                    self.doubt().await?;
                }
            },
            () = self.reader.shared.ticks.before(checkpoint) => self.follower.checkpoint(),
        }
        Ok(())
    }

    /// Handles an event. An event that cannot be told yet waits for what comes before it.
    async fn hear(&mut self, event: Event) -> Result<()> {
        match self.follower.hear(&event) {
            Next::Done => return Ok(()),
            Next::CatchUp => {
                let page = self.reader.page(self.follower.position()).await?;
                self.behind = page.more;
                self.follower.read(page);
            }
            Next::ReadText(message_id) => self.read_text(message_id).await?,
        }
        // Committed text is told by the page or by the text that was read. Uncommitted text may follow directly
        // on the watcher's new position.
        match self.follower.hear(&event) {
            Next::ReadText(message_id) if !self.behind => self.read_text(message_id).await,
            _ => Ok(()),
        }
    }

    async fn read_text(&mut self, message_id: Uuid) -> Result<()> {
        let draft = self.reader.text(message_id).await?;
        self.behind |= self.follower.read_text(message_id, draft) == Next::CatchUp;
        Ok(())
    }

    /// Reads all that may have been missed.
    async fn doubt(&mut self) -> Result<()> {
        self.behind = true;
        for message_id in self.follower.doubt() {
            self.read_text(message_id).await?;
        }
        Ok(())
    }
}

/// A watcher's access to the database.
struct Reader {
    shared: Watches,
    caller: Caller,
    conversation_id: Uuid,
}

impl Reader {
    async fn begin(&self, with_text: bool) -> Result<Opening> {
        let id = self.conversation_id;
        let begin = move |db: Db, caller: Caller| async move {
            let deadline = Deadline::after(READ_DEADLINE);
            db.snapshot(&caller, deadline, async |tx: &TenantTx| actions::begin(tx, id, with_text).await)
                .await
        };
        self.ask(begin).await
    }

    async fn page(&self, from: Position) -> Result<Page> {
        let id = self.conversation_id;
        let read = move |db: Db, caller: Caller| async move {
            let deadline = Deadline::after(READ_DEADLINE);
            db.snapshot(&caller, deadline, async |tx: &TenantTx| actions::read(tx, id, from).await).await
        };
        self.ask(read).await
    }

    async fn text(&self, message_id: Uuid) -> Result<Option<Draft>> {
        let id = self.conversation_id;
        let read = move |db: Db, caller: Caller| async move {
            let deadline = Deadline::after(READ_DEADLINE);
            db.snapshot(&caller, deadline, async |tx: &TenantTx| actions::read_text(tx, id, message_id).await)
                .await
        };
        self.ask(read).await
    }

    /// Asks the database, and retries for a while if it does not answer. Each attempt is a task of its own. A
    /// client may leave at any moment, and a transaction that is dropped half way costs its connection. The
    /// wait for a turn is part of the task. A stream whose client does not read is not polled, and a turn that
    /// it held would be lost to all others. The wait ends when the client leaves.
    async fn ask<R, F>(&self, question: impl Fn(Db, Caller) -> F) -> Result<R>
    where
        F: Future<Output = Result<R>> + Send + 'static,
        R: Send + 'static,
    {
        let Watches { db, tracker, stop, readers, .. } = &self.shared;
        let until = Instant::now() + PATIENCE;
        loop {
            db.metrics().watch.reads.inc();
            let (readers, question) = (readers.clone(), question(db.clone(), self.caller.clone()));
            let (tenant, left) = (self.caller.tenant().as_uuid(), CancellationToken::new());
            let _leaves = left.clone().drop_guard();
            let outcome = tracker.spawn(async move {
                let turn = left.run_until_cancelled(readers.take(tenant)).await;
                let Some(Ok(_turn)) = turn else { return Err(Error::overloaded()) };
                question.await
            });
            match outcome.await.map_err(Error::internal)? {
                Err(error) if error.of_all().is_some() && Instant::now() < until && !stop.is_cancelled() => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns where a watch begins, if the conversation has come to `here`.
    fn start(&self, start: Option<Start>, here: Position) -> Result<Position> {
        match start {
            None => Ok(here),
            Some(Start::AfterSequence(sequence)) => {
                let sequence = i64::from(sequence);
                check_position(sequence, here.sequence)?;
                Ok(Position { sequence, ..here })
            }
            Some(Start::ResumeToken(token)) => {
                let Watches { page_key, .. } = &self.shared;
                let read = page_key.read_position(&self.caller, self.conversation_id, &token);
                let position: Position = read.ok_or_else(foreign_token)?;
                // A later position is possible only if the database was set back to an earlier state.
                let is_past = position.sequence <= here.sequence && position.change <= here.change;
                is_past.then_some(position).ok_or_else(foreign_token)
            }
        }
    }

    fn response(&self, told: Told, position: Position) -> WatchConversationResponse {
        let resume_token = self.shared.page_key.write_position(&self.caller, self.conversation_id, &position);
        let event = pb::ConversationEvent { resume_token, event: Some(told) };
        WatchConversationResponse { event: Some(event) }
    }
}

pub(crate) fn foreign_token() -> Error {
    Error::invalid_because(
        ErrorReason::ResumeTokenInvalid,
        "resume_token",
        "resume_token",
        "must be the resume_token of an event of this conversation; use after_sequence to start elsewhere",
    )
}
