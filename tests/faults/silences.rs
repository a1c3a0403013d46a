//! Postgres runs, but the service's connections get no answers any more: the processes at their other end are
//! stopped, or the bytes on them are lost, and neither is reported. New connections work.

use std::time::{Duration, Instant};

use crm_testkit::cluster::Database;

use super::backends::Operator;
use super::proxy::Proxy;
use super::run::{Run, Scenario};
use super::sentries::Sentries;
use super::service::{Service, Setup};
use super::stage::{Cast, Play};

/// The promise: every call is answered, and works again, within this time.
const HEALED: Duration = Duration::from_secs(15);

/// The same for debug programs beside other tests.
const HEALED_IN_TESTS: Duration = Duration::from_secs(40);

/// The deadline of calls: much longer than the promise, so that it does not end them.
const DEADLINE: Duration = Duration::from_secs(120);

/// The connections of the pool. Postgres keeps its end of lost connections.
const CONNECTIONS: &str = "8";

/// The maximum number of answers between two faults.
const ANSWERS: usize = 300;

/// The number of answers to streams whose conversations may all be locked by processes that are stopped in a
/// transaction: as many as there are streams. Such locks cannot be taken away, so these requests are refused in time.
const REFUSALS: usize = 4;

fn setup(url: &str) -> Setup {
    let deadline = DEADLINE.as_millis().to_string();
    Setup::of(url).with(&["--default-deadline", &deadline, "--database-connections", CONNECTIONS])
}

/// The results.
#[derive(Default)]
struct Reached {
    /// How long everything took to recover, and which call took longest.
    slowest_to_heal: (Duration, &'static str),
}

impl Reached {
    fn note(&mut self, healed: Vec<(&'static str, Duration)>) {
        for (what, took) in healed {
            self.slowest_to_heal = self.slowest_to_heal.max((took, what));
        }
    }
}

/// Waits until all calls work again after a fault at this moment, including streams that were open before it.
async fn all_go_on(
    (play, answers): (&Play, usize),
    sentries: &Sentries,
    limit: Duration,
) -> Vec<(&'static str, Duration)> {
    let fault = Instant::now();
    let streams = async {
        let answers = tokio::time::timeout(limit, play.answers(answers)).await;
        answers.unwrap_or_else(|_| panic!("open streams do not go on within {limit:?}"));
        ("open streams", fault.elapsed())
    };
    let (mut healed, streams) = tokio::join!(sentries.healed(fault, limit), streams);
    healed.push(streams);
    healed
}

/// Lets all clients finish, reports the results, and compares them with the promise.
async fn conclude(
    run: &Run,
    faults: &str,
    reached: Reached,
    sentries: Sentries,
    (play, service): (Play, Service),
) {
    let slowest = sentries.finish().await;
    let figures = play.finish(service.address()).await;
    let (healed, last) = reached.slowest_to_heal;
    run.say(&format_args!(
        "{faults}; all went on after {healed:?} at most ({last} last), the slowest answer in {slowest:?}; {figures}"
    ));
    let limit = run.size.pick(HEALED_IN_TESTS, HEALED);
    assert!(slowest <= limit, "an answer after {slowest:?}");
    service.terminate();
}

pub(crate) const STOPPED: Scenario = Scenario {
    name: "stopped-backends",
    fault: "the processes of Postgres that serve the service are stopped (SIGSTOP), and go on later",
    promised: "appends, writes, lookups and watches are answered and go on within 15 s, while they are still \
               stopped, and health reports it; writes to rows that a stopped process has locked are refused in time; \
               0 lost, 0 twice over 10 stops",
    play: |run| Box::pin(stop_backends(run)),
};

async fn stop_backends(mut run: Run) {
    let database = Database::new().await;
    let service = Service::launch(setup(&database.url()));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let sentries = Sentries::begin(service.address()).await;
    let mut operator = Operator::connect(&database.url()).await;
    let (stops, limit) = run.size.pick((1, HEALED_IN_TESTS), (10, HEALED));
    let (mut stopped, mut held, mut reached) = (0, 0, Reached::default());
    for _ in 0..stops {
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        let still = operator.stop().await;
        stopped += still.count();
        let answers = if operator.holding(&still).await > 0 { REFUSALS } else { ANSWERS };
        held += usize::from(answers == REFUSALS);
        reached.note(all_go_on((&play, answers), &sentries, limit).await);
        // Now the processes finish the work that they had before they were given up, COMMIT included.
        drop(still);
        play.answers(ANSWERS).await;
    }
    let faults = format!(
        "{stops} times all of {stopped} processes stopped, {held} times in a transaction that held conversations"
    );
    conclude(&run, &faults, reached, sentries, (play, service)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_backends_hang_nothing() {
    STOPPED.short().await;
}

pub(crate) const HALF_OPEN: Scenario = Scenario {
    name: "half-open-postgres",
    fault: "connections to Postgres half-open: the bytes of both sides are lost silently",
    promised: "appends, writes, lookups and watches are answered and go on within 15 s, and health reports it; \
               0 lost, 0 twice over 10 losses",
    play: |run| Box::pin(lose_postgres(run)),
};

async fn lose_postgres(mut run: Run) {
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let service = Service::launch(setup(&proxy.url(&database.url())));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let sentries = Sentries::begin(service.address()).await;
    let (losses, limit) = run.size.pick((1, HEALED_IN_TESTS), (10, HEALED));
    let mut reached = Reached::default();
    for _ in 0..losses {
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        proxy.lose();
        reached.note(all_go_on((&play, ANSWERS), &sentries, limit).await);
        play.answers(ANSWERS).await;
    }
    conclude(&run, &format!("{losses} times all connections lost"), reached, sentries, (play, service)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_to_postgres_hang_nothing() {
    HALF_OPEN.short().await;
}
