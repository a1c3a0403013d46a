//! Which connections of a proxy end, when, and how.

use std::ops::Range;

use crate::random::Random;

/// What is to happen to single connections.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    /// Cuts at a COMMIT, after so many that pass.
    Commits {
        random: Random,
        pass: usize,
        spacing: Range<usize>,
        left: usize,
    },
    /// Ends each connection after so many bytes from the client.
    Bytes {
        random: Random,
        budget: Range<usize>,
        left: usize,
    },
}

/// How a connection ends at a COMMIT.
#[derive(Debug, Clone, Copy)]
pub(super) enum CommitCut {
    /// Postgres does not get it.
    Before,
    /// Postgres gets it, and nobody waits for what becomes of it.
    Racing,
    /// Postgres answers it, and the answer is lost.
    After,
}

/// How a connection ends after its last byte.
#[derive(Debug, Clone, Copy)]
pub(super) enum ByteCut {
    /// Both sides learn it.
    Closed,
    /// Nobody does: it stays open, and nothing goes through any more.
    HalfOpen,
}

impl Plan {
    /// What to do with a COMMIT that came by.
    pub(super) fn at_commit(&mut self) -> Option<CommitCut> {
        let Self::Commits { random, pass, spacing, left: left @ 1.. } = self else { return None };
        if *pass > 0 {
            *pass -= 1;
            return None;
        }
        *left -= 1;
        *pass = random.within(spacing.clone());
        Some(*random.choose(&[CommitCut::Before, CommitCut::Racing, CommitCut::After]))
    }

    /// After how many bytes a direction of a connection ends, if that is still the plan by then.
    pub(super) fn budget(&mut self) -> Option<usize> {
        let Self::Bytes { random, budget, left: 1.. } = self else { return None };
        Some(random.within(budget.clone()))
    }

    /// What to do with a connection whose budget is spent.
    pub(super) fn at_limit(&mut self) -> Option<ByteCut> {
        let Self::Bytes { random, left: left @ 1.., .. } = self else { return None };
        *left -= 1;
        // Half-open ones take the client a while to notice, so they are fewer.
        Some(if random.once_in(5) { ByteCut::HalfOpen } else { ByteCut::Closed })
    }
}
