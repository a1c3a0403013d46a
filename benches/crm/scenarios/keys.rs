//! Calls of clients that prove who they are by an API key, against the same calls of clients that need not: two
//! replicas of the service on one database, in turn.

use std::time::Duration;

use super::reads;
use crate::client::{Credential, Server};
use crate::measure::{Load, median};
use crate::options::API_KEY;
use crate::report::Measured;
use crate::service::Service;
use crate::stage::Stage;
use crate::{NotAvailable, Result};

/// A part of a round: short, so that whatever else happens on the machine happens to both.
const TURN: Duration = Duration::from_secs(1);

/// `key_get_customer`.
pub(crate) async fn get_customer(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let wary = Wary::start(stage).await?;
    let shares = reads::customers(stage).await?;
    wary.compare(stage, "key_get_customer", async |server| reads::getting(server, &shares).await).await
}

/// `key_list_messages`.
pub(crate) async fn list_messages(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let wary = Wary::start(stage).await?;
    let shares = reads::messages(stage).await?;
    wary.compare(stage, "key_list_messages", async |server| reads::listing(server, &shares).await).await
}

/// A replica that wants to know who calls.
struct Wary {
    service: Service,
    server: Server,
}

impl Wary {
    async fn start(stage: &Stage<'_>) -> Result<Self> {
        if stage.options.auth == API_KEY {
            return Err(NotAvailable("it compares with clients that need no key".to_owned()).into());
        }
        let service = Service::start(stage.database, API_KEY)?;
        let address = service.address().await?;
        let credential = Some(Credential::key(&stage.database.key().await?)?);
        Ok(Self { service, server: Server { address, credential } })
    }

    /// The rates of both replicas, in as many turns as the rounds of other scenarios have seconds.
    async fn compare(
        self,
        stage: &Stage<'_>,
        name: &'static str,
        load: impl AsyncFn(&Server) -> Result<Load>,
    ) -> Result<Vec<Measured>> {
        let open = stage.server();
        stage.settle().await?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..stage.options.seconds() * u64::from(stage.options.rounds) {
            // Whoever comes first in one turn comes last in the next.
            let mut pair = [(&self.server, &mut with), (&open, &mut without)];
            if turn % 2 == 1 {
                pair.reverse();
            }
            for (server, rates) in pair {
                rates.push(load(server).await?.rate(TURN).await?);
            }
        }
        self.service.stop().await?;
        Ok(vec![Measured { name, value: median(&with)?, baseline: Some(median(&without)?) }])
    }
}
