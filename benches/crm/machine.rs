//! What else used the machine during a run, and whether the machine itself was steady.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crm_testkit::meter;
use rustix::process::getpid;
use serde_json::{Value, json};

use crate::Result;
use crate::measure::median;
use crate::report::Figure;

/// How long the machine is observed before the run.
const BEFORE: Duration = Duration::from_secs(1);

/// The steps of the loop that a pace is of: some 20 ms of one core.
const STEPS: u32 = 10_000_000;

/// The loops of a pace. Their median counts.
const LOOPS: usize = 7;

/// What the processors did until now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    at: Instant,
    busy: Duration,
    /// The part of the benchmark with all that it started.
    own: Duration,
    stolen: Duration,
}

impl Moment {
    /// Returns `None` where the system does not count it.
    pub(crate) fn now() -> Option<Self> {
        // In this order, own time cannot be more than all time.
        let own = meter::busy_in_all(getpid())?;
        let meter::Processors { busy, stolen } = meter::processors()?;
        Some(Self { at: Instant::now(), busy, own, stolen })
    }

    /// Returns how busy others have been since then.
    pub(crate) fn others(self) -> Option<Others> {
        let now = Self::now()?;
        let took = now.at.duration_since(self.at).as_secs_f64();
        let share = |time: Duration| 100.0 * time.as_secs_f64() / took;
        let all = now.busy.saturating_sub(self.busy);
        Some(Others {
            busy: share(all.saturating_sub(now.own.saturating_sub(self.own))),
            stolen: share(now.stolen.saturating_sub(self.stolen)),
        })
    }
}

/// The use of processors by others, in percent of one core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Others {
    /// By other processes, and by the kernel for itself.
    pub(crate) busy: f64,
    /// By other machines on the same hardware.
    stolen: f64,
}

impl Others {
    fn json(self) -> Value {
        json!({ "busy_percent": self.busy, "stolen_percent": self.stolen })
    }
}

/// The machine during a run.
pub(crate) struct Machine {
    load_before: Option<f64>,
    before: Option<Others>,
    began: Option<Moment>,
    paces: Vec<f64>,
}

impl Machine {
    /// Observes the machine before anything is measured.
    pub(crate) async fn observe() -> Result<Self> {
        let (load_before, moment) = (meter::load(), Moment::now());
        tokio::time::sleep(BEFORE).await;
        let before = moment.and_then(Moment::others);
        let mut machine = Self { load_before, before, began: Moment::now(), paces: Vec::new() };
        machine.pace()?;
        Ok(machine)
    }

    /// Measures how fast the machine is now, with a loop that is always the same.
    pub(crate) fn pace(&mut self) -> Result<()> {
        let loops: Vec<f64> = (0..LOOPS).map(|_| milliseconds_of_loop()).collect();
        self.paces.push(median(&loops)?);
        Ok(())
    }

    /// Returns what is known at the end of the run.
    pub(crate) fn end(mut self) -> Result<Summary> {
        self.pace()?;
        let Self { load_before, before, began, paces } = self;
        Ok(Summary {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: (load_before, meter::load()),
            before,
            during: began.and_then(Moment::others),
            pace: Figure::of(&paces)?,
        })
    }
}

/// The machine, as a run saw it.
pub(crate) struct Summary {
    cores: usize,
    /// Before and at the end.
    load: (Option<f64>, Option<f64>),
    before: Option<Others>,
    during: Option<Others>,
    /// The milliseconds of the loop at the beginning, in the middle and at the end.
    pub(crate) pace: Figure,
}

impl Summary {
    pub(crate) fn json(&self) -> Value {
        let Self { cores, load: (before, after), pace, .. } = self;
        json!({
            "cores": cores,
            "load_before": before,
            "load_after": after,
            "others_before": self.before.map(Others::json),
            "others_during": self.during.map(Others::json),
            "pace_ms": pace.json(),
        })
    }

    /// Returns the sentences for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let number =
            |number: Option<f64>| number.map_or_else(|| "?".to_owned(), |number| format!("{number:.2}"));
        let share = |others: Option<Others>| {
            others.map_or_else(
                || "unknown".to_owned(),
                |others| format!("{:.0} % of a core (stolen: {:.0} %)", others.busy, others.stolen),
            )
        };
        let (before, after) = self.load;
        vec![
            format!("{} cores; load {} before, {} at the end", self.cores, number(before), number(after)),
            format!(
                "other processes, with the kernel's own work: {} before, {} during the run",
                share(self.before),
                share(self.during)
            ),
            format!(
                "a fixed loop took {:.1}–{:.1} ms at the beginning, in the middle and at the end",
                self.pace.min, self.pace.max
            ),
        ]
    }
}

/// Returns the milliseconds of a loop in which each step needs the previous one.
fn milliseconds_of_loop() -> f64 {
    let began = Instant::now();
    let mut number: u64 = black_box(1);
    for _ in 0..STEPS {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
    }
    black_box(number);
    began.elapsed().as_secs_f64() * 1_000.0
}
