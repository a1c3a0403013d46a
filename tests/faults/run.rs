//! A scenario, and one run of it: its size, its seed, and its results.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crm_testkit::Random;

/// The variable with the seed of a run, to repeat a failed run.
const SEED: &str = "CRM_FAULTS_SEED";

/// The size of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Large enough to show that the promise is kept, in seconds.
    Short,
    /// As large as promised.
    Long,
}

impl Size {
    pub(crate) fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// A running scenario. It panics if a promise is broken.
pub(crate) type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A fault, and the promise that must hold during it.
pub(crate) struct Scenario {
    /// The name by which it is selected.
    pub(crate) name: &'static str,
    /// What is done to the service.
    pub(crate) fault: &'static str,
    /// The number that a long run must reach.
    pub(crate) promised: &'static str,
    pub(crate) play: fn(Run) -> Playing,
}

impl Scenario {
    /// Runs a short run, one scenario at a time: each uses the whole machine, and two at once would mistake each
    /// other's load for a fault.
    pub(crate) async fn short(&self) {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = ALONE.lock().await;
        self.short_beside_others().await;
    }

    /// The same for a scenario that mostly waits.
    pub(crate) async fn short_beside_others(&self) {
        (self.play)(Run::begin(self, Size::Short)).await;
    }
}

/// The results of a run, one line each.
pub(crate) type Told = Arc<Mutex<Vec<String>>>;

/// One run of a scenario.
pub(crate) struct Run {
    name: &'static str,
    pub(crate) seed: u64,
    pub(crate) size: Size,
    pub(crate) random: Random,
    told: Told,
}

impl Run {
    pub(crate) fn begin(scenario: &Scenario, size: Size) -> Self {
        let seed = seed();
        let name = scenario.name;
        let run = Self { name, seed, size, random: Random::new(seed), told: Told::default() };
        run.print(&format_args!("begins with {SEED}={seed}"));
        run
    }

    /// Reports a result. It is called before the result is compared with the promise, so that a failed run reports it
    /// too.
    pub(crate) fn say(&self, words: &dyn fmt::Display) {
        self.told.lock().expect("a lock").push(words.to_string());
        self.print(words);
    }

    /// Returns the results so far and to come, for the caller that runs the scenario.
    pub(crate) fn told(&self) -> Told {
        Arc::clone(&self.told)
    }

    /// The results of a long run are printed even if it succeeds.
    fn print(&self, words: &dyn fmt::Display) {
        let line = format!("{} (seed {}): {words}", self.name, self.seed);
        match self.size {
            Size::Short => println!("{line}"),
            Size::Long => writeln!(std::io::stderr(), "{line}").expect("standard error"),
        }
    }
}

/// Returns the seed of this run: the requested one, or a new one.
fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("{SEED} is a whole number")),
        // Short enough to be typed.
        Err(_) => u64::from(uuid::Uuid::new_v4().as_fields().0),
    }
}
