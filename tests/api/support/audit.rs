//! Helpers for the audit log.

use std::collections::HashMap;

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

    /// Returns all events of a request, page by page.
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

    /// Returns the events of a method.
    pub(crate) async fn events_of(&self, method: &str) -> Vec<AuditEvent> {
        self.events(ListAuditEventsRequest { method: method.to_owned(), ..Default::default() }).await
    }

    /// Returns the single event of the call that failed with this error. The event comes a little
    /// later.
    pub(crate) async fn event_of_error(&self, error: &Status) -> AuditEvent {
        self.events_of_errors([error]).await.remove(0)
    }

    /// Returns the single event of each call that failed with one of these errors.
    pub(crate) async fn events_of_errors(
        &self,
        errors: impl IntoIterator<Item = &Status>,
    ) -> Vec<AuditEvent> {
        let calls: Vec<String> = errors.into_iter().map(call_id).collect();
        let mut found = HashMap::new();
        eventually("the events are there", async || {
            found.clear();
            for event in self.events(Default::default()).await {
                let another = found.insert(event.call_id.clone(), event);
                assert_eq!(another, None, "a call has one event");
            }
            calls.iter().all(|call| found.contains_key(call))
        })
        .await;
        calls.iter().map(|call| found.remove(call).expect("an id of its own")).collect()
    }
}

/// Returns the id of the call that failed with this error.
fn call_id(error: &Status) -> String {
    error.get_error_details().request_info().expect("the id of the call").request_id.clone()
}
