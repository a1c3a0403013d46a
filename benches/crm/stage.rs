//! The environment of every scenario: the running service, access to its database, and some
//! tenants.

use std::net::SocketAddr;

use rustix::process::Pid;
use uuid::Uuid;

use crate::client::Server;
use crate::costs::{Costs, Processes};
use crate::fill::{self, Ids, Sql};
use crate::options::Options;
use crate::pgbench::Pgbench;
use crate::scenarios::Shelf;
use crate::service::Database;
use crate::{Result, client};

/// The number of tenants that share the load.
pub(crate) const TENANTS: usize = 4;

/// The conversations of each tenant that get messages: 1,000 over all tenants.
pub(crate) const CONVERSATIONS: u64 = 250;

/// The messages that each of these conversations has at the beginning.
const BEGUN: u64 = 20;

/// A tenant with one customer, and what the scenarios add.
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    /// The customer that was created through the service.
    pub(crate) customer: Uuid,
    /// An empty conversation that was created through the service.
    pub(crate) conversation: Uuid,
    /// Copies of that conversation. Those of the stage's own tenants have their first messages.
    pub(crate) conversations: Ids,
}

/// The stage.
pub(crate) struct Stage<'d> {
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    /// The database, for a second replica.
    pub(crate) database: &'d Database,
    /// The service's process and the first one of Postgres.
    pub(crate) processes: Processes,
    pub(crate) costs: Costs,
    /// Filled tables that several scenarios read.
    pub(crate) shelf: Shelf,
    pub(crate) sql: Sql,
    pub(crate) pgbench: Option<Pgbench>,
    pub(crate) tenants: Vec<Tenant>,
}

impl<'d> Stage<'d> {
    pub(crate) async fn new(
        options: Options,
        database: &'d Database,
        address: SocketAddr,
        pid: Pid,
        sql: Sql,
        pgbench: Option<Pgbench>,
    ) -> Result<Self> {
        let processes = Processes { service: pid, postgres: fill::postgres(&sql).await? };
        let (costs, shelf) = (Costs::new(processes), Shelf::default());
        let mut stage =
            Self { options, address, database, processes, costs, shelf, sql, pgbench, tenants: Vec::new() };
        stage.tenants = stage.fresh_tenants().await?;
        stage.begin_conversations().await?;
        stage.settle().await?;
        Ok(stage)
    }

    /// Adds the first messages to the conversations: the planner knows nothing of an empty table.
    async fn begin_conversations(&self) -> Result<()> {
        let channel = client::channel(self.address).await?;
        for Tenant { id, customer, conversations, .. } in &self.tenants {
            fill::messages(&self.sql, &channel, (*id, *customer), *conversations, BEGUN).await?;
        }
        Ok(())
    }

    /// Returns the service, for clients with the usual credential.
    pub(crate) fn server(&self) -> Server {
        Server::usual(self.address)
    }

    /// Creates as many tenants as share the load: the customers of a tenant can be copied only
    /// once.
    pub(crate) async fn fresh_tenants(&self) -> Result<Vec<Tenant>> {
        let mut tenants = Vec::new();
        for _ in 0..TENANTS {
            tenants.push(self.tenant().await?);
        }
        Ok(tenants)
    }

    /// Creates a tenant, with empty conversations.
    pub(crate) async fn tenant(&self) -> Result<Tenant> {
        let id = Uuid::new_v4();
        let channel = client::channel(self.address).await?;
        let customer = fill::customer(&channel, id).await?;
        let conversation = fill::conversation(&channel, id, customer).await?;
        let conversations = fill::conversations(&self.sql, id, conversation, CONVERSATIONS).await?;
        Ok(Tenant { id, customer, conversation, conversations })
    }

    /// Creates empty conversations, assigned to the tenants in turn.
    pub(crate) async fn fresh_conversations(&self, count: u64) -> Result<Vec<(Uuid, String)>> {
        let share = count.div_ceil(TENANTS as u64);
        let mut dealt = Vec::new();
        for tenant in &self.tenants {
            let ids = fill::conversations(&self.sql, tenant.id, tenant.conversation, share).await?;
            dealt.push((1..=share).map(move |number| (tenant.id, ids.text(number))));
        }
        let mut fresh = Vec::new();
        for _ in 0..share {
            fresh.extend(dealt.iter_mut().filter_map(Iterator::next));
        }
        fresh.truncate(usize::try_from(count)?);
        Ok(fresh)
    }

    /// Creates an empty conversation of a tenant.
    pub(crate) async fn one_conversation(&self, tenant: &Tenant) -> Result<Ids> {
        fill::conversations(&self.sql, tenant.id, tenant.conversation, 1).await
    }

    /// Writes all changes to the disk now, so that it does not happen during a measurement. Also updates the statistics
    /// of the tables that grow, as autovacuum does within a minute.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.sql.batch_execute("ANALYZE conversations, conversation_messages").await?;
        self.sql.batch_execute("CHECKPOINT").await?;
        Ok(())
    }
}
