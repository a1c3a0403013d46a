//! Commits writes to messages in batches, and tells the writers and the watchers their outcomes.

mod reply;

pub(crate) use reply::{Pending, Reply, Settled};

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::actions::{self, Holding};
use super::audited::{Audit, Author, Due, Place};
use super::counter::{Counter, Uncounted};
use super::rules::few::{self, Few};
use super::rules::{self, Addition, BatchState, Change, Effect, Outcome, Placed, Write};
use super::store::Message;
use crate::conversations::feed::{Event, Feed, Mark};
use crate::db::{BatchTx, Db, Deadline, Statements, TenantTx, Whose, one_flight, retried};
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::live::bus::Topic;
use crate::live::drought::Drought;
use crate::live::lanes::{Commit, Lanes};
use crate::metrics::{Lane, Written};
use crate::times;
use crate::traces::Trace;

/// The limit of a batch, with the waits for a connection and for locks. A stream has no deadline of its own
/// that could limit it.
const BATCH_DEADLINE: Duration = Duration::from_secs(10);

/// Commits writes to messages.
pub(crate) struct Writer {
    pub(crate) db: Db,
    pub(crate) feed: Feed,
    /// The time that a message stays in progress after the last write to it.
    pub(crate) lease: Duration,
    pub(crate) counter: Counter,
    pub(crate) audit: Audit,
    pub(crate) drought: Drought,
}

impl Commit for Writer {
    type Item = Pending;

    const LANE: Lane = Lane::Messages;

    fn topic(&self, pending: &Pending) -> Topic {
        Topic::of(&pending.author.caller, pending.write.conversation_id)
    }

    fn asked<'i>(&self, pending: &'i Pending) -> (&'i Trace, Instant) {
        (pending.author.caller.trace(), pending.reply.asked)
    }

    /// Commits all writes in one transaction. Returns the writes to conversations that another transaction has
    /// locked. If the transaction fails, and one of the writes may be the cause, returns all of them.
    async fn together(&self, pending: Vec<Pending>, trace: &Trace) -> Vec<Pending> {
        match self.transact(&pending, Holding::Free, trace).await {
            Ok(done) => self.settle(pending, done),
            Err(error) if error.of_all().is_some() && !error.is_of_part() => {
                self.refuse_all(pending, error);
                Vec::new()
            }
            Err(error) => {
                tracing::debug!(%error, writes = pending.len(), "a batch is tried again apart");
                pending
            }
        }
    }

    /// Commits the writes of one conversation in one transaction, once no other transaction has it locked. If
    /// this fails, each write gets its own transaction, so that a poison message harms only itself.
    async fn apart(&self, pending: Vec<Pending>, trace: &Trace) {
        let mut left = pending;
        while let Some(first) = left.first() {
            let id = first.write.conversation_id;
            match self.transact_again(&left, id, trace).await {
                Ok(done) => left = self.settle(left, done),
                Err(error) if left.len() == 1 || error.of_all().is_some() => {
                    self.refuse_all(std::mem::take(&mut left), error);
                }
                Err(_) => {
                    for one in std::mem::take(&mut left) {
                        let one = vec![one];
                        match self.transact_again(&one, id, trace).await {
                            Ok(done) => drop(self.settle(one, done)),
                            Err(error) => self.refuse_all(one, error),
                        }
                    }
                }
            }
        }
    }

    fn refuse(&self, pending: Vec<Pending>) {
        self.refuse_all(pending, Error::overloaded());
    }
}

/// Submits one write, and waits for its outcome.
pub(crate) async fn write(
    lanes: &Lanes<Writer>,
    author: Author,
    deadline: Deadline,
    write: Write,
) -> Result<Settled> {
    let (reply, settled) = oneshot::channel();
    lanes.submit([Pending { author, write, reply: Reply::to_call(reply) }]);
    let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
    match tokio::time::timeout(remaining, settled).await {
        Ok(Ok(settled)) => settled,
        Ok(Err(_)) => Err(Error::internal("a write has no outcome")),
        Err(_) => Err(Error::DeadlineExceeded),
    }
}

/// The result of a transaction.
struct Done {
    /// The outcomes of the writes; `None` for a write that must come again.
    outcomes: Vec<Option<Outcome>>,
    /// The messages that were closed.
    closed: Vec<Message>,
    /// The time of the transaction.
    now: DateTime<Utc>,
}

impl Done {
    /// Returns the writes that have no outcome yet.
    fn left<'p>(&self, pending: &'p [Pending]) -> Vec<Share<'p>> {
        let all = pending.iter().enumerate().zip(&self.outcomes);
        share(all.filter(|(_, outcome)| outcome.is_none()).map(|(pending, _)| pending))
    }

    /// Notes the outcomes of the writes of a share.
    fn note(&mut self, share: &Share<'_>, outcomes: Vec<Option<Outcome>>) {
        for (place, outcome) in share.places.iter().zip(outcomes) {
            if let Some(slot) = self.outcomes.get_mut(*place) {
                *slot = outcome;
            }
        }
    }
}

/// The writes of one tenant, each with its index in the batch.
struct Share<'p> {
    caller: &'p Caller,
    places: Vec<usize>,
    pending: Vec<&'p Pending>,
    writes: Vec<&'p Write>,
}

impl Writer {
    async fn transact_again(&self, pending: &[Pending], id: Uuid, trace: &Trace) -> Result<Done> {
        let deadline = Deadline::after(BATCH_DEADLINE);
        retried(deadline, || self.transact(pending, Holding::Only(id), trace)).await
    }

    /// Commits writes in one transaction. They are the writes of all conversations that no other transaction
    /// has locked, or of this one, once no other transaction has it locked. A few new messages have a transaction of
    /// their own before that.
    async fn transact(&self, pending: &[Pending], holding: Holding, trace: &Trace) -> Result<Done> {
        let now = times::now();
        let mut done = Done { outcomes: pending.iter().map(|_| None).collect(), closed: Vec::new(), now };
        let shares = done.left(pending);
        let Some(Share { caller, .. }) = shares.first() else { return Ok(done) };
        let caller = Caller::clone(caller).within(trace);
        let tx = self.open(&caller, pending, holding).await?;
        if let Some(few) = Self::few(&shares, holding) {
            self.add_few(&tx, &shares, &few, &mut done).await?;
        }
        let left = done.left(pending);
        if left.is_empty() {
            return Ok(done);
        }
        match self.look_up_and_write(&tx, &left, holding, &mut done).await {
            // What was added stays, and the rest comes again.
            Err(error) if done.outcomes.iter().any(Option::is_some) => {
                tracing::debug!(%error, "a few messages were added, and the rest is tried again apart");
                Ok(done)
            }
            outcome => outcome.map(|()| done),
        }
    }

    /// Looks up what writes find, plans them, and commits what was planned.
    async fn look_up_and_write(
        &self,
        tx: &BatchTx,
        shares: &[Share<'_>],
        holding: Holding,
        done: &mut Done,
    ) -> Result<()> {
        let now = done.now;
        let find = shares.iter().map(|share| {
            tx.as_tenant(share.caller, async |tx: &TenantTx| actions::find(tx, &share.writes, holding).await)
        });
        let mut found = match tx.begin(one_flight(find)).await {
            Ok(found) => found,
            Err(error) => {
                tx.rollback().await;
                return Err(error);
            }
        };
        if holding == Holding::Free {
            let held = self.find_held(tx, shares, &found).await?;
            found.iter_mut().for_each(|found| found.held.clone_from(&held));
        }
        recall(tx, shares, &mut found).await?;
        let plans: Vec<_> = shares.iter().zip(found).map(|(share, found)| self.plan(share, found)).collect();
        let due: Vec<_> = shares.iter().zip(&plans).map(|(share, plan)| self.due(share, plan, now)).collect();
        let apply = shares.iter().zip(&plans).zip(&due).map(|((share, plan), Due { events, .. })| {
            tx.as_tenant(share.caller, async |tx: &TenantTx| actions::apply(tx, plan, events, now).await)
        });
        done.closed = tx.commit(one_flight(apply)).await?.into_iter().flatten().collect();
        due.iter().for_each(|due| self.audit.enter(due));
        for (share, plan) in shares.iter().zip(plans) {
            done.note(share, plan.outcomes);
        }
        Ok(())
    }

    /// Returns the messages of a batch that one flight may add, those of each share, if they are few.
    fn few<'p>(shares: &[Share<'p>], holding: Holding) -> Option<Vec<Few<'p>>> {
        let count: usize = shares.iter().map(|share| share.writes.len()).sum();
        let may = holding == Holding::Free && count <= few::MOST;
        may.then(|| shares.iter().map(|share| Few::of(&share.writes)).collect()).flatten()
    }

    /// Adds messages in one flight. A message that is not new has no outcome after that, and so has one whose conversation
    /// does not take it or is locked.
    async fn add_few<'p>(
        &self,
        tx: &BatchTx,
        shares: &[Share<'p>],
        few: &[Few<'p>],
        done: &mut Done,
    ) -> Result<()> {
        let now = done.now;
        let due: Vec<_> =
            shares.iter().zip(few).map(|(share, few)| self.due_if_added(share, few, now)).collect();
        let add = shares.iter().zip(few).zip(&due).map(|((share, few), Due { events, .. })| {
            tx.as_tenant(share.caller, async |tx: &TenantTx| actions::add_few(tx, few, events, now).await)
        });
        let added = match tx.only(one_flight(add)).await {
            Ok(added) => added,
            // Nothing was changed.
            Err(error) if error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
        };
        for ((share, due), (heads, added_to)) in shares.iter().zip(&due).zip(added) {
            self.audit.enter_some(due, |conversation_id| added_to.contains(conversation_id));
            let plan = self.plan(share, BatchState { heads, ..BatchState::default() });
            done.note(share, few::added(plan, &share.writes, &added_to));
        }
        Ok(())
    }

    /// Opens a transaction for writes, if a connection is free before the first of them has waited too long.
    async fn open(&self, caller: &Caller, pending: &[Pending], holding: Holding) -> Result<BatchTx> {
        let began = Instant::now();
        let asked = pending.iter().map(|pending| pending.reply.asked).min().unwrap_or(began);
        let waited = self.drought.endured(asked);
        let deadline = Deadline::after(BATCH_DEADLINE);
        let run = async |tx: &TenantTx| actions::warm(tx).await;
        let statements = Statements { name: "messages", run };
        let whose = match holding {
            Holding::Free => Whose::Many,
            Holding::Only(_) => Whose::One,
        };
        let tx = self.db.batch(caller, whose, waited, deadline, statements).await;
        // A tenant without a free connection says nothing about other tenants.
        if whose == Whose::Many {
            self.drought.note(tx.is_ok(), began);
        }
        tx
    }

    /// Returns the conversations that another transaction has locked. Writes to conversations that do not exist
    /// are refused within the batch: to commit each apart would make others wait. Asks the database only if a
    /// conversation was not found.
    async fn find_held(&self, tx: &BatchTx, shares: &[Share<'_>], found: &[BatchState]) -> Result<Vec<Uuid>> {
        let missing: Vec<Vec<Uuid>> =
            shares.iter().zip(found).map(|(share, found)| missing(share, found)).collect();
        if missing.iter().all(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let some = shares.iter().zip(&missing).filter(|(_, missing)| !missing.is_empty());
        let find = some.map(|(share, missing)| {
            tx.as_tenant(share.caller, async |tx: &TenantTx| actions::find_held(tx, missing).await)
        });
        match tx.flight(one_flight(find)).await {
            Ok(held) => Ok(held.into_iter().flatten().collect()),
            Err(error) => {
                tx.rollback().await;
                Err(error)
            }
        }
    }

    fn plan<'p>(&self, share: &Share<'p>, found: BatchState) -> rules::Plan<'p> {
        rules::plan(share.writes.iter().copied(), found, self.lease)
    }

    /// Returns the events of the audit log that a share needs.
    fn due<'p>(&self, share: &Share<'p>, plan: &'p rules::Plan<'p>, now: DateTime<Utc>) -> Due<'p> {
        let placed = |outcome: &Option<Outcome>| {
            let placed = outcome.as_ref()?.as_ref().ok().filter(|placed| placed.effect != Effect::None)?;
            Some(Place { conversation_id: placed.conversation_id, sequence: placed.sequence })
        };
        let writes = share.pending.iter().copied().zip(&plan.outcomes);
        self.audit.due(writes.filter_map(|(pending, outcome)| Some((&pending.author, placed(outcome)?))), now)
    }

    /// Returns the events of the audit log that a few messages need if they are added. Their sequences are places among
    /// the new messages of a conversation.
    fn due_if_added<'p>(&self, share: &Share<'p>, few: &Few<'p>, now: DateTime<Utc>) -> Due<'p> {
        let place = |addition: &Addition<'_>| Place {
            conversation_id: addition.message.conversation_id,
            sequence: addition.sequence,
        };
        let writes = share.pending.iter().zip(&few.additions);
        self.audit.due(writes.map(|(pending, addition)| (&pending.author, place(addition))), now)
    }

    /// Tells the outcomes of writes: first to the watchers, then to the writers. Returns the writes that must
    /// come again.
    fn settle(&self, pending: Vec<Pending>, done: Done) -> Vec<Pending> {
        let Done { outcomes, mut closed, now } = done;
        let mut left = Vec::new();
        let mut moved: HashMap<Topic, (i64, i64)> = HashMap::new();
        for (mut pending, outcome) in pending.into_iter().zip(outcomes) {
            let Some(outcome) = outcome else {
                left.push(pending);
                continue;
            };
            self.db.metrics().writes[written(&outcome)].inc();
            if let Ok(placed) = &outcome
                && placed.effect != Effect::None
            {
                let topic = Topic::of(&pending.author.caller, placed.conversation_id);
                self.count(&pending, placed, &closed);
                self.tell(topic, &pending.write, now, placed, &mut closed);
                note(&mut moved, topic, placed);
            }
            let Pending { write, reply, author: _ } = &mut pending;
            reply.send(outcome, write, now);
        }
        for (topic, (sequence, change)) in moved {
            self.feed.tell_others(topic, &Event::Moved { sequence, change });
        }
        left
    }

    /// Queues a text to be counted, if it was not counted when it was written.
    fn count(&self, Pending { author, write, .. }: &Pending, placed: &Placed, closed: &[Message]) {
        let (revision, content) = match (&write.change, placed.effect) {
            (Change::Add(message), Effect::Added) if message.token_count.is_none() => (1, &message.content),
            (_, Effect::Closed { .. }) => match closed.iter().find(|message| message.id == placed.id) {
                Some(message) => (message.revision, &message.content),
                None => return,
            },
            _ => return,
        };
        let (caller, content) = (author.caller.clone(), content.clone());
        self.counter.count(Uncounted { caller, id: placed.id, revision, content });
    }

    fn refuse_all(&self, pending: Vec<Pending>, error: Error) {
        self.db.metrics().writes[Written::Failed].inc_by(pending.len() as u64);
        refuse(pending, error);
    }

    /// Tells the watchers what a write did.
    fn tell(
        &self,
        topic: Topic,
        write: &Write,
        now: DateTime<Utc>,
        placed: &Placed,
        closed: &mut Vec<Message>,
    ) {
        let (sequence, offset, since) = (placed.sequence, placed.durable_offset, Some(placed.since));
        let mark = Mark { sequence, offset, since, holder: holder(&write.change) };
        match placed.effect {
            Effect::None => {}
            Effect::Added => {
                if let Change::Add(message) | Change::Start { message, .. } = &write.change {
                    self.feed.tell_here(topic, || {
                        let row = Message::of(message, placed.sequence, placed.status, now);
                        Event::Added(Arc::new(row.into()))
                    });
                }
            }
            Effect::Extended => {
                self.feed.tell_here(topic, || Event::Durable(mark));
                self.feed.tell_others(topic, &Event::Durable(mark));
            }
            Effect::Held => {
                self.feed.tell_here(topic, || Event::Held(mark));
                self.feed.tell_others(topic, &Event::Held(mark));
            }
            Effect::Reopened { change } => {
                self.feed.tell_here(topic, || Event::Moved { sequence: placed.sequence, change });
            }
            Effect::Restarted { .. } => self.feed.tell_here(topic, || Event::Restarted(mark)),
            Effect::Closed { change } => {
                let found = closed.iter().position(|message| message.id == placed.id);
                if let Some(message) = found.map(|index| closed.swap_remove(index)) {
                    let event = || Event::Closed { change, message: Arc::new(message.into()) };
                    self.feed.tell_here(topic, event);
                }
            }
        }
    }
}

/// Reads the stored text that writes send again, and compares writes with the messages that they repeat. Nearly
/// always a batch has neither, and nothing is asked.
async fn recall(tx: &BatchTx, shares: &[Share<'_>], found: &mut [BatchState]) -> Result<()> {
    let again: Vec<_> = shares
        .iter()
        .zip(found.iter())
        .map(|(share, found)| {
            let said = rules::said_again(&share.writes, &found.known);
            (said, rules::repeats(&share.writes, &found.known))
        })
        .collect();
    if again.iter().all(|(said, repeats)| said.is_empty() && repeats.is_empty()) {
        return Ok(());
    }
    let recall = shares.iter().zip(&again).map(|(share, (said, repeats))| {
        tx.as_tenant(share.caller, async |tx: &TenantTx| actions::recall(tx, said, repeats).await)
    });
    match tx.flight(one_flight(recall)).await {
        Ok(recalled) => {
            for (found, (texts, compared)) in found.iter_mut().zip(recalled) {
                (found.texts, found.compared) = (texts, compared);
            }
            Ok(())
        }
        Err(error) => {
            tx.rollback().await;
            Err(error)
        }
    }
}

/// Returns the stream that asks for a change; `None` if the change needs no stream.
fn holder(change: &Change) -> Option<Uuid> {
    match change {
        Change::Start { holder, .. }
        | Change::Extend { holder, .. }
        | Change::Finish { holder, .. }
        | Change::Abort { holder } => Some(*holder),
        Change::Add(_) | Change::Expire => None,
    }
}

/// Notes how far a conversation has come.
fn note(moved: &mut HashMap<Topic, (i64, i64)>, topic: Topic, placed: &Placed) {
    let change = match placed.effect {
        Effect::Added => 0,
        Effect::Reopened { change } | Effect::Restarted { change } | Effect::Closed { change } => change,
        Effect::None | Effect::Held | Effect::Extended => return,
    };
    let (known_sequence, known_change) = moved.entry(topic).or_default();
    *known_sequence = placed.sequence.max(*known_sequence);
    *known_change = change.max(*known_change);
}

fn share<'p>(pending: impl IntoIterator<Item = (usize, &'p Pending)>) -> Vec<Share<'p>> {
    let mut shares: Vec<Share<'_>> = Vec::new();
    for (place, pending) in pending {
        let caller = &pending.author.caller;
        let known = shares.iter().position(|share| share.caller.tenant() == caller.tenant());
        let known = known.unwrap_or_else(|| {
            shares.push(Share { caller, places: Vec::new(), pending: Vec::new(), writes: Vec::new() });
            shares.len() - 1
        });
        if let Some(share) = shares.get_mut(known) {
            share.places.push(place);
            share.pending.push(pending);
            share.writes.push(&pending.write);
        }
    }
    shares
}

/// Returns the conversations of a share that were not found.
fn missing(share: &Share<'_>, found: &BatchState) -> Vec<Uuid> {
    let heads: HashSet<Uuid> = found.heads.iter().map(|head| head.id).collect();
    let ids = share.writes.iter().map(|write| write.conversation_id);
    let mut missing: Vec<Uuid> = ids.filter(|id| !heads.contains(id)).collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Returns how the outcome of a write is counted.
fn written(outcome: &Outcome) -> Written {
    match outcome.as_ref().map(|placed| placed.effect) {
        Err(_) => Written::Failed,
        Ok(Effect::None) => Written::Repeated,
        Ok(Effect::Added) => Written::Added,
        Ok(Effect::Extended) => Written::Extended,
        Ok(Effect::Held | Effect::Reopened { .. } | Effect::Restarted { .. }) => Written::Held,
        Ok(Effect::Closed { .. }) => Written::Closed,
    }
}

fn refuse(pending: Vec<Pending>, error: Error) {
    for (mut pending, error) in pending.into_iter().zip(iter::successors(Some(error), Error::of_all)) {
        pending.reply.refuse(error);
    }
}
