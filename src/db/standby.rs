//! A standby that answers reads whose callers accept slightly old data.
//!
//! A task repeatedly asks the primary for the position of its write-ahead log, and the standby for the position that
//! it has replayed. The standby's data is no older than the last moment at which the primary's position was not
//! beyond the replayed one. This does not depend on the clocks of both, and also holds if nothing is written. A
//! standby that does not answer any more is not read, even by callers that accept very old data: a call would wait
//! for it in vain.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::{Db, Target};

/// The time between two looks. The data of a standby seems at least about this old.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A standby that has been silent for this long is not read: several times the length of a look, and short for a
/// call.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// How many looks at the primary are remembered. The age of a standby that is further behind is unknown.
const REMEMBERED: usize = 6_000;

/// How many calls may wait for the primary's position. Further calls get none, and then read at the primary.
const WAITING: usize = 4_096;

/// Asks for the primary's position.
const WRITTEN: &str = "SELECT pg_current_wal_lsn()::text AS position";

/// Asks how far the standby has replayed. A promoted standby is the primary.
const REPLAYED: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                        ELSE pg_current_wal_lsn() END::text AS position";

/// A position in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, offset) = text.split_once('/').ok_or(())?;
        let part = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => u32::from_str_radix(digits, 16).map(u64::from).map_err(|_| ()),
            false => Err(()),
        };
        Ok(Self(part(file)? << 32 | part(offset)?))
    }
}

/// How old the data that a call reads may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The maximum age.
    pub max_staleness: Duration,
    /// The position up to which all writes must be visible.
    pub position: Option<Position>,
}

/// A standby, and what is known about it.
#[derive(Clone)]
pub struct Standby {
    db: Arc<Db>,
    state: Arc<Mutex<State>>,
    questions: mpsc::Sender<oneshot::Sender<Position>>,
}

/// The results of the looks.
#[derive(Debug, Default)]
struct State {
    /// Positions of the primary, the latest last, each with the time just before it was asked for. The standby may
    /// not have replayed them yet, except the first, which it has replayed if possible.
    written: VecDeque<(Instant, Position)>,
    /// How far the standby has replayed, and when it said so.
    replayed: Option<(Position, Instant)>,
}

impl State {
    /// Records the primary's position, which was asked for at this time.
    fn write(&mut self, asked: Instant, position: Position) {
        if self.written.len() >= REMEMBERED {
            self.written.pop_front();
        }
        // A promoted primary may begin before the position where the old primary ended.
        while self.written.back().is_some_and(|(_, last)| *last > position) {
            self.written.pop_back();
        }
        self.written.push_back((asked, position));
        self.forget();
    }

    /// Records how far the standby has replayed.
    fn replay(&mut self, position: Position) {
        self.replayed = Some((position, Instant::now()));
        self.forget();
    }

    /// Forgets the positions that the standby has replayed, except the last of them.
    fn forget(&mut self) {
        let Some((replayed, _)) = self.replayed else { return };
        while self.written.get(1).is_some_and(|(_, position)| *position <= replayed) {
            self.written.pop_front();
        }
    }

    /// How old the standby's data may be; `None` if it is silent, or so far behind that its age is unknown.
    fn age(&self) -> Option<Duration> {
        let (replayed, heard) = self.replayed?;
        if heard.elapsed() > SILENT_AFTER {
            return None;
        }
        let (asked, position) = self.written.front()?;
        (*position <= replayed).then(|| asked.elapsed())
    }

    /// Whether the standby is fresh enough for a call.
    fn serves(&self, Freshness { max_staleness, position }: Freshness) -> bool {
        let has = |position| self.replayed.is_some_and(|(replayed, _)| position <= replayed);
        self.age().is_some_and(|age| age <= max_staleness) && position.is_none_or(has)
    }
}

/// The task that looks at the primary and at the standby.
pub struct Looks {
    primary: Kept,
    standby: Kept,
    state: Arc<Mutex<State>>,
    questions: mpsc::Receiver<oneshot::Sender<Position>>,
}

impl Standby {
    /// Creates the standby of this primary, with this pool. It serves no reads before [`Looks::run`] has looked.
    pub fn new(db: Db, standby: Target, primary: Target) -> (Self, Looks) {
        let state = Arc::new(Mutex::default());
        let (questions, asked) = mpsc::channel(WAITING);
        let looks = Looks {
            primary: Kept::new(primary),
            standby: Kept::new(standby),
            state: Arc::clone(&state),
            questions: asked,
        };
        (Self { db: Arc::new(db), state, questions }, looks)
    }

    /// The standby's pool, if it is fresh enough for a call at this moment.
    pub(super) fn serving(&self, freshness: Freshness) -> Option<&Db> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.serves(freshness).then_some(&*self.db)
    }

    /// How old the standby's data may be at this moment; `None` if unknown.
    pub(super) fn age(&self) -> Option<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).age()
    }

    /// The standby's pool, however old its data is.
    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// Returns a position of the primary's log that covers every earlier commit; `None` if the primary does not
    /// answer.
    pub(super) async fn position(&self) -> Option<Position> {
        let (answer, position) = oneshot::channel();
        self.questions.try_send(answer).ok()?;
        position.await.ok()
    }
}

impl Looks {
    /// Looks until `stop`. Looks at the primary do not wait for the standby.
    pub async fn run(self, stop: CancellationToken) {
        let Self { primary, standby, state, questions } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(look_at_primary(primary, &state, questions), look_at_standby(standby, &state)) } => {}
        }
    }
}

/// Asks the primary for its position at each tick, and at once for calls that wait.
async fn look_at_primary(
    mut primary: Kept,
    state: &Mutex<State>,
    mut questions: mpsc::Receiver<oneshot::Sender<Position>>,
) {
    let mut look = looks();
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            count = questions.recv_many(&mut waiting, WAITING) => {
                if count == 0 {
                    return;
                }
            }
            _ = look.tick() => {}
        }
        let asked = Instant::now();
        match find(&mut primary, WRITTEN).await {
            Ok(position) => {
                state.lock().unwrap_or_else(PoisonError::into_inner).write(asked, position);
                for answer in waiting.drain(..) {
                    // A call that has stopped waiting does not need the position.
                    let _ = answer.send(position);
                }
            }
            Err(error) => {
                tracing::debug!(error, "the primary does not say where it is");
                // The calls notice it because their channels close.
                waiting.clear();
            }
        }
    }
}

/// Asks the standby at each tick how far it has replayed.
async fn look_at_standby(mut standby: Kept, state: &Mutex<State>) {
    let mut look = looks();
    loop {
        look.tick().await;
        match find(&mut standby, REPLAYED).await {
            Ok(position) => state.lock().unwrap_or_else(PoisonError::into_inner).replay(position),
            Err(error) => tracing::debug!(error, "the standby does not say how far it has come"),
        }
    }
}

fn looks() -> Interval {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// A row with a position.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    position: Option<String>,
}

async fn find(connection: &mut Kept, question: &'static str) -> Result<Position, String> {
    let ask = async |connection: &mut AsyncPgConnection| {
        diesel::sql_query(question).get_result::<Row>(connection).await
    };
    let Row { position } = connection.ask(PATIENCE, ask).await?;
    let position = position.ok_or("there is no position")?;
    position.parse().map_err(|()| format!("{position} is no position"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(milliseconds: u64) -> Freshness {
        Freshness { max_staleness: Duration::from_millis(milliseconds), position: None }
    }

    #[test]
    fn positions_are_as_postgres_writes_them() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/1"] {
            assert_eq!(text.parse::<Position>().expect(text).to_string(), text);
        }
        for text in ["", "/", "1", "1/", "/1", "1/2/3", "100000000/0", "g/0", "-1/0", "+1/0", " 1/0"] {
            text.parse::<Position>().expect_err(text);
        }
        assert!("1/0".parse::<Position>() > "0/FFFFFFFF".parse::<Position>());
    }

    #[test]
    fn a_standby_is_as_old_as_the_last_position_that_it_has() {
        let mut state = State::default();
        let ago = |milliseconds| Instant::now() - Duration::from_millis(milliseconds);
        assert!(!state.serves(within(u64::MAX / 2)), "nothing is known");
        state.write(ago(5_000), Position(10));
        assert!(!state.serves(within(u64::MAX / 2)));
        state.replay(Position(10));
        assert!(state.serves(within(6_000)) && !state.serves(within(4_000)));
        // Nothing is written: the data becomes fresher with each look.
        state.write(ago(3_000), Position(10));
        assert!(state.serves(within(4_000)) && !state.serves(within(2_000)));
        // The standby is behind.
        state.write(ago(1_000), Position(20));
        state.replay(Position(19));
        assert!(state.serves(within(4_000)) && !state.serves(within(2_000)));
        state.replay(Position(20));
        assert!(state.serves(within(2_000)));
        let wants = |position| Freshness { position: Some(Position(position)), ..within(2_000) };
        assert!(state.serves(wants(20)) && !state.serves(wants(21)));
    }

    #[test]
    fn one_that_is_not_heard_is_not_read() {
        let mut state = State::default();
        state.write(Instant::now(), Position(1));
        state.replay(Position(1));
        assert!(state.serves(within(60_000)));
        state.replayed = Some((Position(1), Instant::now() - SILENT_AFTER * 2));
        assert!(!state.serves(within(60_000)));
    }

    #[test]
    fn one_that_is_far_behind_is_of_no_known_age() {
        let mut state = State::default();
        state.write(Instant::now(), Position(1));
        state.replay(Position(1));
        for number in 2..=REMEMBERED as u64 + 1 {
            state.write(Instant::now(), Position(number));
        }
        assert_eq!(state.written.len(), REMEMBERED);
        assert!(!state.serves(within(u64::MAX / 2)));
        state.replay(Position(REMEMBERED as u64 + 1));
        assert!(state.serves(within(60_000)));
        assert_eq!(state.written.len(), 1);
    }

    #[test]
    fn a_primary_that_was_promoted_begins_anew() {
        let mut state = State::default();
        state.write(Instant::now(), Position(100));
        state.replay(Position(100));
        state.write(Instant::now(), Position(90));
        state.replay(Position(90));
        assert!(state.serves(within(60_000)));
        assert_eq!(state.written.len(), 1);
    }
}
