//! A separate connection for a task that asks from time to time.

use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::{Target, Wire};

/// How each question begins. A statement about many rows looks expensive, and to compile it would take longer than to run
/// it.
const BEGIN: &str = "BEGIN; SET LOCAL jit = off";

/// A connection that is opened when it is needed, and kept while it answers. It is not one of those that serve
/// tenants, and it has the owner's rights.
pub struct Kept {
    target: Target,
    wire: Option<Wire>,
}

impl Kept {
    /// No connection yet; `target` says where to open one.
    pub fn new(target: Target) -> Self {
        Self { target, wire: None }
    }

    /// Asks on the existing connection, or on a new one, in a transaction.
    ///
    /// # Errors
    ///
    /// Why there is no answer, for the log.
    pub async fn ask<R>(
        &mut self,
        patience: Duration,
        question: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<R>,
    ) -> Result<R, String> {
        let mut wire = match self.wire.take().filter(|wire| !wire.is_given_up()) {
            Some(wire) => wire,
            None => self.target.open().await.map_err(|error| error.to_string())?,
        };
        let asked = wire.ask(patience, async |connection: &mut AsyncPgConnection| {
            connection.batch_execute(BEGIN).await?;
            let answer = question(connection).await?;
            connection.batch_execute("COMMIT").await?;
            QueryResult::Ok(answer)
        });
        // After an error, the connection and its transaction are dropped.
        let answer = asked.await.map_err(|error| error.to_string())?;
        self.wire = Some(wire);
        Ok(answer)
    }
}
