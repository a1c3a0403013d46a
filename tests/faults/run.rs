//! A scenario, and one run of it: its size, its seed, and what it reached.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::random::{self, Random};

/// How much of something a scenario does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As much as shows that it works, in seconds.
    Short,
    /// As much as is promised.
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

/// A scenario at work. It panics where a promise is broken.
pub(crate) type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A fault, and what is promised to hold all the same.
pub(crate) struct Scenario {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// What is done to the service.
    pub(crate) fault: &'static str,
    /// What a long run has to reach.
    pub(crate) promised: &'static str,
    pub(crate) play: fn(Run) -> Playing,
}

impl Scenario {
    /// As much as shows that it works, one scenario after the other: each is work for the whole machine, and
    /// two at once would take each other's processor for a fault.
    pub(crate) async fn short(&self) {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = ALONE.lock().await;
        self.short_beside_others().await;
    }

    /// The same for one that mostly waits.
    pub(crate) async fn short_beside_others(&self) {
        (self.play)(Run::begin(self, Size::Short)).await;
    }
}

/// What a run told, a line each.
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
        let seed = random::seed();
        let name = scenario.name;
        let run = Self { name, seed, size, random: Random::new(seed), told: Told::default() };
        run.print(&format_args!("begins with CRM_FAULTS_SEED={seed}"));
        run
    }

    /// Tells what was reached. Said before it is held against what is promised, so that a run that
    /// fails tells it too.
    pub(crate) fn say(&self, words: &dyn fmt::Display) {
        self.told.lock().expect("a lock").push(words.to_string());
        self.print(words);
    }

    /// What will have been told, for who lets the scenario run.
    pub(crate) fn told(&self) -> Told {
        Arc::clone(&self.told)
    }

    /// What a long run says is seen also when it succeeds.
    fn print(&self, words: &dyn fmt::Display) {
        let line = format!("{} (seed {}): {words}", self.name, self.seed);
        match self.size {
            Size::Short => println!("{line}"),
            Size::Long => writeln!(std::io::stderr(), "{line}").expect("standard error"),
        }
    }
}
