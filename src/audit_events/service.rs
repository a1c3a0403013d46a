//! `AuditService`.

use tonic::{Request, Response, Status, async_trait};

use super::{rules, store, wire};
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::pb;
use crate::rpc::servers::audit_service_server::AuditService;
use crate::rpc::{self, Call, PageKey};

/// `AuditService`.
pub struct AuditLog {
    db: Db,
    page_key: PageKey,
}

impl AuditLog {
    /// Creates the service over this database.
    pub fn new(db: Db, page_key: PageKey) -> Self {
        Self { db, page_key }
    }
}

#[async_trait]
impl AuditService for AuditLog {
    async fn get_audit_event(
        &self,
        request: Request<pb::GetAuditEventRequest>,
    ) -> Result<Response<pb::GetAuditEventResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let event = store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
            Ok(pb::GetAuditEventResponse { audit_event: Some(event.into()) })
        });
        Ok(response.await?)
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = store::list(tx, &filter, direction, &page).await?;
            let (audit_events, next_page_token) = self.page_key.finish(&call, &page, rows, |last| last.id)?;
            Ok(pb::ListAuditEventsResponse { audit_events, next_page_token })
        });
        Ok(response.await?)
    }
}
