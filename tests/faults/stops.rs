//! SIGTERM during heavy work.

use std::time::Duration;

use crm_testkit::cluster::Database;
use crm_testkit::within;
use tonic::Streaming;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use super::clerks::Clerks;
use super::client::Client;
use super::run::{Run, Scenario};
use super::service::Service;
use super::stage::{Cast, Play};
use super::workload::Work;

/// The promise: the program ends within this time.
const END: Duration = Duration::from_secs(25);

/// Clients of unary calls.
const CLERKS: usize = 8;

/// The tenants of the streams.
const TENANTS: usize = 5;

/// The average number of answers per stream before the signal: all are at work by then.
const ANSWERS_EACH: usize = 4;

pub(crate) const SIGTERM: Scenario = Scenario {
    name: "sigterm",
    fault: "SIGTERM with 500 streams and unary load",
    promised: "health NOT_SERVING, acks finish, exit 0 within 25 s, 0 lost",
    play: |run| Box::pin(terminate(run)),
};

/// Streams that write as long as they may.
fn cast(streams: usize) -> Cast {
    let work = Work { window: 1..8, drops_once_in: None, ..Cast::usual().work };
    Cast { tenants: TENANTS, conversations: 4, producers: streams / TENANTS, watchers: 1, work }
}

/// Returns the last status of a health watch.
async fn last_status(mut statuses: Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let mut last = None;
    while let Ok(Some(response)) = within(statuses.message()).await {
        last = Some(response.status());
    }
    last
}

async fn terminate(mut run: Run) {
    let database = Database::new().await;
    let mut service = Service::start(&database.url());
    let places = (service.place(), service.place());
    let streams = run.size.pick(50, 500);
    let play = Play::begin(&cast(streams), &mut run.random, service.address(), places).await;
    let clerks = Clerks::begin(CLERKS, &[service.place()], &mut run.random);
    let rounds = run.size.pick(1, 5);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        play.answers(streams * ANSWERS_EACH).await;
        let observer = Client::connect(service.address(), Uuid::new_v4()).await;
        let statuses = observer.watch_health().await;
        let (ended, last) = tokio::join!(service.stop(), last_status(statuses));
        assert_eq!(last, Some(ServingStatus::NotServing), "health says so before the end");
        slowest = slowest.max(ended.took);
        service.restart();
    }
    play.answers(streams * ANSWERS_EACH).await;
    let figures = play.finish(service.address()).await;
    let record = clerks.finish(service.address()).await;
    run.say(&format_args!(
        "{rounds} times with {streams} streams: health NOT_SERVING, exit 0, the slowest after {slowest:?}; {figures}; {record}"
    ));
    assert!(slowest <= END, "ended after {slowest:?}");
    assert!(record.failed.is_empty(), "{:?}", record.failed);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_in_the_middle_of_much_work_loses_nothing() {
    SIGTERM.short().await;
}
