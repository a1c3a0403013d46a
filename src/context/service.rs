//! `CustomerService.GetAiContext`.

use std::sync::Arc;
use std::thread::available_parallelism;

use tonic::async_trait;

use super::{actions, compose, wire};
use crate::customers::Contexts;
use crate::db::turns::{Room, Turns};
use crate::db::{Access, Db, TenantTx};
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::Call;
use crate::times;
use crate::tokens;

/// Answers `GetAiContext`.
pub struct AiContexts {
    db: Db,
    /// The turns of calls that count tokens on a separate thread.
    counters: Turns,
}

/// The number of cores for each call that counts tokens on a separate thread. So half of the cores stay free
/// for calls that take less.
const CORES_PER_COUNTER: usize = 2;

impl AiContexts {
    /// Creates the service over this database.
    pub fn new(db: Db) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        // A waiting call has a place of its cost, which limits their number.
        let counters = Turns::new(Room::halved(cores / CORES_PER_COUNTER, usize::MAX));
        Self { db, counters }
    }
}

#[async_trait]
impl Contexts for AiContexts {
    async fn get(&self, call: Call<pb::GetAiContextRequest>) -> Result<pb::GetAiContextResponse> {
        let params = Arc::new(wire::params(&call.message, times::now())?);
        let _place = call.context.place().await?;
        let (caller, deadline) = (&call.context.caller, call.context.deadline);
        let read = async |tx: &TenantTx| actions::read(tx, &params).await;
        let freshness = call.context.freshness;
        let snapshot = self.db.read(caller, Access::Snapshot, freshness, deadline, read).await?;
        let uncounted = snapshot.uncounted(&params);
        let request = call.message;
        let answer =
            move || wire::answer(&request, &params, &snapshot, &compose::compose(&params, &snapshot));
        if uncounted <= tokens::IN_PASSING {
            return Ok(answer());
        }
        // A long count must not hold up the calls that share this thread, nor take all cores.
        let counter = self.counters.take(caller.tenant().as_uuid()).await.map_err(Error::internal)?;
        let counted = tokio::task::spawn_blocking(move || {
            let _counter = counter;
            answer()
        });
        counted.await.map_err(Error::internal)
    }
}
