//! Connections that serve tenants, as the pool makes and takes them.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::PoolableConnection;

use super::Target;

/// A connection, and what is known of it.
///
/// Everything on it goes through a shared reference: several statements can be on their way at once,
/// and Postgres takes them in the order in which they were sent.
pub(super) struct Connection {
    inner: AsyncPgConnection,
    /// Whether a transaction is open, or may be.
    open: AtomicBool,
    /// Whether the statements of a batch are prepared.
    warm: AtomicBool,
}

impl Connection {
    pub(super) fn inner(&self) -> &AsyncPgConnection {
        &self.inner
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub(super) fn is_warm(&self) -> bool {
        self.warm.load(Ordering::Relaxed)
    }

    pub(super) fn set_warm(&self) {
        self.warm.store(true, Ordering::Relaxed);
    }
}

/// Makes connections to a database.
pub(super) struct Connector(pub(super) Target);

impl Manager for Connector {
    type Type = Connection;
    type Error = ConnectionError;

    async fn create(&self) -> Result<Connection, ConnectionError> {
        let inner = self.0.open().await?;
        Ok(Connection { inner, open: AtomicBool::new(false), warm: AtomicBool::new(false) })
    }

    /// Takes a connection back, unless it is lost, or its transaction was left half way. There is no
    /// question to the server: that would cost every call a round trip, and a broken connection shows
    /// at BEGIN, before anything has happened.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<ConnectionError> {
        if *connection.open.get_mut() || connection.inner.is_broken() {
            return Err(RecycleError::message("lost, or left in a transaction"));
        }
        Ok(())
    }
}
