//! Reports to the audit log how calls that would have changed something ended.

use std::sync::{Arc, OnceLock};

use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::audit::rules::{self, SubjectSlot};
use crate::audit::{Operation, Recorder};
use crate::error::Error;
use crate::identity::{Principal, TenantId};
use crate::pb::ErrorReason;
use crate::rpc::method::Method;
use crate::times;

/// A call, as far as it is known.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What it would change; `None` for a call that only reads.
    operation: Option<Operation>,
    /// The caller, once it has proved its right to a tenant.
    by: OnceLock<(Arc<Principal>, TenantId)>,
    /// The content of its request, once it was read.
    pub(super) subject: SubjectSlot,
}

impl Attempt {
    /// Creates the attempt of a call; `method` is `None` if there is no such RPC.
    pub(super) fn new(method: Option<&'static Method>, call_id: Uuid) -> Self {
        let operation = method.and_then(|method| {
            let Method { name, resource_type, .. } = method;
            Some(Operation { method: name, resource_type: (*resource_type)?, call_id: Some(call_id) })
        });
        Self { operation, by: OnceLock::new(), subject: SubjectSlot::default() }
    }

    /// Stores the caller and the tenant, unless the caller's credential does not grant the tenant: a caller may not
    /// write into the log of a tenant that is not its own.
    pub(super) fn admit(&self, principal: &Arc<Principal>, tenant: TenantId, refusal: Option<&Error>) {
        if refusal.is_none_or(|error| error.reason() == ErrorReason::ScopeNotGranted) {
            // A call is admitted only once.
            let _ = self.by.set((Arc::clone(principal), tenant));
        }
    }

    /// Records that the call failed.
    pub(super) fn fail(&self, recorder: &Recorder, status: &Status) {
        let Some(operation) = self.operation else { return };
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        let reason = reason.unwrap_or_default();
        let Some((principal, tenant)) = self.by.get() else {
            recorder.warn_of_stranger(operation.method, &reason);
            return;
        };
        let subject = self.subject.get();
        let event = rules::failed(principal, operation, subject, status.code(), reason, times::now());
        recorder.record(*tenant, event);
    }
}

#[cfg(test)]
mod tests {
    use http::{Extensions, HeaderMap};

    use super::*;
    use crate::auth::Authenticator;

    const CREATE: &str = "/crm.v1.CustomerService/CreateCustomer";
    const GET: &str = "/crm.v1.CustomerService/GetCustomer";

    /// The number of events of a call of `path` that was admitted, or refused for this reason.
    async fn events(path: &str, refusal: Option<ErrorReason>) -> usize {
        let recorder = Recorder::default();
        let attempt = Attempt::new(Method::find(path), Uuid::now_v7());
        let authenticator = Authenticator::insecure();
        let admitted = authenticator.authenticate(&HeaderMap::new(), &Extensions::new()).await;
        let principal = admitted.expect("anybody").principal;
        let tenant = TenantId::parse("01939a3c-7d4e-7000-8000-0123456789ab").expect("a tenant");
        let refusal = refusal.map(|reason| Error::PermissionDenied { reason, message: String::new() });
        attempt.admit(&principal, tenant, refusal.as_ref());
        attempt.fail(&recorder, &Status::from(refusal.unwrap_or(Error::DeadlineExceeded)));
        recorder.waiting()
    }

    #[tokio::test]
    async fn who_has_a_right_to_the_tenant_is_in_its_log() {
        assert_eq!(events(CREATE, None).await, 1);
        assert_eq!(events(CREATE, Some(ErrorReason::ScopeNotGranted)).await, 1);
    }

    #[tokio::test]
    async fn who_has_none_is_not() {
        assert_eq!(events(CREATE, Some(ErrorReason::TenantNotGranted)).await, 0);
        let attempt = Attempt::new(Method::find(CREATE), Uuid::now_v7());
        let recorder = Recorder::default();
        attempt.fail(&recorder, &Status::unauthenticated("nobody"));
        assert_eq!(recorder.waiting(), 0);
    }

    #[tokio::test]
    async fn what_only_reads_is_not() {
        assert_eq!(events(GET, None).await, 0);
        assert_eq!(events("/crm.v1.Nonsense/Get", None).await, 0);
    }
}
