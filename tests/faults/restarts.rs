//! Replicas that are restarted one after the other, as in a deployment.

use crm_testkit::cluster::Database;
use tokio::sync::watch;

use super::clerks::Clerks;
use super::run::{Run, Scenario};
use super::service::Service;
use super::stage::{Cast, Play};

/// The maximum number of answers between two steps.
const ANSWERS: usize = 300;

/// Clients of unary calls.
const CLERKS: usize = 8;

pub(crate) const ROLLING: Scenario = Scenario {
    name: "rolling-restart",
    fault: "rolling restart of two replicas",
    promised: "no lost ack; no failed unary for a client that follows the retry policy, over 40 restarts",
    play: |run| Box::pin(roll(run)),
};

async fn roll(mut run: Run) {
    let database = Database::new().await;
    let mut replicas = [Service::start(&database.url()), Service::start(&database.url())];
    let [writes, watches] = [0, 1].map(|number: usize| watch::Sender::new(replicas[number].address()));
    let places = (writes.subscribe(), watches.subscribe());
    let play = Play::begin(&Cast::usual(), &mut run.random, replicas[0].address(), places).await;
    let all = [replicas[0].place(), replicas[1].place()];
    let clerks = Clerks::begin(CLERKS, &all, &mut run.random);
    let restarts = run.size.pick(2, 40);
    for restart in 0..restarts {
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        let [stopped, other] = [restart % 2, (restart + 1) % 2];
        // As with a load balancer that learns of the end from health; the service tells clients that are late.
        if run.random.once_in(2) {
            writes.send_replace(replicas[other].address());
        }
        replicas[stopped].stop().await;
        writes.send_replace(replicas[other].address());
        watches.send_replace(replicas[other].address());
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        replicas[stopped].restart();
        watches.send_replace(replicas[stopped].address());
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(replicas[0].address()).await;
    let record = clerks.finish(replicas[1].address()).await;
    run.say(&format_args!("{restarts} restarts; {figures}; {record}"));
    assert!(record.failed.is_empty(), "{:?}", record.failed);
    assert!(record.answered > 0, "somebody called");
    for replica in replicas {
        replica.terminate();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_ack_and_fails_no_call() {
    ROLLING.short().await;
}
