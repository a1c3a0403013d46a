//! Two replicas of the service on one database, measured in turns.

use std::time::Duration;

use crate::Result;
use crate::client::Server;
use crate::measure::{Load, WARM_UP};
use crate::options::SECONDS;
use crate::report::Measured;
use crate::service::Service;
use crate::stage::Stage;

/// The length of a turn: short, so that other load on the machine affects both replicas equally.
const TURN: Duration = Duration::from_secs(1);

/// The turns in the time of a round.
const TURNS: u64 = 2;

/// The warm-up of all turns but the first: only connections are new.
const SHORT_WARM_UP: Duration = Duration::from_millis(200);

/// Measures two rates in turns. The second is the baseline.
pub(super) async fn in_turns(
    stage: &Stage<'_>,
    name: &'static str,
    load: impl AsyncFn() -> Result<Load>,
    baseline: impl AsyncFn() -> Result<Load>,
) -> Result<Measured> {
    let (mut rates, mut baselines) = (Vec::new(), Vec::new());
    for turn in 0..turns(stage) {
        let warm_up = if turn == 0 { WARM_UP } else { SHORT_WARM_UP };
        // What is first in one turn is last in the next.
        let baseline_is_first = turn % 2 == 1;
        for is_baseline in [baseline_is_first, !baseline_is_first] {
            let (load, rates) = match is_baseline {
                true => (baseline().await?, &mut baselines),
                false => (load().await?, &mut rates),
            };
            rates.push(load.rate_after(warm_up, TURN, None).await?);
        }
    }
    Ok(Measured::rounds(name, &rates)?.beside_rounds(&baselines))
}

/// Returns the number of turns of each.
fn turns(stage: &Stage<'_>) -> u64 {
    let in_a_round = (stage.options.seconds() * TURNS).div_ceil(SECONDS);
    in_a_round * u64::from(stage.options.rounds)
}

/// A second replica, beside the one of the stage.
pub(super) struct Beside {
    pub(super) service: Service,
    pub(super) server: Server,
}

impl Beside {
    /// Measures the rates of both replicas in turns.
    pub(super) async fn compare(
        &self,
        stage: &Stage<'_>,
        name: &'static str,
        load: impl AsyncFn(&Server) -> Result<Load>,
    ) -> Result<Measured> {
        let usual = stage.server();
        stage.settle().await?;
        in_turns(stage, name, async || load(&self.server).await, async || load(&usual).await).await
    }

    /// Stops the replica.
    pub(super) async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}
