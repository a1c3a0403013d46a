//! How callers prove who they are. [`Authenticator::authenticate`] makes a [`Principal`] of a credential.
//!
//! [`Principal`]: crate::identity::Principal

pub mod api_keys;
mod authenticator;
mod bearer;
mod certificates;
mod config;
mod jwt;
mod validity;

use crate::error::Error;
use crate::pb::ErrorReason;

pub use authenticator::{Admitted, Authenticator, Bounds};
pub use config::{AuthConfig, Mode, Signature, Surroundings};
pub use validity::Validity;

/// The error for an invalid credential. The client learns which check failed, and nothing of what we know.
fn invalid(message: impl Into<String>) -> Error {
    Error::Unauthenticated { reason: ErrorReason::CredentialInvalid, message: message.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use crate::identity::{Principal, Scopes, TENANT_HEADER, TenantId, Tenants};
    use crate::pb::AccessScope;

    /// Returns an error of this module, as a call gets it.
    pub(crate) fn refused(reason: ErrorReason) -> Error {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )])
        };
        let act = |tenants: Tenants, scopes: Scopes| {
            let principal = Arc::new(Principal::new("key/1".to_owned(), tenants, scopes));
            let tenant = TenantId::parse("01939a3c-7d4e-7000-8000-0123456789ab").expect("a tenant");
            principal.act(tenant, AccessScope::Write).expect_err("a right is missing")
        };
        match reason {
            ErrorReason::TenantRequired => Principal::new("key/1".to_owned(), Tenants::All, Scopes::ALL)
                .tenant(None)
                .expect_err("no tenant"),
            ErrorReason::TenantInvalid => {
                TenantId::selected_by(&headers(TENANT_HEADER, "acme")).expect_err("no UUID")
            }
            ErrorReason::CredentialRequired => authenticator::required(&authenticator::Accepted {
                tokens: true,
                keys: true,
                certificates: true,
            }),
            ErrorReason::CredentialInvalid => {
                bearer::Bearer::of(&headers("authorization", "Basic eA==")).err().expect("no bearer")
            }
            ErrorReason::CredentialExpired => validity::expired(),
            ErrorReason::CredentialRevoked => validity::revoked(),
            ErrorReason::TenantNotGranted => act(Tenants::Only([].into()), Scopes::ALL),
            ErrorReason::ScopeNotGranted => act(Tenants::All, Scopes::of([AccessScope::Read])),
            other => panic!("{other:?} is no reason of this room"),
        }
    }
}
