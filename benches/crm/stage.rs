//! What every scenario stands on: the running service, a way to its database, and some tenants.

use std::net::SocketAddr;

use rustix::process::Pid;
use uuid::Uuid;

use crate::client::Server;
use crate::fill::{self, Ids};
use crate::options::Options;
use crate::pgbench::Pgbench;
use crate::service::Database;
use crate::{Result, client};

/// Tenants that share the load.
pub(crate) const TENANTS: usize = 4;

/// Conversations of each tenant that take messages: 1,000 in all.
pub(crate) const CONVERSATIONS: u64 = 250;

/// A tenant with one customer of its own, and what the scenarios give it.
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    /// The customer that the service wrote.
    pub(crate) customer: Uuid,
    /// An empty conversation that the service wrote.
    pub(crate) conversation: Uuid,
    /// Copies of it.
    pub(crate) conversations: Ids,
}

/// The stage.
pub(crate) struct Stage<'d> {
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    /// For another replica.
    pub(crate) database: &'d Database,
    /// The service's process.
    pub(crate) pid: Pid,
    /// A connection as superuser.
    pub(crate) sql: tokio_postgres::Client,
    pub(crate) pgbench: Option<Pgbench>,
    pub(crate) tenants: Vec<Tenant>,
}

impl<'d> Stage<'d> {
    pub(crate) async fn new(
        options: Options,
        database: &'d Database,
        address: SocketAddr,
        pid: Pid,
        sql: tokio_postgres::Client,
        pgbench: Option<Pgbench>,
    ) -> Result<Self> {
        let mut stage = Self { options, address, database, pid, sql, pgbench, tenants: Vec::new() };
        stage.tenants = stage.fresh_tenants().await?;
        stage.settle().await?;
        Ok(stage)
    }

    /// The service, for clients that do as all do.
    pub(crate) fn server(&self) -> Server {
        Server::usual(self.address)
    }

    /// As many new tenants as share the load: customers can be copied for a tenant once.
    pub(crate) async fn fresh_tenants(&self) -> Result<Vec<Tenant>> {
        let mut tenants = Vec::new();
        for _ in 0..TENANTS {
            tenants.push(self.tenant().await?);
        }
        Ok(tenants)
    }

    /// A new tenant, with conversations that are empty.
    pub(crate) async fn tenant(&self) -> Result<Tenant> {
        let id = Uuid::new_v4();
        let channel = client::channel(self.address).await?;
        let customer = fill::customer(&channel, id).await?;
        let conversation = fill::conversation(&channel, id, customer).await?;
        let conversations = fill::conversations(&self.sql, id, conversation, CONVERSATIONS).await?;
        Ok(Tenant { id, customer, conversation, conversations })
    }

    /// New empty conversations, dealt out to the tenants in turn.
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

    /// A new empty conversation of a tenant.
    pub(crate) async fn one_conversation(&self, tenant: &Tenant) -> Result<Ids> {
        fill::conversations(&self.sql, tenant.id, tenant.conversation, 1).await
    }

    /// Has what was written go to the disk now, and not while something is measured.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.sql.batch_execute("CHECKPOINT").await?;
        Ok(())
    }
}
