//! Calls with an API key, compared with the same calls without a credential: two replicas of the service on one
//! database, in turn.

use super::beside::Beside;
use super::reads;
use crate::client::{Credential, Server};
use crate::measure::Load;
use crate::options::API_KEY;
use crate::report::Measured;
use crate::service::Service;
use crate::stage::Stage;
use crate::{NotAvailable, Result};

/// `key_get_customer`.
pub(crate) async fn get_customer(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let wary = Wary::start(stage).await?;
    let shares = stage.shelf.customers(stage).await?;
    wary.compare(stage, "key_get_customer", async |server| reads::getting(server, &shares).await).await
}

/// `key_list_messages`.
pub(crate) async fn list_messages(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let wary = Wary::start(stage).await?;
    let shares = stage.shelf.messages(stage).await?;
    wary.compare(stage, "key_list_messages", async |server| reads::listing(server, &shares).await).await
}

/// A replica that requires a credential.
struct Wary(Beside);

impl Wary {
    async fn start(stage: &Stage<'_>) -> Result<Self> {
        if stage.options.auth == API_KEY {
            return Err(NotAvailable("it compares with clients that need no key".to_owned()).into());
        }
        let service = Service::start(stage.database, API_KEY)?;
        let address = service.address().await?;
        let credential = Some(Credential::key(&stage.database.key().await?));
        Ok(Self(Beside { service, server: Server { address, credential } }))
    }

    async fn compare(
        self,
        stage: &Stage<'_>,
        name: &'static str,
        load: impl AsyncFn(&Server) -> Result<Load>,
    ) -> Result<Vec<Measured>> {
        let measured = self.0.compare(stage, name, load).await?;
        self.0.stop().await?;
        Ok(vec![measured])
    }
}
