//! What fits into a budget of tokens.

/// What a section of a context asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// Whose turn comes first: the highest. Among equals the order of the sections decides.
    pub(super) priority: i32,
    /// Tokens that are set aside for it.
    pub(super) share: i64,
    /// Tokens of its heading, which it has when it has an item.
    pub(super) heading: i64,
    /// Tokens of its items, the most wanted first.
    pub(super) items: Vec<i64>,
    /// Whether an item without all those before it is of no use: a conversation has no holes.
    pub(super) unbroken: bool,
}

/// Which items are taken, section by section, so that all of them together fit into the budget.
///
/// Sections have their turns in the order of their priorities, twice: first each takes what fits into its
/// share, then what is left is offered once more, without regard to shares. An item that does not fit is
/// passed over for a smaller one, unless the section must be unbroken.
pub(super) fn choose(budget: i64, sections: &[Section]) -> Vec<Vec<bool>> {
    let mut chosen: Vec<Vec<bool>> =
        sections.iter().map(|section| vec![false; section.items.len()]).collect();
    let mut turns: Vec<usize> = (0..sections.len()).collect();
    turns.sort_by_key(|index| sections.get(*index).map(|section| std::cmp::Reverse(section.priority)));
    let mut left = budget;
    for limited in [true, false] {
        for index in &turns {
            if let (Some(section), Some(chosen)) = (sections.get(*index), chosen.get_mut(*index)) {
                let limit = if limited { section.share.saturating_sub(section.used(chosen)) } else { left };
                left -= section.take(chosen, limit.min(left));
            }
        }
    }
    chosen
}

impl Section {
    /// Tokens of what was chosen of it, with its heading.
    pub(super) fn used(&self, chosen: &[bool]) -> i64 {
        let items: i64 =
            self.items.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(tokens, _)| tokens).sum();
        if chosen.contains(&true) { items + self.heading } else { 0 }
    }

    /// Chooses more items, within a limit, and says how many tokens they have.
    fn take(&self, chosen: &mut [bool], limit: i64) -> i64 {
        let before = self.used(chosen);
        let mut heading = if chosen.contains(&true) { 0 } else { self.heading };
        let mut left = limit;
        for (tokens, chosen) in self.items.iter().zip(chosen.iter_mut()) {
            if *chosen {
                continue;
            }
            if tokens + heading <= left {
                *chosen = true;
                left -= tokens + heading;
                heading = 0;
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

    fn section(priority: i32, share: i64, items: &[i64]) -> Section {
        Section { priority, share, heading: 2, items: items.to_vec(), unbroken: false }
    }

    #[test]
    fn shares_first_then_what_is_left() {
        let sections = [section(1, 12, &[10, 10, 10]), section(9, 12, &[10, 10, 10])];
        assert_eq!(choose(24, &sections), [[true, false, false], [true, false, false]]);
        assert_eq!(choose(34, &sections), [[true, false, false], [true, true, false]]);
    }

    #[test]
    fn a_section_without_items_costs_nothing() {
        assert_eq!(choose(12, &[section(9, 12, &[]), section(1, 0, &[10])]), [vec![], vec![true]]);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_unless_it_leaves_a_hole() {
        let any = section(1, 0, &[50, 5]);
        assert_eq!(choose(10, std::slice::from_ref(&any)), [[false, true]]);
        assert_eq!(choose(10, &[Section { unbroken: true, ..any }]), [[false, false]]);
    }

    fn any_section() -> impl Strategy<Value = Section> {
        (0..4, 0..200_i64, 0..6_i64, proptest::collection::vec(1..60_i64, 0..12), any::<bool>()).prop_map(
            |(priority, share, heading, items, unbroken)| Section {
                priority,
                share,
                heading,
                items,
                unbroken,
            },
        )
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nothing_that_fits_is_left_out(
            budget in 0..400_i64,
            sections in proptest::collection::vec(any_section(), 0..8),
        ) {
            let chosen = choose(budget, &sections);
            let used: i64 = sections.iter().zip(&chosen).map(|(section, chosen)| section.used(chosen)).sum();
            prop_assert!(used <= budget);
            for (section, chosen) in sections.iter().zip(&chosen) {
                let heading = if chosen.contains(&true) { 0 } else { section.heading };
                let mut left_out = section.items.iter().zip(chosen).filter(|(_, chosen)| !**chosen);
                if section.unbroken {
                    prop_assert!(chosen.is_sorted_by(|before, after| before >= after));
                    prop_assert!(left_out.next().is_none_or(|(tokens, _)| used + heading + tokens > budget));
                } else {
                    prop_assert!(left_out.all(|(tokens, _)| used + heading + tokens > budget));
                }
            }
        }

        #[test]
        fn more_room_never_takes_from_what_comes_first(
            budget in 0..400_i64,
            more in 0..100_i64,
            items in proptest::collection::vec(1..60_i64, 0..12),
        ) {
            let count = |budget| {
                let section = Section { priority: 1, share: 0, heading: 3, items: items.clone(), unbroken: true };
                choose(budget, &[section]).concat().iter().filter(|chosen| **chosen).count()
            };
            prop_assert!(count(budget) <= count(budget + more));
        }
    }
}
