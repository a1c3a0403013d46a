//! The memory of watchers while nothing happens.

use std::time::Duration;

use crm_testkit::meter;
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::process::Pid;

use super::watch::{self, OPENING, Watched};
use crate::report::{Figure, Measured};
use crate::stage::Stage;
use crate::{NotAvailable, Result, client};

/// The connections that the streams share. They are open from the start, because only the streams
/// are measured.
pub(super) const CONNECTIONS: usize = 100;

/// The time between the opening of the last stream and the reading of memory: queries are answered
/// by then, and buffers for the opening are released.
const REST: Duration = Duration::from_secs(3);

/// `idle_watch_memory`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channels = client::channels(stage.address, CONNECTIONS).await?;
    let open = async |conversations: Vec<Watched>| {
        let watches = conversations.into_iter().zip(channels.iter().cycle());
        stream::iter(watches)
            .map(|((tenant, conversation), channel)| watch::open_now(channel, tenant, conversation))
            .buffer_unordered(OPENING)
            .try_collect()
            .await
    };
    Ok(vec![Measured::new("idle_watch_memory", memory(stage, open).await?)])
}

/// Returns the memory in bytes of each stream that `open` opens.
pub(super) async fn memory<S>(
    stage: &Stage<'_>,
    open: impl AsyncFn(Vec<Watched>) -> Result<Vec<S>>,
) -> Result<Figure> {
    let (few, many) = stage.options.idle_streams();
    let mut streams = open(conversations(stage, few)).await?;
    tokio::time::sleep(REST).await;
    let before = resident(stage.processes.service)?;
    streams.extend(open(conversations(stage, many - few)).await?);
    tokio::time::sleep(REST).await;
    let after = resident(stage.processes.service)?;
    drop(streams);
    Ok(Figure::once((after - before) as f64 / (many - few) as f64))
}

/// Returns the conversations that are watched, some of them more than once.
fn conversations(stage: &Stage<'_>, count: usize) -> Vec<Watched> {
    let conversations = stage.tenants.iter().flat_map(|tenant| {
        (1..=tenant.conversations.count).map(|number| (tenant.id, tenant.conversations.text(number)))
    });
    conversations.collect::<Vec<_>>().into_iter().cycle().take(count).collect()
}

/// Returns the resident memory of a process in bytes.
fn resident(pid: Pid) -> Result<i64> {
    let bytes = meter::memory(pid).ok_or_else(|| NotAvailable("memory is read from /proc".to_owned()))?;
    Ok(i64::try_from(bytes)?)
}
