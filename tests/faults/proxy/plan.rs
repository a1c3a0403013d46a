//! Decides which connections of a proxy end, when, and how.

use std::ops::Range;

use crm_testkit::Random;

/// What happens to single connections.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    /// Cuts at a COMMIT, after a number of COMMITs that pass.
    Commits {
        random: Random,
        pass: usize,
        spacing: Range<usize>,
        left: usize,
    },
    /// Ends each connection after a number of bytes from the client.
    Bytes {
        random: Random,
        budget: Range<usize>,
        left: usize,
    },
}

/// How a connection ends at a COMMIT.
#[derive(Debug, Clone, Copy)]
pub(super) enum CommitCut {
    /// Postgres does not receive it.
    Before,
    /// Postgres receives it, and its outcome is not awaited.
    Racing,
    /// Postgres answers it, and the answer is lost.
    After,
}

/// How a connection ends after its last byte.
#[derive(Debug, Clone, Copy)]
pub(super) enum ByteCut {
    /// Both sides notice it.
    Closed,
    /// Neither side notices it: the connection stays open, and no bytes are passed on any more.
    HalfOpen,
}

impl Plan {
    /// Returns what to do with a COMMIT.
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

    /// Returns after how many bytes a direction of a connection ends, if the plan has not changed
    /// by then.
    pub(super) fn budget(&mut self) -> Option<usize> {
        let Self::Bytes { random, budget, left: 1.. } = self else { return None };
        Some(random.within(budget.clone()))
    }

    /// Returns what to do with a connection whose budget is used up.
    pub(super) fn at_limit(&mut self) -> Option<ByteCut> {
        let Self::Bytes { random, left: left @ 1.., .. } = self else { return None };
        *left -= 1;
        // Clients need a while to notice half-open connections, so these are fewer.
        Some(if random.once_in(5) { ByteCut::HalfOpen } else { ByteCut::Closed })
    }
}
