//! The health of the service: starting, ready, degraded, unavailable or draining. It is reported by gRPC health to
//! load balancers, by metrics to Prometheus, and by the log to people.
//!
//! *Degraded* means that the service serves, but not as it should. A load balancer is not told, because a problem of
//! Postgres degrades all replicas together. Clients can ask for the names below.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::db::health::Probe;
use crate::db::{self, Db, Target};
use crate::metrics::{Cause, Closed, Metrics, State};

/// The time between two looks for problems.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many looks in a row must find a problem before it counts: a moment of load is not a problem.
const LOOKS: u8 = 3;

/// The name for a probe that restarts a process that hangs: healthy as long as the process answers.
const LIVENESS: &str = "liveness";

/// The name for readiness. This name, the empty name and those of the contract's services are healthy while the
/// service serves.
const READINESS: &str = "readiness";

/// The health names for the causes of a degraded service.
const CAUSES: [(Cause, &str); 4] = [
    (Cause::Bus, "crm.health.bus"),
    (Cause::Lane, "crm.health.lane"),
    (Cause::Pool, "crm.health.pool"),
    (Cause::Standby, "crm.health.standby"),
];

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    metrics: Metrics,
    state: Arc<watch::Sender<State>>,
    /// The names of the contract's services.
    services: &'static [&'static str],
}

impl Health {
    /// The health of a service that starts.
    pub(crate) fn new(reporter: HealthReporter, metrics: Metrics, services: &'static [&'static str]) -> Self {
        Self { reporter, metrics, state: Arc::new(watch::Sender::new(State::Starting)), services }
    }

    /// Returns whether the service serves, as gRPC health says at this moment.
    ///
    /// # Errors
    ///
    /// Why it does not, in words for people.
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        serves(*self.state.borrow())
    }

    /// Reports that the service serves from now on.
    pub(crate) async fn serve(&self) {
        self.say(LIVENESS, true).await;
        self.tell(&Verdict::default(), &Verdict { state: State::Starting, ..Verdict::default() }).await;
    }

    /// Reports that the service ends: from now on only liveness is healthy, regardless of further looks.
    pub(crate) async fn drain(&self) {
        self.announce(State::Draining).await;
    }

    /// Looks at the service repeatedly, and reports what changes, until `stop`.
    pub(crate) async fn watch(self, target: Target, db: Db, stop: CancellationToken) {
        let (sender, mut probed) = watch::channel(Probe::default());
        let probe = db::health::watch(target, db.clone(), sender, stop.clone());
        let report = async {
            let (mut looks, mut known) = (Looks::default(), Verdict::default());
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let is_look = tokio::select! {
                    changed = probed.changed() => match changed {
                        Ok(()) => false,
                        Err(_) => return,
                    },
                    _ = interval.tick() => true,
                };
                let probe = *probed.borrow_and_update();
                if is_look {
                    looks.add(|cause| self.is_wrong(cause, &db, probe));
                }
                let verdict = looks.verdict(probe.answers);
                if verdict != known {
                    self.tell(&verdict, &known).await;
                    known = verdict;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(probe, report) } => {}
        }
        self.drain().await;
    }

    /// Whether there is a problem at this moment.
    fn is_wrong(&self, cause: Cause, db: &Db, probe: Probe) -> bool {
        match cause {
            Cause::Bus => self.metrics.bus.is_lost(),
            Cause::Lane => self.metrics.lanes.count_stuck() > 0,
            Cause::Pool => db.is_exhausted(),
            Cause::Standby => probe.waits_for_standby,
        }
    }

    /// Reports a change to load balancers, Prometheus and the log.
    async fn tell(&self, now: &Verdict, before: &Verdict) {
        for (cause, name) in CAUSES {
            self.metrics.health.causes[cause].set(now.has(cause).into());
            self.say(name, !now.has(cause)).await;
        }
        self.announce(now.state).await;
        let causes: Vec<_> =
            Cause::ALL.iter().filter(|cause| now.has(**cause)).map(|cause| cause.word()).collect();
        let (state, before, causes) = (now.state.word(), before.state.word(), causes.join(","));
        if now.state == State::Ready {
            tracing::info!(state, before, "the service is ready");
        } else {
            tracing::warn!(state, before, causes, "the service is not as it must be");
        }
    }

    async fn announce(&self, state: State) {
        self.state.send_replace(state);
        self.metrics.health.set(state);
        for name in ["", READINESS].iter().chain(self.services) {
            self.say(name, serves(state).is_ok()).await;
        }
    }

    async fn say(&self, name: &str, is_well: bool) {
        let status = if is_well { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(name, status).await;
    }
}

/// Returns whether the service serves in a state; else why it does not.
fn serves(state: State) -> Result<(), &'static str> {
    match state {
        State::Ready | State::Degraded => Ok(()),
        State::Starting => Err("starting: the database is not ready yet"),
        State::Unavailable => Err("unavailable: Postgres does not answer"),
        State::Draining => Err("draining: the service stops, calls may finish"),
    }
}

/// What is known about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    state: State,
    /// Whether each cause holds, by the index of the cause.
    causes: [bool; CAUSES.len()],
}

impl Default for Verdict {
    /// No problem is known.
    fn default() -> Self {
        Self { state: State::Ready, causes: [false; CAUSES.len()] }
    }
}

impl Verdict {
    fn has(&self, cause: Cause) -> bool {
        self.causes.get(cause.place()).copied().unwrap_or_default()
    }
}

/// How many looks in a row have found each cause.
#[derive(Debug, Default)]
struct Looks([u8; CAUSES.len()]);

impl Looks {
    fn add(&mut self, is_wrong: impl Fn(Cause) -> bool) {
        for (count, cause) in self.0.iter_mut().zip(Cause::ALL) {
            *count = if is_wrong(*cause) { count.saturating_add(1) } else { 0 };
        }
    }

    fn verdict(&self, answers: bool) -> Verdict {
        let causes = self.0.map(|count| count >= LOOKS);
        let state = match (answers, causes.contains(&true)) {
            (false, _) => State::Unavailable,
            (true, true) => State::Degraded,
            (true, false) => State::Ready,
        };
        Verdict { state, causes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_no_illness_and_what_is_over_is_over() {
        let mut looks = Looks::default();
        for _ in 1..LOOKS {
            looks.add(|cause| cause == Cause::Pool);
            assert_eq!(looks.verdict(true), Verdict::default());
        }
        looks.add(|cause| cause == Cause::Pool);
        let verdict = looks.verdict(true);
        assert_eq!((verdict.state, verdict.has(Cause::Pool)), (State::Degraded, true));
        assert!(!verdict.has(Cause::Bus) && !verdict.has(Cause::Lane) && !verdict.has(Cause::Standby));
        assert_eq!(looks.verdict(false).state, State::Unavailable);
        looks.add(|_| false);
        assert_eq!(looks.verdict(true), Verdict::default());
    }

    #[tokio::test]
    async fn probes_over_http_and_grpc_say_the_same() {
        let (reporter, _service) = tonic_health::server::health_reporter();
        let health = Health::new(reporter, Metrics::default(), &[]);
        assert!(health.readiness().is_err_and(|reason| reason.starts_with("starting")));
        health.serve().await;
        assert_eq!(health.readiness(), Ok(()));
        let (ready, known) =
            (Verdict::default(), Verdict { state: State::Unavailable, ..Verdict::default() });
        health.tell(&known, &ready).await;
        assert!(health.readiness().is_err_and(|reason| reason.contains("Postgres")));
        health.tell(&ready, &known).await;
        assert_eq!(health.readiness(), Ok(()));
        health.drain().await;
        assert!(health.readiness().is_err_and(|reason| reason.starts_with("draining")));
    }

    #[test]
    fn every_cause_has_a_name_at_its_place() {
        let causes: Vec<_> = CAUSES.iter().map(|(cause, _)| *cause).collect();
        assert_eq!(causes, Cause::ALL);
        for (cause, name) in CAUSES {
            assert_eq!(name, format!("crm.health.{}", cause.word()));
        }
    }
}
