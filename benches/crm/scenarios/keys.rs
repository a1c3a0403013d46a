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
    let shares = reads::customers(stage).await?;
    compare(stage, "key_get_customer", async |server| reads::getting(server, &shares).await).await
}

/// `key_list_messages`.
pub(crate) async fn list_messages(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let shares = reads::messages(stage).await?;
    compare(stage, "key_list_messages", async |server| reads::listing(server, &shares).await).await
}

/// The rates of both replicas, in as many turns as the rounds of other scenarios have seconds.
async fn compare(
    stage: &Stage<'_>,
    name: &'static str,
    load: impl AsyncFn(&Server) -> Result<Load>,
) -> Result<Vec<Measured>> {
    if stage.options.auth == API_KEY {
        return Err(NotAvailable("it compares with clients that need no key".to_owned()).into());
    }
    let replica = Service::start(stage.database, API_KEY)?;
    let credential = Some(Credential::key(&stage.database.key().await?)?);
    let (wary, open) = (Server { address: replica.address().await?, credential }, stage.server());
    stage.settle().await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..stage.options.seconds() * u64::from(stage.options.rounds) {
        // Whoever comes first in one turn comes last in the next.
        let mut pair = [(&wary, &mut with), (&open, &mut without)];
        if turn % 2 == 1 {
            pair.reverse();
        }
        for (server, rates) in pair {
            rates.push(load(server).await?.rate(TURN).await?);
        }
    }
    replica.stop().await?;
    Ok(vec![Measured { name, value: median(&with)?, baseline: Some(median(&without)?) }])
}
