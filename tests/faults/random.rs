//! Repeatable randomness: all random choices of a run come from its seed.

use std::ops::Range;

/// The variable with the seed of a run, to repeat a failed run.
const SEED: &str = "CRM_FAULTS_SEED";

/// Returns the seed of this run: the requested one, or a new one.
pub(crate) fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("{SEED} is a whole number")),
        // Short enough to be typed.
        Err(_) => u64::from(uuid::Uuid::new_v4().as_fields().0),
    }
}

/// SplitMix64. It is not a crate's generator, because those numbers may change with the version.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a generator for another user, so that its numbers do not depend on the order of
    /// draws.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number of the range, which is not empty.
    pub(crate) fn within(&mut self, range: Range<usize>) -> usize {
        let count = range.end.checked_sub(range.start).filter(|count| *count > 0).expect("a range");
        // The bias is far below what any test can see.
        range.start + usize::try_from(self.next() % count as u64).expect("below a usize")
    }

    /// Returns true once in `count` times.
    pub(crate) fn once_in(&mut self, count: usize) -> bool {
        self.within(0..count) == 0
    }

    /// Returns a share, from 0 to nearly 1.
    pub(crate) fn share(&mut self) -> f64 {
        const STEPS: u16 = 1_000;
        let step = self.within(0..usize::from(STEPS));
        f64::from(u16::try_from(step).expect("a step")) / f64::from(STEPS)
    }

    /// Returns one of the items.
    pub(crate) fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.within(0..all.len())]
    }

    /// Returns words with letters of one to four bytes, so that an offset in characters would be
    /// noticed.
    pub(crate) fn words(&mut self, characters: usize) -> String {
        const LETTERS: [char; 16] =
            ['a', 'b', 'e', 'i', 'n', 'o', 'r', 's', 't', ' ', '\n', 'é', 'ß', '€', '語', '😀'];
        (0..characters.max(1)).map(|_| *self.choose(&LETTERS)).collect()
    }
}
