//! Calls that read, compared with the same select.

use crm_backend::pb;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client::Server;
use crate::costs::Work;
use crate::fill::Ids;
use crate::measure::{Load, WARM_UP};
use crate::pgbench::{Script, Share};
use crate::report::Measured;
use crate::stage::{Stage, Tenant};
use crate::{Result, client, fill};

/// The connections of the clients, and the number of pgbench clients.
pub(super) const CONNECTIONS: usize = 8;

/// The calls in flight on each connection that read a customer.
pub(super) const GETS: usize = 16;

/// The calls in flight on each connection that list messages: a page is 50 times as much work.
const LISTS: usize = 4;

/// The customers of each tenant: far more than are read at once, and all in memory, as with
/// pgbench.
const CUSTOMERS: u64 = 2_500;

/// The messages of each conversation: a page, and as many before it.
const MESSAGES: u64 = 100;

/// The default size of a page.
const PAGE: usize = 50;

/// `get_customer`.
pub(crate) async fn get_customer(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let shares = stage.shelf.customers(stage).await?;
    let script = Script::get_customer(shares.clone());
    compare(stage, "get_customer", None, &script, async || getting(&stage.server(), &shares).await).await
}

/// `list_messages`.
pub(crate) async fn list_messages(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let shares = stage.shelf.messages(stage).await?;
    let script = Script::list_messages(shares.clone());
    let load = async || listing(&stage.server(), &shares).await;
    compare(stage, "list_messages", Some(Work::Listed), &script, load).await
}

/// Creates customers to read, for some tenants.
pub(super) async fn fill_customers(stage: &Stage<'_>) -> Result<Vec<Share>> {
    let mut shares = Vec::new();
    for tenant in stage.fresh_tenants().await? {
        let ids = fill::customers(&stage.sql, tenant.id, tenant.customer, CUSTOMERS).await?;
        shares.push(Share { tenant: tenant.id, ids });
    }
    fill::tidy(&stage.sql).await?;
    Ok(shares)
}

/// Creates conversations to read, for some tenants.
pub(super) async fn fill_messages(stage: &Stage<'_>) -> Result<Vec<Share>> {
    let channel = client::channel(stage.address).await?;
    let mut shares = Vec::new();
    for Tenant { id, customer, conversation, conversations } in &stage.tenants {
        let ids = fill::conversations(&stage.sql, *id, *conversation, conversations.count).await?;
        fill::messages(&stage.sql, &channel, (*id, *customer), ids, MESSAGES).await?;
        shares.push(Share { tenant: *id, ids });
    }
    fill::tidy(&stage.sql).await?;
    Ok(shares)
}

/// Starts clients that read customers.
pub(super) async fn getting(server: &Server, shares: &[Share]) -> Result<Load> {
    let mut load = Load::new();
    for (channel, tenant, mut ids) in clients(server, shares, GETS).await? {
        let client = server.customers(&channel, tenant)?;
        load.spawn_calls(move || {
            let (mut client, id) = (client.clone(), ids.next());
            async move {
                let request = pb::GetCustomerRequest { id, ..Default::default() };
                client.get_customer(request).await?;
                Ok(())
            }
        });
    }
    Ok(load)
}

/// Starts clients that read the last page of conversations.
pub(super) async fn listing(server: &Server, shares: &[Share]) -> Result<Load> {
    let mut load = Load::new();
    for (channel, tenant, mut ids) in clients(server, shares, LISTS).await? {
        let client = server.conversations(&channel, tenant)?;
        load.spawn_calls(move || {
            let (mut client, request) = (client.clone(), last_messages(ids.next()));
            async move {
                let page = client.list_messages(request).await?.into_inner();
                (page.messages.len() == PAGE).then_some(()).ok_or_else(|| "not a whole page".into())
            }
        });
    }
    Ok(load)
}

/// Returns the request for the last page of a conversation.
pub(crate) fn last_messages(conversation_id: String) -> pb::ListMessagesRequest {
    pb::ListMessagesRequest {
        conversation_id,
        page_size: 0,
        order_by: "sequence desc".to_owned(),
        ..Default::default()
    }
}

/// Returns `in_flight` clients on each connection, for the tenants in turn, with the rows that each
/// reads.
async fn clients(
    server: &Server,
    shares: &[Share],
    in_flight: usize,
) -> Result<impl Iterator<Item = (Channel, Uuid, Turn)>> {
    let channels = client::channels(server.address, CONNECTIONS).await?;
    let clients = (0..CONNECTIONS * in_flight).zip(channels.into_iter().cycle()).zip(shares.iter().cycle());
    Ok(clients.map(|((number, channel), share)| (channel, share.tenant, Turn::new(share.ids, number))))
}

/// Runs rounds of calls, and of pgbench with as many clients as there are connections. Perhaps records what each call
/// costs.
async fn compare(
    stage: &Stage<'_>,
    name: &'static str,
    work: Option<Work>,
    script: &Script,
    load: impl AsyncFn() -> Result<Load>,
) -> Result<Vec<Measured>> {
    stage.settle().await?;
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        let cost = work.map(|work| (&stage.costs, work));
        values.push(load().await?.rate_after(WARM_UP, stage.options.round(), cost).await?);
        if let Some(pgbench) = &stage.pgbench {
            baselines.push(pgbench.rate(script, CONNECTIONS, stage.options.seconds()).await?);
        }
    }
    Ok(vec![Measured::rounds(name, &values)?.beside_pgbench(&baselines)])
}

/// Row numbers that jump like random ones, and cost nothing to compute.
pub(super) struct Turn {
    ids: Ids,
    next: u64,
}

impl Turn {
    /// A prime, so that every number occurs before one repeats.
    const STEP: u64 = 7_919;

    pub(super) fn new(ids: Ids, first: usize) -> Self {
        Self { ids, next: first as u64 * Self::STEP }
    }

    pub(super) fn next(&mut self) -> String {
        self.next += Self::STEP;
        self.ids.text(self.next % self.ids.count + 1)
    }
}
