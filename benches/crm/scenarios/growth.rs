//! The latency of a call with much data, compared with the same call with little data.

use std::time::Instant;

use crm_backend::pb;
use tonic::transport::Channel;
use uuid::Uuid;

use super::reads::last_messages;
use crate::fill::{self, COMMON_WORD, Ids};
use crate::measure::{median, one_by_one};
use crate::report::Measured;
use crate::stage::{Stage, Tenant};
use crate::writers::Patient;
use crate::{Result, client};

/// The rows of the small table.
const SMALL: u64 = 1_000;

/// The number of customers that are searched for, evenly spread over all. It is the same for the large table, so that
/// the cost of a search is compared, and not the size of the caches.
const SEARCHED: u64 = 1_000;

/// The number of pages that are read one after the other before the list begins again.
const PAGES: usize = 10;

/// `growth_append` and `growth_list_messages`.
pub(crate) async fn conversation(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let tenant = stage.tenants.first().ok_or("no tenant")?;
    let large = conversation_of(stage, &channel, tenant, stage.options.grown_rows()).await?;
    let small = conversation_of(stage, &channel, tenant, SMALL).await?;
    fill::tidy(&stage.sql).await?;
    let mut pages = Pair::new("growth_list_messages");
    let mut appends = Pair::new("growth_append");
    // The lists come first: appending makes the small conversation larger.
    for _ in 0..stage.options.rounds {
        for (ids, times) in [(large, &mut pages.large), (small, &mut pages.small)] {
            if stage.options.wants("growth_list_messages") {
                stage.settle().await?;
                times.push(list_messages(stage, &channel, tenant.id, ids.text(1)).await?);
            }
        }
    }
    for _ in 0..stage.options.rounds {
        for (ids, times) in [(large, &mut appends.large), (small, &mut appends.small)] {
            if stage.options.wants("growth_append") {
                stage.settle().await?;
                let mut writer = Patient::open(&channel, tenant.id, ids.text(1)).await?;
                times.push(median(
                    &one_by_one(stage.options.calm_round(), async || writer.write().await).await?,
                )?);
            }
        }
    }
    Ok([appends, pages].iter().filter_map(Pair::measured).collect())
}

/// `growth_list_customers`, `growth_search` and `growth_search_common`.
pub(crate) async fn tenant(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let large = customers_of(stage, stage.options.grown_rows()).await?;
    let small = customers_of(stage, SMALL).await?;
    fill::tidy(&stage.sql).await?;
    let mut measured = Vec::new();
    for (name, query) in [
        ("growth_list_customers", Query::All),
        ("growth_search", Query::Rare),
        ("growth_search_common", Query::Common),
    ] {
        let mut pair = Pair::new(name);
        for _ in 0..stage.options.rounds {
            for ((tenant, ids), times) in [(large, &mut pair.large), (small, &mut pair.small)] {
                if stage.options.wants(name) {
                    stage.settle().await?;
                    times.push(list_customers(stage, &channel, tenant, ids, query).await?);
                }
            }
        }
        measured.extend(pair.measured());
    }
    Ok(measured)
}

/// The latencies with much and with little data: a number for each round.
struct Pair {
    name: &'static str,
    large: Vec<f64>,
    small: Vec<f64>,
}

impl Pair {
    fn new(name: &'static str) -> Self {
        Self { name, large: Vec::new(), small: Vec::new() }
    }

    /// Returns `None` if the scenario was not requested.
    fn measured(&self) -> Option<Measured> {
        Some(Measured::rounds(self.name, &self.large).ok()?.beside_rounds(&self.small))
    }
}

/// Creates a conversation with `count` messages.
async fn conversation_of(stage: &Stage<'_>, channel: &Channel, tenant: &Tenant, count: u64) -> Result<Ids> {
    let began = Instant::now();
    let ids = stage.one_conversation(tenant).await?;
    fill::messages(&stage.sql, channel, (tenant.id, tenant.customer), ids, count).await?;
    eprintln!("{count} messages in a conversation, filled in {:.1} s", began.elapsed().as_secs_f64());
    Ok(ids)
}

/// Creates a tenant with `count` customers.
async fn customers_of(stage: &Stage<'_>, count: u64) -> Result<(Uuid, Ids)> {
    let began = Instant::now();
    let tenant = stage.tenant().await?;
    let ids = fill::customers(&stage.sql, tenant.id, tenant.customer, count).await?;
    eprintln!("{count} customers of a tenant, filled in {:.1} s", began.elapsed().as_secs_f64());
    Ok((tenant.id, ids))
}

/// Returns the milliseconds of a page of messages, reading backwards from the end.
async fn list_messages(
    stage: &Stage<'_>,
    channel: &Channel,
    tenant: Uuid,
    conversation: String,
) -> Result<f64> {
    let mut client = client::conversations(channel, tenant)?;
    let first = last_messages(conversation);
    let (mut request, mut pages) = (first.clone(), 0);
    let took = one_by_one(stage.options.calm_round(), async || {
        let page = client.list_messages(request.clone()).await?.into_inner();
        pages += 1;
        request = first.clone();
        if pages % PAGES != 0 {
            request.page_token = page.next_page_token;
        }
        Ok(())
    });
    median(&took.await?)
}

/// A query for customers.
#[derive(Debug, Clone, Copy)]
enum Query {
    /// All customers, page after page.
    All,
    /// In turn, customers with a word that only one has, and with a word that a handful have.
    Rare,
    /// Customers with a word that all have.
    Common,
}

/// Returns the milliseconds of a page of customers.
async fn list_customers(
    stage: &Stage<'_>,
    channel: &Channel,
    tenant: Uuid,
    ids: Ids,
    query: Query,
) -> Result<f64> {
    let mut client = client::customers(channel, tenant)?;
    let (mut token, mut calls) = (String::new(), 0);
    let took = one_by_one(stage.options.calm_round(), async || {
        let request = pb::ListCustomersRequest {
            query: word(query, ids, calls),
            page_token: std::mem::take(&mut token),
            ..Default::default()
        };
        let page = client.list_customers(request).await?.into_inner();
        if page.customers.is_empty() {
            return Err("a search found nobody".into());
        }
        calls += 1;
        if matches!(query, Query::All) && calls % PAGES as u64 != 0 {
            token = page.next_page_token;
        }
        Ok(())
    });
    let took = took.await?;
    match query {
        // The median of two mixed kinds means nothing; their mean is the cost of a call.
        Query::Rare => mean(&took),
        Query::All | Query::Common => median(&took),
    }
}

/// Returns the word to search for in a call.
fn word(query: Query, ids: Ids, call: u64) -> String {
    let [one, handful] = fill::words(call % SEARCHED * (ids.count / SEARCHED) + 1);
    match query {
        Query::All => String::new(),
        Query::Common => COMMON_WORD.to_owned(),
        Query::Rare if call.is_multiple_of(2) => one,
        Query::Rare => handful,
    }
}

fn mean(numbers: &[f64]) -> Result<f64> {
    if numbers.is_empty() {
        return Err("nothing was measured".into());
    }
    let count = numbers.len() as f64;
    Ok(numbers.iter().sum::<f64>() / count)
}
