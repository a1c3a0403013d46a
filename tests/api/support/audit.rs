//! The audit log in few words.

use crm_backend::pb::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse};
use tonic::Status;
use tonic_types::StatusExt;

use super::{Tenant, eventually};

impl Tenant {
    pub(crate) async fn audit_page(
        &self,
        request: ListAuditEventsRequest,
    ) -> Result<ListAuditEventsResponse, Status> {
        Ok(self.audit().list_audit_events(request).await?.into_inner())
    }

    /// All events that a request asks for, page by page.
    pub(crate) async fn events(&self, mut request: ListAuditEventsRequest) -> Vec<AuditEvent> {
        let mut events = Vec::new();
        loop {
            let page = self.audit_page(request.clone()).await.expect("a page");
            events.extend(page.audit_events);
            if page.next_page_token.is_empty() {
                return events;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The events of a method.
    pub(crate) async fn events_of(&self, method: &str) -> Vec<AuditEvent> {
        self.events(ListAuditEventsRequest { method: method.to_owned(), ..Default::default() }).await
    }

    /// The one event of the call that was answered with this error, which comes a little later.
    pub(crate) async fn event_of_error(&self, error: &Status) -> AuditEvent {
        let details = error.get_error_details();
        let call_id = details.request_info().expect("the id of the call").request_id.clone();
        let find = async || {
            let mut events = self.events(Default::default()).await;
            events.retain(|event| event.call_id == call_id);
            events
        };
        eventually("the event is there", async || !find().await.is_empty()).await;
        let mut found = find().await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}
