//! A standby that may answer reads whose callers allow what is a little old.
//!
//! A task asks the primary how long its write-ahead log is, and the standby how much of that it has replayed, again and
//! again. What the standby shows is no older than the moment at which the primary's log was last no longer than that.
//! This holds whatever the clocks of both say, and also where nothing is written. A standby that is not heard any more
//! is not read, however old a caller allows what it reads to be: a call would wait for it in vain.

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

/// The time between two looks, which is about how old what a standby shows seems at least.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A standby that has not been heard for so long is not read: several times what a look takes, and short for calls.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Looks at the primary that are remembered: a standby that is further behind is not known to be of any age.
const REMEMBERED: usize = 6_000;

/// Calls that wait to be told where the primary is. More are not told, and read at the primary.
const WAITING: usize = 4_096;

/// Where the primary is.
const WRITTEN: &str = "SELECT pg_current_wal_lsn()::text AS position";

/// How far the standby has come. One that was promoted is the primary.
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

/// How old what a call reads may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Older than this it is not.
    pub max_staleness: Duration,
    /// All that was written up to here is there.
    pub position: Option<Position>,
}

/// A standby, and what is known of it.
#[derive(Clone)]
pub struct Standby {
    db: Arc<Db>,
    state: Arc<Mutex<State>>,
    questions: mpsc::Sender<oneshot::Sender<Position>>,
}

/// What the looks have found.
#[derive(Debug, Default)]
struct State {
    /// The positions of the primary, the latest last, that the standby may not have replayed; each with when it was
    /// not yet asked for. The first is one that it has, where there is one.
    written: VecDeque<(Instant, Position)>,
    /// How far the standby has come, and when it said so.
    replayed: Option<(Position, Instant)>,
}

impl State {
    /// Notes where the primary is, as it was asked at this time.
    fn write(&mut self, asked: Instant, position: Position) {
        if self.written.len() >= REMEMBERED {
            self.written.pop_front();
        }
        // A primary that was promoted may begin before where the other ended.
        while self.written.back().is_some_and(|(_, last)| *last > position) {
            self.written.pop_back();
        }
        self.written.push_back((asked, position));
        self.forget();
    }

    /// Notes how far the standby has come.
    fn replay(&mut self, position: Position) {
        self.replayed = Some((position, Instant::now()));
        self.forget();
    }

    /// Leaves out what the standby has replayed, but for the last of it.
    fn forget(&mut self) {
        let Some((replayed, _)) = self.replayed else { return };
        while self.written.get(1).is_some_and(|(_, position)| *position <= replayed) {
            self.written.pop_front();
        }
    }

    /// How old what the standby shows may be. `None` where it is silent, or too far behind to be known.
    fn age(&self) -> Option<Duration> {
        let (replayed, heard) = self.replayed?;
        if heard.elapsed() > SILENT_AFTER {
            return None;
        }
        let (asked, position) = self.written.front()?;
        (*position <= replayed).then(|| asked.elapsed())
    }

    /// Whether the standby shows what a call wants.
    fn serves(&self, Freshness { max_staleness, position }: Freshness) -> bool {
        let has = |position| self.replayed.is_some_and(|(replayed, _)| position <= replayed);
        self.age().is_some_and(|age| age <= max_staleness) && position.is_none_or(has)
    }
}

/// The task that looks at both.
pub struct Looks {
    primary: Kept,
    standby: Kept,
    state: Arc<Mutex<State>>,
    questions: mpsc::Receiver<oneshot::Sender<Position>>,
}

impl Standby {
    /// The standby with this pool at this place, of this primary. Nothing is read there before [`Looks::run`] has looked.
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

    /// Its pool, if it shows what a call wants at this moment.
    pub(super) fn serving(&self, freshness: Freshness) -> Option<&Db> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.serves(freshness).then_some(&*self.db)
    }

    /// How old what it shows may be at this moment; `None` where that is not known.
    pub(super) fn age(&self) -> Option<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).age()
    }

    /// Its pool, however old what it shows is.
    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// A position up to which all is written that was committed before; none where the primary does not say.
    pub(super) async fn position(&self) -> Option<Position> {
        let (answer, position) = oneshot::channel();
        self.questions.try_send(answer).ok()?;
        position.await.ok()
    }
}

impl Looks {
    /// Looks again and again, until `stop`. Answers about the primary do not wait for the standby.
    pub async fn run(self, stop: CancellationToken) {
        let Self { primary, standby, state, questions } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(look_at_primary(primary, &state, questions), look_at_standby(standby, &state)) } => {}
        }
    }
}

/// Asks the primary where it is, again and again, and at once for calls that wait.
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
                    // A call that does not wait any more does not need it.
                    let _ = answer.send(position);
                }
            }
            Err(error) => {
                tracing::debug!(error, "the primary does not say where it is");
                // The calls learn it by the end of their channels.
                waiting.clear();
            }
        }
    }
}

/// Asks the standby how far it has come, again and again.
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
        // Nothing is written: it becomes newer by itself.
        state.write(ago(3_000), Position(10));
        assert!(state.serves(within(4_000)) && !state.serves(within(2_000)));
        // It is behind.
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
