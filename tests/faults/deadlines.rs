//! Postgres becomes unavailable during calls, in several ways: each call ends at its deadline.

use std::time::{Duration, Instant};

use crm_testkit::cluster::Database;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::backends::Operator;
use super::client::{Client, PAUSE};
use super::kills::{READY_IN_TESTS, durable_postgres};
use super::proxy::{Mode, Proxy};
use super::run::{Run, Scenario};
use super::scratch;
use super::service::{Service, Setup};
use super::stage::{Cast, Play};

/// The deadline of the calls. It is the service's own default, because a client would enforce its own deadline
/// itself.
const DEADLINE: Duration = Duration::from_secs(1);

/// The promise: how much later than its deadline a call is answered at most.
const SLACK: Duration = Duration::from_millis(100);

/// The same for debug programs beside other tests.
const SLACK_IN_TESTS: Duration = Duration::from_secs(2);

/// The number of parallel callers: more than the pool has connections.
const CALLERS: usize = 24;

/// The maximum number of answers between two faults.
const ANSWERS: usize = 100;

fn setup(url: &str) -> Setup {
    Setup::of(url).with(&["--default-deadline", &DEADLINE.as_millis().to_string()])
}

/// The results of callers.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    refused: usize,
    slowest: Duration,
}

/// Makes calls one after the other until `stop`, writes and reads in turn, and measures each.
async fn call(mut client: Client, stop: watch::Receiver<bool>) -> Seen {
    let mut seen = Seen::default();
    let mut known: Option<String> = None;
    while !*stop.borrow() {
        let began = Instant::now();
        let outcome = match known.take() {
            None => client.create_customer(Uuid::new_v4()).await.map(Some),
            Some(id) => client.get_customer(&id).await.map(|_| None),
        };
        seen.slowest = seen.slowest.max(began.elapsed());
        match outcome {
            Ok(next) => {
                known = next;
                seen.answered += 1;
            }
            Err(status) => {
                let code = status.code();
                assert!(matches!(code, Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
                seen.refused += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    seen
}

/// The running callers.
struct Callers {
    callers: JoinSet<Seen>,
    stop: watch::Sender<bool>,
}

impl Callers {
    async fn begin(service: &Service) -> Self {
        let (mut callers, stop) = (JoinSet::new(), watch::Sender::new(false));
        for _ in 0..CALLERS {
            let client = Client::connect(service.address(), Uuid::new_v4()).await;
            callers.spawn(call(client, stop.subscribe()));
        }
        Self { callers, stop }
    }

    async fn finish(self) -> Seen {
        self.stop.send_replace(true);
        let mut all = Seen::default();
        for Seen { answered, refused, slowest } in self.callers.join_all().await {
            all.answered += answered;
            all.refused += refused;
            all.slowest = all.slowest.max(slowest);
        }
        all
    }
}

/// Compares the slowest answer with the promise.
fn in_time(run: &Run, slowest: Duration) {
    let limit = DEADLINE + run.size.pick(SLACK_IN_TESTS, SLACK);
    assert!(slowest <= limit, "an answer after {slowest:?}");
}

pub(crate) const TERMINATED: Scenario = Scenario {
    name: "terminate",
    fault: "backends terminated, Postgres restarted",
    promised: "no call hangs past its deadline + 100 ms; 0 lost over 100 terminations and 20 restarts",
    play: |run| Box::pin(terminate(run)),
};

/// Postgres ends all connections, again and again; then Postgres is restarted as often.
async fn terminate(mut run: Run) {
    let scratch = scratch();
    let mut postgres = durable_postgres(&scratch);
    let proxy = Proxy::start(([127, 0, 0, 1], postgres.port()).into()).await;
    let service = Service::launch(setup(&proxy.url(postgres.url())));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let callers = Callers::begin(&service).await;
    let (terminations, restarts) = run.size.pick((3, 1), (100, 20));
    let mut ended = 0;
    let mut operator = Operator::connect(postgres.url()).await;
    for _ in 0..terminations {
        play.answers(run.random.within(0..ANSWERS)).await;
        ended += operator.terminate().await;
    }
    drop(operator);
    for _ in 0..restarts {
        play.answers(run.random.within(0..ANSWERS)).await;
        postgres.stop();
        tokio::time::sleep(DEADLINE.mul_f64(run.random.share())).await;
        postgres = durable_postgres(&scratch);
        proxy.redirect(([127, 0, 0, 1], postgres.port()).into());
    }
    play.answers(ANSWERS).await;
    let Seen { answered, refused, slowest } = callers.finish().await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!(
        "{terminations} times all of {ended} connections, {restarts} restarts; calls with a deadline of {DEADLINE:?}: \
         {answered} answered, {refused} refused, the slowest in {slowest:?}; {figures}"
    ));
    in_time(&run, slowest);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_when_its_connection_is_terminated_or_postgres_restarted() {
    TERMINATED.short().await;
}

pub(crate) const SILENT: Scenario = Scenario {
    name: "silent-postgres",
    fault: "Postgres does not answer any more, as behind a lost network",
    promised: "no call hangs past its deadline + 100 ms; heals by itself",
    play: |run| Box::pin(fall_silent(run)),
};

async fn fall_silent(run: Run) {
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let service = Service::launch(setup(&proxy.url(&database.url())));
    let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
    client.create_customer(Uuid::new_v4()).await.expect("a customer");
    let callers = Callers::begin(&service).await;
    let silences = run.size.pick(1, 5);
    let mut slowest_to_heal = Duration::ZERO;
    for _ in 0..silences {
        proxy.set(Mode::BlackHole);
        // So that calls of all kinds begin and end in it.
        tokio::time::sleep(DEADLINE * 2).await;
        proxy.set(Mode::Open);
        let began = Instant::now();
        while client.create_customer(Uuid::new_v4()).await.is_err() {
            assert!(began.elapsed() < READY_IN_TESTS, "not healed");
            tokio::time::sleep(PAUSE).await;
        }
        slowest_to_heal = slowest_to_heal.max(began.elapsed());
    }
    let Seen { answered, refused, slowest } = callers.finish().await;
    run.say(&format_args!(
        "{silences} silences; calls with a deadline of {DEADLINE:?}: {answered} answered, {refused} refused, \
         the slowest in {slowest:?}; healed in {slowest_to_heal:?} at most"
    ));
    assert!(refused > 0, "somebody called a silent Postgres");
    in_time(&run, slowest);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_waits_for_a_lost_postgres_longer_than_its_deadline() {
    SILENT.short().await;
}
