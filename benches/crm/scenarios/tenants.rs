//! The cost of many tenants that do little or nothing.

use std::time::Duration;

use crm_backend::pb;
use crm_testkit::meter;
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::process::Pid;
use tonic::transport::Channel;
use uuid::Uuid;

use super::watch::{self, OPENING};
use crate::fill::{self, Ids};
use crate::measure::{median, one_by_one, quantile};
use crate::report::{Figure, Measured};
use crate::stage::{Stage, Tenant};
use crate::{NotAvailable, Result, client};

/// The connections that the watches share.
const CONNECTIONS: usize = 100;

/// The time between the opening of the last watch and the idle time: the cost of opening, and of the first look at all
/// of them, is over by then.
const REST: Duration = Duration::from_secs(12);

/// How long the watches are idle: what comes every 10 s (looks at the database) and every 15 s (checkpoints to
/// watchers) comes a whole number of times.
const IDLE: Duration = Duration::from_secs(30);

/// The parts of that time that the spread is of.
const PARTS: u32 = 3;

/// The messages of each of many tenants.
const MESSAGES: u64 = 5;

/// The distance between the tenants of two calls: a prime, so that calls reach all tenants in an order that differs
/// from that of the tables.
const STRIDE: u64 = 7_919;

/// `idle_tenants` and `idle_tenants_p95`: each of many tenants has an idle watch.
pub(crate) async fn idle(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let count = stage.options.idle_tenants();
    let calm = stage.tenant().await?;
    let tenants = fill::tenants(&stage.sql, (calm.id, calm.customer, calm.conversation), count).await?;
    fill::tidy(&stage.sql).await?;
    let channel = client::channel(stage.address).await?;
    let before = get_customer(stage, &channel, &calm).await?;
    let channels = client::channels(stage.address, CONNECTIONS).await?;
    let conversation = calm.conversation.to_string();
    let watches: Vec<_> = stream::iter((1..=count).zip(channels.iter().cycle()))
        .map(|(number, channel)| watch::open_now(channel, tenants.id(number), conversation.clone()))
        .buffer_unordered(OPENING)
        .try_collect()
        .await?;
    tokio::time::sleep(REST).await;
    let mut used = vec![busy(stage).await?];
    for _ in 0..PARTS {
        tokio::time::sleep(IDLE / PARTS).await;
        used.push(busy(stage).await?);
    }
    let share = |from: f64, to: f64| 100.0 * (to - from) / (IDLE / PARTS).as_secs_f64();
    let parts: Vec<f64> =
        used.windows(2).filter_map(|pair| Some(share(*pair.first()?, *pair.last()?))).collect();
    let idle = Figure::of_parts(&parts, PARTS, |parts| Ok(parts.iter().sum::<f64>() / parts.len() as f64))?;
    let after = get_customer(stage, &channel, &calm).await?;
    drop(watches);
    let p95 = |took: &[f64]| Figure::of_parts(took, stage.options.rounds, |part| quantile(part, 0.95));
    let lookups = Measured::new("idle_tenants_p95", p95(&after)?).beside(p95(&before)?);
    Ok(vec![Measured::new("idle_tenants", idle), lookups])
}

/// `many_tenants`: the call that suffers most from many tenants, if each call is for another one.
///
/// Each tenant has what the one has, and Postgres writes no checkpoint between the copies and the calls. After a
/// checkpoint, the first write to a page writes all of the page, and each tenant has pages of its own: that is
/// Postgres, with or without the service.
pub(crate) async fn many(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let count = stage.options.many_tenants();
    let channel = client::channel(stage.address).await?;
    let alone = stage.tenant().await?;
    let whose = (alone.id, alone.customer);
    fill::messages(&stage.sql, &channel, whose, alone.conversations, MESSAGES).await?;
    fill::tidy(&stage.sql).await?;
    let one = Tenants { calm: &alone, ids: None, conversation: alone.conversations.text(1) };
    stage.settle().await?;
    let before = one.medians(stage, &channel).await?;
    // The first conversation has the messages of the first measurement, this one has none of them.
    let ids = fill::tenants(&stage.sql, (alone.id, alone.customer, alone.conversations.id(2)), count).await?;
    fill::tidy(&stage.sql).await?;
    let all = Tenants { ids: Some(ids), conversation: alone.conversations.text(2), ..one };
    let after = all.medians(stage, &channel).await?;
    let mut worst: Option<Measured> = None;
    for ((kind, before), after) in KINDS.iter().zip(before).zip(after) {
        eprintln!("{kind}: p50 {:.2} ms of one tenant, {:.2} ms of {count}", before.value, after.value);
        let measured = Measured::new("many_tenants", after).beside(before);
        if worst.as_ref().is_none_or(|worst| worst.ratio() < measured.ratio()) {
            worst = Some(measured);
        }
    }
    Ok(worst.into_iter().collect())
}

/// The kinds of calls of [`many`].
const KINDS: [&str; 4] = ["GetCustomer", "CreateMessage", "CreateCustomer", "GetAiContext"];

/// One tenant, or many tenants with the same data.
struct Tenants<'t> {
    calm: &'t Tenant,
    ids: Option<Ids>,
    conversation: String,
}

impl Tenants<'_> {
    /// Returns the tenant of a call.
    fn of(&self, number: u64) -> Uuid {
        self.ids.map_or(self.calm.id, |ids| ids.id(1 + number * STRIDE % ids.count))
    }

    /// Returns the median of each kind of call, in milliseconds.
    async fn medians(&self, stage: &Stage<'_>, channel: &Channel) -> Result<[Figure; 4]> {
        let round = stage.options.calm_round();
        let p50 = |took: Vec<f64>| Figure::of_parts(&took, stage.options.rounds, median);
        let mut number = 0;
        let mut next = || {
            number += 1;
            self.of(number)
        };
        let customer = self.calm.customer.to_string();
        let reads = one_by_one(round, async || {
            let request = pb::GetCustomerRequest { id: customer.clone(), ..Default::default() };
            client::customers(channel, next())?.get_customer(request).await?;
            Ok(())
        });
        let reads = p50(reads.await?)?;
        let messages = one_by_one(round, async || {
            let message = pb::Message {
                role: pb::MessageRole::User.into(),
                content: crate::writers::CONTENT.clone(),
                ..Default::default()
            };
            let request = pb::CreateMessageRequest {
                conversation_id: self.conversation.clone(),
                message: Some(message),
                request_id: String::new(),
            };
            client::conversations(channel, next())?.create_message(request).await?;
            Ok(())
        });
        let messages = p50(messages.await?)?;
        let customers = one_by_one(round, async || {
            // A name that many customers share takes longer, because of its slug.
            let business_name = Uuid::new_v4().to_string();
            let customer = Some(pb::Customer { business_name, ..Default::default() });
            let request = pb::CreateCustomerRequest { customer, ..Default::default() };
            client::customers(channel, next())?.create_customer(request).await?;
            Ok(())
        });
        let customers = p50(customers.await?)?;
        let contexts = one_by_one(round, async || {
            let request = pb::GetAiContextRequest {
                customer_id: customer.clone(),
                conversation_id: self.conversation.clone(),
                max_tokens: 1_500,
                ..Default::default()
            };
            client::customers(channel, next())?.get_ai_context(request).await?;
            Ok(())
        });
        let contexts = p50(contexts.await?)?;
        Ok([reads, messages, customers, contexts])
    }
}

/// Returns the milliseconds of each lookup of a customer in a round.
async fn get_customer(stage: &Stage<'_>, channel: &Channel, calm: &Tenant) -> Result<Vec<f64>> {
    stage.settle().await?;
    let request = pb::GetCustomerRequest { id: calm.customer.to_string(), ..Default::default() };
    let mut client = client::customers(channel, calm.id)?;
    one_by_one(stage.options.calm_round(), async || {
        client.get_customer(request.clone()).await?;
        Ok(())
    })
    .await
}

/// Returns the seconds that the service and its Postgres processes were busy so far. A process that ends meanwhile is
/// not counted, nor are those that clean up after the tables were filled.
async fn busy(stage: &Stage<'_>) -> Result<f64> {
    let backends = stage
        .sql
        .query(
            "SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
            &[],
        )
        .await?;
    let mut sum = meter::busy(stage.processes.service)
        .ok_or_else(|| NotAvailable("the time of a processor is read from /proc".to_owned()))?;
    for backend in &backends {
        sum += Pid::from_raw(backend.get(0)).and_then(meter::busy).unwrap_or_default();
    }
    Ok(sum.as_secs_f64())
}
