//! The caller of a call: the principal, and the tenant that it acts for. [`Principal::act`] is the only place that makes a
//! [`Caller`] of a call, and a [`Caller`] is the only way to a connection.

pub mod grants;
mod principal;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::traces::Trace;

pub use crate::contract::TENANT_HEADER;
pub use principal::{Principal, Scopes, Tenants};

/// The length of a UUID with hyphens: the only accepted form, so that a tenant has one spelling.
const HYPHENATED: usize = 36;

/// The tenant whose rows a call may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Uuid);

impl TenantId {
    /// Returns the tenant of this id in the accepted form; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let id = if text.len() == HYPHENATED { Uuid::try_parse(text).ok() } else { None };
        id.filter(|id| !id.is_nil()).map(Self)
    }

    /// Returns the tenant that the metadata of a call selects; `None` if it selects none.
    ///
    /// # Errors
    ///
    /// `TENANT_INVALID` unless the header is one UUID.
    pub fn selected_by(metadata: &HeaderMap) -> Result<Option<Self>> {
        let mut values = metadata.get_all(TENANT_HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let tenant = match (value.to_str(), values.next()) {
            (Ok(text), None) => Self::parse(text),
            _ => None,
        };
        let tenant = tenant.ok_or_else(|| {
            Error::invalid_because(
                ErrorReason::TenantInvalid,
                TENANT_HEADER,
                "string.uuid",
                "must be one UUID, such as 018f4e0a-7b7c-7000-8000-000000000000, and not the nil UUID",
            )
        });
        tenant.map(Some)
    }

    /// Returns the tenant of a row with this id.
    pub(crate) fn of_row(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as it is stored in every table.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An authenticated caller, and the tenant that it acts for.
#[derive(Debug, Clone)]
pub struct Caller {
    tenant: TenantId,
    principal: Arc<Principal>,
    /// The trace of the work for the caller.
    trace: Trace,
}

impl Caller {
    /// The service itself, acting for a tenant that it found in the database, or for which a principal proved its
    /// right. It does what is due by time on the tenant's rows, and writes the tenant's audit log. No client asked
    /// for this work, and none gets an answer.
    pub(crate) fn caretaker(tenant: Uuid) -> Self {
        Self { tenant: TenantId(tenant), principal: Principal::service(), trace: Trace::default() }
    }

    /// The tenant that the caller acts for.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The principal of the caller.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The trace of the work for the caller.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the same caller, with its work recorded in this trace.
    #[must_use]
    pub(crate) fn within(self, trace: &Trace) -> Self {
        Self { trace: trace.clone(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TENANT: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

    fn selected(values: &[&str]) -> Result<Option<TenantId>, ErrorReason> {
        let mut metadata = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            metadata.append(TENANT_HEADER, value);
        }
        TenantId::selected_by(&metadata).map_err(|error| error.reason())
    }

    #[test]
    fn one_uuid_is_a_tenant() {
        let tenant = selected(&[TENANT]).expect("a tenant").expect("a tenant");
        assert_eq!(tenant.to_string(), TENANT);
        assert_eq!(selected(&[&TENANT.to_uppercase()]), selected(&[TENANT]));
    }

    #[test]
    fn without_the_header_none_is_selected() {
        assert_eq!(selected(&[]), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            vec![""],
            vec![TENANT, TENANT],
            vec!["{01939a3c-7d4e-7000-8000-0123456789ab}"],
            vec!["01939a3c-7d4e-7000-8000-0123456789abc"],
            vec!["01939a3c7d4e700080000123456789ab"],
            vec!["00000000-0000-0000-0000-000000000000"],
            vec!["'; DROP TABLE customers; --"],
            vec!["01939a3c-7d4e-7000-8000-0123456789ä"],
        ] {
            assert_eq!(selected(&bad), Err(ErrorReason::TenantInvalid), "{bad:?}");
        }
    }
}
