//! Repeatable randomness: all numbers of a generator come from its seed.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, 2014). It is not a crate's generator, because those numbers may change with the
/// version. The bias of its ranges is far below what any test can see.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Returns a generator whose numbers are those of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a generator for another user, so that its numbers do not depend on the order of draws.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Returns a number from `first` up to `last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// Returns a number of the range, which is not empty.
    pub fn within(&mut self, range: Range<usize>) -> usize {
        let count = range.end.checked_sub(range.start).filter(|count| *count > 0).expect("a range");
        range.start + usize::try_from(self.below(count as u64)).expect("below a usize")
    }

    /// Returns true once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.within(0..count) == 0
    }

    /// Returns true in this percentage of calls.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// Returns a share, from 0 to nearly 1.
    pub fn share(&mut self) -> f64 {
        const STEPS: u16 = 1_000;
        let step = self.within(0..usize::from(STEPS));
        f64::from(u16::try_from(step).expect("a step")) / f64::from(STEPS)
    }

    /// Returns one of the items, of which there is at least one.
    pub fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.within(0..all.len())]
    }

    /// Returns a copy of one of the items, of which there is at least one.
    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        self.choose(all).clone()
    }

    /// Puts the items into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.within(0..last + 1));
        }
    }

    /// Returns any bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.number().to_be_bytes()).flatten().take(length).collect()
    }

    /// Returns words with letters of one to four bytes, so that an offset in characters would be
    /// noticed.
    pub fn words(&mut self, characters: usize) -> String {
        const LETTERS: [char; 16] =
            ['a', 'b', 'e', 'i', 'n', 'o', 'r', 's', 't', ' ', '\n', 'é', 'ß', '€', '語', '😀'];
        (0..characters.max(1)).map(|_| *self.choose(&LETTERS)).collect()
    }

    /// Returns a random UUID.
    pub fn uuid(&mut self) -> uuid::Uuid {
        let number = (u128::from(self.number()) << 64) | u128::from(self.number());
        uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed run is repeated by its seed, with any later version.
    #[test]
    fn the_numbers_of_a_seed_stay_the_same() {
        let mut random = Random::new(0);
        assert_eq!(
            [random.number(), random.number(), random.number()],
            [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]
        );
    }

    #[test]
    fn all_of_a_range_comes_and_nothing_else() {
        let mut random = Random::new(7);
        let mut counts = [0_u32; 5];
        for _ in 0..1_000 {
            counts[random.within(2..7) - 2] += 1;
        }
        assert!(counts.iter().all(|count| (100..300).contains(count)), "{counts:?}");
        let mut items: Vec<usize> = (0..50).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
