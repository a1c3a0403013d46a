//! `CustomerService.GetAiContext`.

use std::sync::Arc;

use tonic::async_trait;

use super::{actions, compose, wire};
use crate::customers::Contexts;
use crate::db::{Db, TenantTx};
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::{Call, times};
use crate::tokens;

/// Answers `GetAiContext`.
pub struct AiContexts {
    db: Db,
}

impl AiContexts {
    /// The contexts of the customers in this database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Contexts for AiContexts {
    async fn get(&self, call: Call<pb::GetAiContextRequest>) -> Result<pb::GetAiContextResponse> {
        let wish = Arc::new(wire::wish(&call.message, times::now())?);
        let _place = call.context.place().await?;
        let (caller, deadline) = (&call.context.caller, call.context.deadline);
        let read = async |tx: &TenantTx| actions::read(tx, &wish).await;
        let snapshot = self.db.snapshot(caller, deadline, read).await?;
        let uncounted = snapshot.uncounted(&wish);
        let request = call.message;
        let answer = move || wire::answer(&request, &wish, &snapshot, &compose::compose(&wish, &snapshot));
        if uncounted <= tokens::IN_PASSING {
            return Ok(answer());
        }
        // What takes long must not hold up the calls that share this thread.
        tokio::task::spawn_blocking(answer).await.map_err(Error::internal)
    }
}
