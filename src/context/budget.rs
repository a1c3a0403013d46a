//! Selects the items that fit into a budget of tokens and of bytes.

use std::ops::{Add, AddAssign, Sub, SubAssign};

/// The cost of an item, or a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) tokens: i64,
    pub(super) bytes: i64,
}

impl Cost {
    /// Returns whether something of this cost fits into what is left.
    pub(super) fn fits(self, left: Self) -> bool {
        self.tokens <= left.tokens && self.bytes <= left.bytes
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { tokens: self.tokens - other.tokens, bytes: self.bytes - other.bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// A section of a context, with the costs of its items.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// The priority. The section with the highest one has its turn first. Among equals the order of the
    /// sections decides.
    pub(super) priority: i32,
    /// The number of tokens that are reserved for it.
    pub(super) share: i64,
    /// The cost of its heading. It has a heading if it has an item.
    pub(super) heading: Cost,
    /// The costs of its items, the most important first.
    pub(super) items: Vec<Cost>,
    /// Whether an item is of no use without all items before it: a conversation must have no gaps.
    pub(super) unbroken: bool,
}

/// Returns which items are chosen, section by section, so that all of them together fit into the budget.
///
/// Sections have their turns in the order of their priorities, twice. First each takes the items that fit into
/// its share. Then the rest of the budget is offered once more, without regard to shares. An item that does not
/// fit is skipped for a smaller one, unless the section must be unbroken.
pub(super) fn choose(budget: Cost, sections: &[Section]) -> Vec<Vec<bool>> {
    let mut chosen: Vec<Vec<bool>> =
        sections.iter().map(|section| vec![false; section.items.len()]).collect();
    let mut turns: Vec<usize> = (0..sections.len()).collect();
    turns.sort_by_key(|index| sections.get(*index).map(|section| std::cmp::Reverse(section.priority)));
    let mut left = budget;
    for limited in [true, false] {
        for index in &turns {
            if let (Some(section), Some(chosen)) = (sections.get(*index), chosen.get_mut(*index)) {
                let share = section.share.saturating_sub(section.used(chosen).tokens);
                let tokens = if limited { share.min(left.tokens) } else { left.tokens };
                left -= section.take(chosen, Cost { tokens, ..left });
            }
        }
    }
    chosen
}

impl Section {
    /// Returns the cost of the chosen items, with the heading.
    pub(super) fn used(&self, chosen: &[bool]) -> Cost {
        let items = self.items.iter().zip(chosen).filter(|(_, chosen)| **chosen);
        let used = items.fold(Cost::default(), |used, (cost, _)| used + *cost);
        if chosen.contains(&true) { used + self.heading } else { used }
    }

    /// Chooses more items, within a limit. Returns their cost.
    fn take(&self, chosen: &mut [bool], limit: Cost) -> Cost {
        let before = self.used(chosen);
        let mut heading = if chosen.contains(&true) { Cost::default() } else { self.heading };
        let mut left = limit;
        for (cost, chosen) in self.items.iter().zip(chosen.iter_mut()) {
            if *chosen {
                continue;
            }
            if (*cost + heading).fits(left) {
                *chosen = true;
                left -= *cost + heading;
                heading = Cost::default();
            } else if self.unbroken {
                break;
            }
        }
        self.used(chosen) - before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the cost of so many tokens, each of one byte.
    fn tokens(tokens: i64) -> Cost {
        Cost { tokens, bytes: tokens }
    }

    fn section(priority: i32, share: i64, items: &[i64]) -> Section {
        let items = items.iter().copied().map(tokens).collect();
        Section { priority, share, heading: tokens(2), items, unbroken: false }
    }

    #[test]
    fn shares_first_then_what_is_left() {
        let sections = [section(1, 12, &[10, 10, 10]), section(9, 12, &[10, 10, 10])];
        assert_eq!(choose(tokens(24), &sections), [[true, false, false], [true, false, false]]);
        assert_eq!(choose(tokens(34), &sections), [[true, false, false], [true, true, false]]);
    }

    #[test]
    fn a_section_without_items_costs_nothing() {
        assert_eq!(choose(tokens(12), &[section(9, 12, &[]), section(1, 0, &[10])]), [vec![], vec![true]]);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_unless_it_leaves_a_hole() {
        let any = section(1, 0, &[50, 5]);
        assert_eq!(choose(tokens(10), std::slice::from_ref(&any)), [[false, true]]);
        assert_eq!(choose(tokens(10), &[Section { unbroken: true, ..any }]), [[false, false]]);
    }

    #[test]
    fn what_has_too_many_bytes_is_passed_over() {
        let mut section = section(1, 0, &[5, 5]);
        section.items[0].bytes = 100;
        assert_eq!(choose(tokens(50), &[section]), [[false, true]]);
    }

    fn any_cost() -> impl Strategy<Value = Cost> {
        (1..60_i64, 0..300_i64).prop_map(|(tokens, bytes)| Cost { tokens, bytes })
    }

    fn any_section() -> impl Strategy<Value = Section> {
        let items = proptest::collection::vec(any_cost(), 0..12);
        (0..4, 0..200_i64, 0..6_i64, items, any::<bool>()).prop_map(
            |(priority, share, heading, items, unbroken)| Section {
                priority,
                share,
                heading: tokens(heading),
                items,
                unbroken,
            },
        )
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nothing_that_fits_is_left_out(
            most in 0..400_i64,
            bytes in 0..2_000_i64,
            sections in proptest::collection::vec(any_section(), 0..8),
        ) {
            let budget = Cost { tokens: most, bytes };
            let chosen = choose(budget, &sections);
            let used = sections.iter().zip(&chosen).map(|(section, chosen)| section.used(chosen));
            let used = used.fold(Cost::default(), Cost::add);
            prop_assert!(used.fits(budget));
            for (section, chosen) in sections.iter().zip(&chosen) {
                let heading = if chosen.contains(&true) { Cost::default() } else { section.heading };
                let mut left_out = section.items.iter().zip(chosen).filter(|(_, chosen)| !**chosen);
                let fits = |cost: &Cost| (used + heading + *cost).fits(budget);
                if section.unbroken {
                    prop_assert!(chosen.is_sorted_by(|before, after| before >= after));
                    prop_assert!(left_out.next().is_none_or(|(cost, _)| !fits(cost)));
                } else {
                    prop_assert!(left_out.all(|(cost, _)| !fits(cost)));
                }
            }
        }

        #[test]
        fn more_room_never_takes_from_what_comes_first(
            budget in 0..400_i64,
            more in 0..100_i64,
            items in proptest::collection::vec(any_cost(), 0..12),
        ) {
            let count = |budget| {
                let heading = tokens(3);
                let section = Section { priority: 1, share: 0, heading, items: items.clone(), unbroken: true };
                choose(tokens(budget), &[section]).concat().iter().filter(|chosen| **chosen).count()
            };
            prop_assert!(count(budget) <= count(budget + more));
        }
    }
}
