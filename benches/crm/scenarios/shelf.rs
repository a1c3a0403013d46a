//! Tables that are filled once, for all scenarios that only read them.

use tokio::sync::OnceCell;

use super::dashboard::{self, Filled};
use super::reads;
use crate::pgbench::Share;
use crate::stage::Stage;
use crate::{Result, client};

/// What has been filled so far.
#[derive(Default)]
pub(crate) struct Shelf {
    customers: OnceCell<Vec<Share>>,
    messages: OnceCell<Vec<Share>>,
    month: OnceCell<Filled>,
}

impl Shelf {
    /// Returns customers to read, of some tenants.
    pub(super) async fn customers(&self, stage: &Stage<'_>) -> Result<Vec<Share>> {
        self.customers.get_or_try_init(|| reads::fill_customers(stage)).await.cloned()
    }

    /// Returns conversations to read, of some tenants.
    pub(super) async fn messages(&self, stage: &Stage<'_>) -> Result<Vec<Share>> {
        self.messages.get_or_try_init(|| reads::fill_messages(stage)).await.cloned()
    }

    /// Returns a tenant with one month.
    pub(super) async fn month(&self, stage: &Stage<'_>) -> Result<Filled> {
        let fill = async || {
            let channel = client::channel(stage.address).await?;
            dashboard::fill_months(stage, &channel, 1).await
        };
        self.month.get_or_try_init(fill).await.copied()
    }
}
