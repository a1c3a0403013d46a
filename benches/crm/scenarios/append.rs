//! Adding whole messages: to many conversations, to a single one, and one at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::costs::Work;
use crate::measure::{self, Load, WARM_UP, median};
use crate::pgbench::{BATCH, Pgbench, Script, Share};
use crate::report::Measured;
use crate::stage::Stage;
use crate::writers::{Keys, Patient, Writer};
use crate::{Result, client};

/// The number of streams: as for a fleet of agents of medium size.
const STREAMS: usize = 64;

/// The connections that the streams share, as agents in a process do.
const CONNECTIONS: usize = 8;

/// The numbers of pgbench clients that are best on few and on more cores. The best result counts.
const CLIENTS: [usize; 2] = [8, 32];

/// The same if all clients block each other, and a single client may be best.
const CLIENTS_ON_ONE: [usize; 3] = [1, 8, 32];

/// The clients that write batches: on few cores more are no faster.
const BATCH_CLIENTS: usize = 2;

/// `append` and `append_vs_unnest`.
pub(crate) async fn spread(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let shares: Vec<_> =
        stage.tenants.iter().map(|tenant| Share { tenant: tenant.id, ids: tenant.conversations }).collect();
    let conversations = conversations(stage);
    let (single, batches) = (Script::append(shares.clone()), Script::append_batches(shares));
    let (mut values, mut singles, mut batched) = (Vec::new(), Best::new(&CLIENTS), Vec::new());
    for _ in 0..stage.options.rounds {
        values.push(append(stage, &conversations, true).await?);
        if let Some(pgbench) = &stage.pgbench {
            if stage.options.wants("append") {
                singles.round(stage, pgbench, &single).await?;
            }
            if stage.options.wants("append_vs_unnest") {
                stage.settle().await?;
                let rate = pgbench.rate(&batches, BATCH_CLIENTS, stage.options.seconds()).await?;
                batched.push(rate * BATCH as f64);
            }
        }
    }
    Ok(vec![
        Measured::rounds("append", &values)?.beside_pgbench(singles.best()),
        Measured::rounds("append_vs_unnest", &values)?.beside_pgbench(&batched),
    ])
}

/// `append_hot`.
pub(crate) async fn hot(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let tenant = stage.tenants.first().ok_or("no tenant")?;
    let (mut values, mut singles) = (Vec::new(), Best::new(&CLIENTS_ON_ONE));
    for _ in 0..stage.options.rounds {
        // A new conversation each time, so that no round has larger indexes than the previous one.
        let mine = stage.one_conversation(tenant).await?;
        values.push(append(stage, &[Arc::new(mine.texts())], false).await?);
        if let Some(pgbench) = &stage.pgbench {
            let ids = stage.one_conversation(tenant).await?;
            let script = Script::append(vec![Share { tenant: tenant.id, ids }]);
            singles.round(stage, pgbench, &script).await?;
        }
    }
    Ok(vec![Measured::rounds("append_hot", &values)?.beside_pgbench(singles.best())])
}

/// `append_idle_p50`.
pub(crate) async fn idle(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let tenant = stage.tenants.first().ok_or("no tenant")?;
    let channel = client::channel(stage.address).await?;
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        let ids = stage.one_conversation(tenant).await?;
        stage.settle().await?;
        let mut writer = Patient::open(&channel, tenant.id, ids.text(1)).await?;
        let took = measure::one_by_one(stage.options.calm_round(), async || writer.write().await).await?;
        values.push(median(&took)?);
        if let Some(pgbench) = &stage.pgbench {
            let ids = stage.one_conversation(tenant).await?;
            let script = Script::append(vec![Share { tenant: tenant.id, ids }]);
            stage.settle().await?;
            baselines.push(pgbench.median_latency(&script, stage.options.calm_seconds()).await?);
        }
    }
    Ok(vec![Measured::rounds("append_idle_p50", &values)?.beside_pgbench(&baselines)])
}

/// Returns the acks per second, and perhaps records what each of them costs.
async fn append(stage: &Stage<'_>, conversations: &[Arc<Vec<String>>], with_cost: bool) -> Result<f64> {
    stage.settle().await?;
    let (load, refused) = appending(stage, stage.address, conversations).await?;
    let cost = with_cost.then_some((&stage.costs, Work::Appended));
    let rate = load.rate_after(WARM_UP, stage.options.round(), cost).await?;
    match refused.load(Ordering::Relaxed) {
        0 => {}
        refused => eprintln!("{refused} messages were refused as UNAVAILABLE, and do not count"),
    }
    Ok(rate)
}

/// Returns the conversations of each tenant.
pub(super) fn conversations(stage: &Stage<'_>) -> Vec<Arc<Vec<String>>> {
    stage.tenants.iter().map(|tenant| Arc::new(tenant.conversations.texts())).collect()
}

/// Starts streams that never wait, each to the conversations of one tenant in turn. Returns them with the count of
/// refusals.
pub(super) async fn appending(
    stage: &Stage<'_>,
    address: SocketAddr,
    conversations: &[Arc<Vec<String>>],
) -> Result<(Load, Arc<AtomicU64>)> {
    let channels = client::channels(address, CONNECTIONS).await?;
    let tenants = stage.tenants.iter().zip(conversations).cycle();
    let keys = Keys::new();
    let (mut load, refused) = (Load::new(), Arc::new(AtomicU64::new(0)));
    for ((stream, channel), (tenant, conversations)) in
        channels.iter().cycle().enumerate().take(STREAMS).zip(tenants)
    {
        let writer = Writer {
            channel: channel.clone(),
            tenant: tenant.id,
            conversations: Arc::clone(conversations),
            keys,
            stream,
        };
        let (done, stop) = (Arc::clone(&load.done), load.stop.clone());
        load.spawn(writer.write(done, Arc::clone(&refused), stop));
    }
    Ok((load, refused))
}

/// The share of the best rate that another number of clients needs in the first round to be tried again.
const PROMISING: f64 = 0.8;

/// The rates of pgbench by the number of its clients.
struct Best {
    rates: Vec<(usize, Vec<f64>)>,
}

impl Best {
    fn new(clients: &[usize]) -> Self {
        Self { rates: clients.iter().map(|clients| (*clients, Vec::new())).collect() }
    }

    async fn round(&mut self, stage: &Stage<'_>, pgbench: &Pgbench, script: &Script) -> Result<()> {
        for (clients, rates) in &mut self.rates {
            stage.settle().await?;
            rates.push(pgbench.rate(script, *clients, stage.options.seconds()).await?);
        }
        let best = median(self.best())?;
        self.rates.retain(|(_, rates)| median(rates).is_ok_and(|rate| rate >= best * PROMISING));
        Ok(())
    }

    /// Returns the rates of the best number of clients; none if there is no pgbench.
    fn best(&self) -> &[f64] {
        let rates = self.rates.iter().filter_map(|(_, rates)| Some((median(rates).ok()?, rates)));
        rates.max_by(|(one, _), (other, _)| one.total_cmp(other)).map_or(&[], |(_, rates)| rates)
    }
}
