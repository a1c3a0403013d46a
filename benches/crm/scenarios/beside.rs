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

/// The turns of a replica in the time of a round.
const TURNS: u64 = 3;

/// The warm-up of all turns but the first: only connections are new.
const SHORT_WARM_UP: Duration = Duration::from_millis(200);

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
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..Self::turns(stage) {
            let warm_up = if turn == 0 { WARM_UP } else { SHORT_WARM_UP };
            // The replica that is first in one turn is last in the next.
            let mut pair = [(&self.server, &mut with), (&usual, &mut without)];
            if turn % 2 == 1 {
                pair.reverse();
            }
            for (server, rates) in pair {
                rates.push(load(server).await?.rate_after(warm_up, TURN, None).await?);
            }
        }
        Ok(Measured::rounds(name, &with)?.beside_rounds(&without))
    }

    /// Returns the number of turns of each replica.
    fn turns(stage: &Stage<'_>) -> u64 {
        let in_a_round = (stage.options.seconds() * TURNS).div_ceil(SECONDS);
        in_a_round * u64::from(stage.options.rounds)
    }

    /// Stops the replica.
    pub(super) async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}
