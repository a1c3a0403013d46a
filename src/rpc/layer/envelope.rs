//! Requests that are no calls, but whose handlers make calls for their callers, such as those of MCP.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, request};
use tonic::{Code, Status};
use uuid::Uuid;

use super::admission::{Kind, Place};
use super::going::{Going, Line};
use super::{CallLayer, Time, deadline, metadata, trace};
use crate::auth::Admitted;
use crate::identity::Principal;
use crate::metrics::{Called, Limit};

/// What such a request may use. It has a place among all streams until this is dropped: its calls need places of
/// their own, and would wait for each other's if both were of one kind.
pub struct Envelope {
    principal: Arc<Principal>,
    until: Instant,
    id: Uuid,
    going: Going,
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

    /// The id of the request, which its line in the log has.
    pub fn request_id(&self) -> HeaderValue {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(self.id.hyphenated().encode_lower(&mut text))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Ends the request. One that is dropped before was given up by its client.
    pub fn end(mut self, code: Code) {
        self.going.end(code);
    }
}

impl CallLayer {
    /// Finds out who sends a request, and gives it a place, before anything of its body is read. Tenants and scopes
    /// are for its calls, which come through this layer as any others. The request is counted, and has a line in the log,
    /// by the name of its path.
    ///
    /// # Errors
    ///
    /// `REQUEST_TOO_LARGE` for its headers, `OVERLOADED`, or what is wrong with the credential.
    pub async fn admit_envelope(&self, head: &request::Parts) -> Result<Envelope, Status> {
        let (id, trace) = (Uuid::now_v7(), trace::parent(&head.headers));
        let mut going = Going::begin(self.metrics.clone(), Called::foreign(head.uri.path()));
        going.tell(Line { id, tenant: None, trace: trace.map(|parent| parent.trace_id()) });
        match self.admit_sender(head).await {
            Ok((principal, until, place)) => Ok(Envelope { principal, until, id, going, _place: place }),
            Err(status) => {
                going.end(status.code());
                Err(status)
            }
        }
    }

    /// Returns who sends a request, when it ends, and its place.
    async fn admit_sender(&self, head: &request::Parts) -> Result<(Arc<Principal>, Instant, Place), Status> {
        metadata::check(&head.headers).inspect_err(|_| {
            self.metrics.refusals[Limit::Metadata].inc();
        })?;
        let place = self.admission.enter(Kind::Stream)?;
        let asked = deadline::of(&head.headers);
        let time = Time::new(asked.as_ref().ok().copied().flatten(), self.default_deadline);
        let authenticated = self.authenticator.authenticate(&head.headers, &head.extensions);
        let Admitted { principal, validity: _ } = time.bound(authenticated).await?;
        asked?;
        Ok((principal, time.started + time.allowed, place))
    }
}
