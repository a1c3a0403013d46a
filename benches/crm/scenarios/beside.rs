//! Two replicas of the service on one database, measured in turns.

use std::time::Duration;

use crate::Result;
use crate::client::Server;
use crate::measure::{Load, median};
use crate::report::Measured;
use crate::service::Service;
use crate::stage::Stage;

/// The length of a turn: short, so that other load on the machine affects both replicas equally.
const TURN: Duration = Duration::from_secs(1);

/// A second replica, beside the one of the stage.
pub(super) struct Beside {
    pub(super) service: Service,
    pub(super) server: Server,
}

impl Beside {
    /// Measures the rates of both replicas, in as many turns as the rounds of other scenarios have
    /// seconds.
    pub(super) async fn compare(
        &self,
        stage: &Stage<'_>,
        name: &'static str,
        load: impl AsyncFn(&Server) -> Result<Load>,
    ) -> Result<Measured> {
        let usual = stage.server();
        stage.settle().await?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..stage.options.seconds() * u64::from(stage.options.rounds) {
            // The replica that is first in one turn is last in the next.
            let mut pair = [(&self.server, &mut with), (&usual, &mut without)];
            if turn % 2 == 1 {
                pair.reverse();
            }
            for (server, rates) in pair {
                rates.push(load(server).await?.rate(TURN).await?);
            }
        }
        Ok(Measured { name, value: median(&with)?, baseline: Some(median(&without)?) })
    }

    /// Stops the replica.
    pub(super) async fn stop(self) -> Result<()> {
        self.service.stop().await
    }
}
