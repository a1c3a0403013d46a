//! Messages one by one, each in a call of its own, compared with as many pgbench clients that write one in a
//! transaction.

use crm_backend::pb;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client;
use crate::costs::Work;
use crate::fill;
use crate::measure::{Load, WARM_UP, median, one_by_one};
use crate::pgbench::{Script, Share};
use crate::report::Measured;
use crate::stage::{Stage, TENANTS};
use crate::writers::{CONTENT, Keys};
use crate::{Result, client::Conversations};

/// The connections that callers share.
pub(super) const CONNECTIONS: usize = 8;

/// The rows with many callers, and their number.
const MANY: [(&str, usize); 2] = [("create_message_8", 8), ("create_message_32", 32)];

/// The row whose calls have a cost: at 32 callers, several messages share a transaction by chance.
const WITH_COST: &str = "create_message_8";

/// `create_message_8`, `create_message_32` and `create_message_p50`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for (name, callers) in MANY {
        if stage.options.wants(name) {
            measured.push(together(stage, name, callers).await?);
        }
    }
    if stage.options.wants("create_message_p50") {
        measured.push(alone(stage).await?);
    }
    Ok(measured)
}

/// Compares the calls per second of some callers.
async fn together(stage: &Stage<'_>, name: &'static str, callers: usize) -> Result<Measured> {
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        let load = calling(stage, callers).await?;
        let cost = (name == WITH_COST).then_some((&stage.costs, Work::Created));
        values.push(load.rate_after(WARM_UP, stage.options.round(), cost).await?);
        if let Some(pgbench) = &stage.pgbench {
            let script = Script::append_apart(shares(stage, callers).await?);
            stage.settle().await?;
            baselines.push(pgbench.rate(&script, callers, stage.options.seconds()).await?);
        }
    }
    Ok(Measured::rounds(name, &values)?.beside_pgbench(&baselines))
}

/// Compares the latency of a single caller.
async fn alone(stage: &Stage<'_>) -> Result<Measured> {
    let channel = client::channel(stage.address).await?;
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds {
        let (tenant, conversation) = one(shares(stage, 1).await?)?;
        let mut caller = Caller::new(&channel, tenant, conversation)?;
        stage.settle().await?;
        values.push(median(&one_by_one(stage.options.calm_round(), async || caller.call().await).await?)?);
        if let Some(pgbench) = &stage.pgbench {
            // One tenant, as the caller has.
            let script = Script::append_apart(shares(stage, 1).await?.into_iter().take(1).collect());
            stage.settle().await?;
            baselines.push(pgbench.median_latency(&script, stage.options.calm_seconds()).await?);
        }
    }
    Ok(Measured::rounds("create_message_p50", &values)?.beside_pgbench(&baselines))
}

/// Returns the first conversation of the first share.
fn one(shares: Vec<Share>) -> Result<(Uuid, String)> {
    let share = shares.first().ok_or("no tenant")?;
    Ok((share.tenant, share.ids.text(1)))
}

/// Creates `count` empty conversations for each tenant.
async fn shares(stage: &Stage<'_>, count: usize) -> Result<Vec<Share>> {
    let mut shares = Vec::new();
    for tenant in &stage.tenants {
        let ids = fill::conversations(&stage.sql, tenant.id, tenant.conversation, count as u64).await?;
        shares.push(Share { tenant: tenant.id, ids });
    }
    Ok(shares)
}

/// The conversation of a caller.
pub(super) struct Target {
    pub(super) tenant: Uuid,
    pub(super) conversation: String,
}

/// Creates an empty conversation for each caller, of the tenants in turn.
pub(super) async fn targets(stage: &Stage<'_>, callers: usize) -> Result<Vec<Target>> {
    let shares = shares(stage, callers.div_ceil(TENANTS)).await?;
    let targets = shares.iter().cycle().take(callers).enumerate().map(|(number, share)| Target {
        tenant: share.tenant,
        conversation: share.ids.text((number / TENANTS) as u64 + 1),
    });
    Ok(targets.collect())
}

/// Starts callers, each with a conversation of its own.
pub(super) async fn calling(stage: &Stage<'_>, callers: usize) -> Result<Load> {
    let targets = targets(stage, callers).await?;
    stage.settle().await?;
    let channels = client::channels(stage.address, CONNECTIONS.min(callers)).await?;
    let mut load = Load::new();
    for (Target { tenant, conversation }, channel) in targets.into_iter().zip(channels.iter().cycle()) {
        let mut caller = Caller::new(channel, tenant, conversation)?;
        load.spawn_calls(move || caller.call());
    }
    Ok(load)
}

/// A caller of CreateMessage.
struct Caller {
    client: Conversations,
    conversation: String,
    keys: Keys,
    number: u64,
}

impl Caller {
    fn new(channel: &Channel, tenant: Uuid, conversation: String) -> Result<Self> {
        Ok(Self {
            client: client::conversations(channel, tenant)?,
            conversation,
            keys: Keys::new(),
            number: 0,
        })
    }

    /// Creates the next message.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.number += 1;
        let message = pb::Message {
            message_key: self.keys.key(0, self.number),
            role: pb::MessageRole::User.into(),
            content: CONTENT.clone(),
            ..Default::default()
        };
        let request = pb::CreateMessageRequest {
            conversation_id: self.conversation.clone(),
            message: Some(message),
            request_id: String::new(),
        };
        let mut client = self.client.clone();
        async move {
            let created = client.create_message(request).await?.into_inner();
            created.message.map(|_| ()).ok_or_else(|| "an answer without the message".into())
        }
    }
}
