//! The memory of watchers while nothing happens.

use std::time::Duration;

use crm_backend::pb::WatchConversationResponse;
use crm_testkit::meter;
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::process::Pid;
use tonic::Streaming;
use tonic::transport::Channel;

use super::watch::{self, OPENING};
use crate::report::{Figure, Measured};
use crate::stage::Stage;
use crate::{NotAvailable, Result, client};

/// The connections that the streams share. They are open from the start, because only the streams
/// are measured.
const CONNECTIONS: usize = 100;

/// The time between the opening of the last stream and the reading of memory: queries are answered
/// by then, and buffers for the opening are released.
const REST: Duration = Duration::from_secs(3);

/// `idle_watch_memory`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let (few, many) = stage.options.idle_streams();
    let channels = client::channels(stage.address, CONNECTIONS).await?;
    let mut streams = open(stage, &channels, few).await?;
    let before = resident(stage.processes.service)?;
    streams.extend(open(stage, &channels, many - few).await?);
    let after = resident(stage.processes.service)?;
    let value = (after - before) as f64 / (many - few) as f64;
    drop(streams);
    Ok(vec![Measured::new("idle_watch_memory", Figure::once(value))])
}

async fn open(
    stage: &Stage<'_>,
    channels: &[Channel],
    count: usize,
) -> Result<Vec<Streaming<WatchConversationResponse>>> {
    let conversations = stage.tenants.iter().flat_map(|tenant| {
        (1..=tenant.conversations.count).map(|number| (tenant.id, tenant.conversations.text(number)))
    });
    let conversations: Vec<_> = conversations.collect();
    let watches = conversations.into_iter().cycle().zip(channels.iter().cycle()).take(count);
    let opened = stream::iter(watches)
        .map(|((tenant, conversation), channel)| watch::open_now(channel, tenant, conversation))
        .buffer_unordered(OPENING)
        .try_collect()
        .await?;
    tokio::time::sleep(REST).await;
    Ok(opened)
}

/// Returns the resident memory of a process in bytes.
fn resident(pid: Pid) -> Result<i64> {
    let bytes = meter::memory(pid).ok_or_else(|| NotAvailable("memory is read from /proc".to_owned()))?;
    Ok(i64::try_from(bytes)?)
}
