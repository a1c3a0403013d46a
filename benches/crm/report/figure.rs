//! What was measured: a number, and how far it went up and down.

use serde_json::{Value, json};

use super::readable;
use crate::Result;
use crate::measure::median;

/// The share by which a yardstick may vary. Beyond it, something else used the machine.
pub(super) const STEADY: f64 = 0.15;

/// A number with its spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The rounds, turns or parts that the spread is of.
    pub(crate) rounds: usize,
}

impl Figure {
    /// Returns the median of some rounds.
    pub(crate) fn of(rounds: &[f64]) -> Result<Self> {
        Ok(Self::around(median(rounds)?, rounds))
    }

    /// Returns a number that was measured once.
    pub(crate) fn once(value: f64) -> Self {
        Self::around(value, &[value])
    }

    /// Returns what `of` makes of all numbers of one round. The spread is that of as many consecutive parts.
    pub(crate) fn of_parts(numbers: &[f64], parts: u32, of: impl Fn(&[f64]) -> Result<f64>) -> Result<Self> {
        let length = numbers.len().div_ceil(parts as usize).max(1);
        let parts: Vec<f64> = numbers.chunks(length).map(&of).collect::<Result<_>>()?;
        Ok(Self::around(of(numbers)?, &parts))
    }

    fn around(value: f64, rounds: &[f64]) -> Self {
        let min = rounds.iter().copied().fold(value, f64::min);
        let max = rounds.iter().copied().fold(value, f64::max);
        Self { value, min, max, rounds: rounds.len() }
    }

    /// Returns the spread as a share of the number.
    pub(super) fn variation(self) -> f64 {
        if self.value > 0.0 { (self.max - self.min) / self.value } else { 0.0 }
    }

    /// Returns the smallest and the largest number that is no news. That of a single round is not known, and taken to
    /// be what is steady.
    pub(super) fn reach(self) -> (f64, f64) {
        match self.rounds {
            0 | 1 => (self.value * (1.0 - STEADY), self.value * (1.0 + STEADY)),
            _ => (self.min, self.max),
        }
    }

    /// Returns the spread for people, or nothing after a single round.
    pub(crate) fn spread(self) -> String {
        match self.rounds {
            0 | 1 => String::new(),
            _ => format!("{}–{}", readable(self.min), readable(self.max)),
        }
    }

    pub(crate) fn json(self) -> Value {
        let Self { value, min, max, rounds } = self;
        json!({ "value": value, "min": min, "max": max, "rounds": rounds })
    }
}

/// The result of a scenario.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) figure: Figure,
    /// The figure for comparison; `None` if the scenario has none, or if pgbench is missing.
    pub(crate) baseline: Option<Figure>,
    /// Whether pgbench measured the baseline. It does the same in every round, so it is a yardstick of the machine.
    pub(super) is_yardstick: bool,
}

impl Measured {
    /// Returns a result without a baseline.
    pub(crate) fn new(name: &'static str, figure: Figure) -> Self {
        Self { name, figure, baseline: None, is_yardstick: false }
    }

    /// Returns the median of some rounds.
    pub(crate) fn rounds(name: &'static str, rounds: &[f64]) -> Result<Self> {
        Ok(Self::new(name, Figure::of(rounds)?))
    }

    /// Compares it with a figure.
    pub(crate) fn beside(self, baseline: Figure) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    /// Compares it with the median of rounds, if there are any.
    pub(crate) fn beside_rounds(self, rounds: &[f64]) -> Self {
        Self { baseline: Figure::of(rounds).ok(), ..self }
    }

    /// Compares it with rounds of pgbench, if there are any.
    pub(crate) fn beside_pgbench(self, rounds: &[f64]) -> Self {
        Self { is_yardstick: true, ..self.beside_rounds(rounds) }
    }

    pub(crate) fn ratio(&self) -> Option<f64> {
        let baseline = self.baseline.map(|baseline| baseline.value);
        baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.figure.value / baseline)
    }
}
