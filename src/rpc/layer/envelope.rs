//! Requests that are no calls, but whose handlers make calls for their callers, such as those of MCP.

use std::sync::Arc;
use std::time::Instant;

use http::request;
use tonic::Status;

use super::admission::{Kind, Place};
use super::{CallLayer, Time, deadline, metadata};
use crate::auth::Admitted;
use crate::identity::Principal;
use crate::metrics::Limit;

/// What such a request may use. It has a place among all streams until this is dropped: its calls need places of
/// their own, and would wait for each other's if both were of one kind.
pub struct Envelope {
    principal: Arc<Principal>,
    until: Instant,
    _place: Place,
}

impl Envelope {
    /// The caller.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// When the request ends, with all of its calls.
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl CallLayer {
    /// Finds out who sends a request, and gives it a place, before anything of its body is read. Tenants and scopes
    /// are for its calls, which come through this layer as any others.
    ///
    /// # Errors
    ///
    /// `REQUEST_TOO_LARGE` for its headers, `OVERLOADED`, or what is wrong with the credential.
    pub async fn admit_envelope(&self, head: &request::Parts) -> Result<Envelope, Status> {
        metadata::check(&head.headers).inspect_err(|_| {
            self.metrics.refusals[Limit::Metadata].inc();
        })?;
        let place = self.admission.enter(Kind::Stream)?;
        let asked = deadline::of(&head.headers);
        let time = Time::new(asked.as_ref().ok().copied().flatten(), self.default_deadline);
        let authenticated = self.authenticator.authenticate(&head.headers, &head.extensions);
        let Admitted { principal, validity: _ } = time.bound(authenticated).await?;
        asked?;
        Ok(Envelope { principal, until: time.started + time.allowed, _place: place })
    }
}
