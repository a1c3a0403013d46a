//! A caller's identity, and what its credential grants.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use super::{Caller, TENANT_HEADER, TenantId};
use crate::contract::Word;
use crate::error::{Error, Result};
use crate::pb::{AccessScope, ErrorReason};
use crate::traces::Trace;

/// The rights of a principal. No right includes another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every right.
    pub const ALL: Self = Self(u8::MAX);

    /// Returns exactly these rights.
    pub fn of(scopes: impl IntoIterator<Item = AccessScope>) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | Self::bit(scope)))
    }

    /// Returns the rights that have names, in the order of the contract.
    pub fn list(self) -> impl Iterator<Item = AccessScope> {
        [AccessScope::Read, AccessScope::Write, AccessScope::Admin]
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }

    /// Whether it contains this right.
    pub fn contains(self, scope: AccessScope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    fn bit(scope: AccessScope) -> u8 {
        match scope {
            AccessScope::Unspecified => 0,
            AccessScope::Read => 1,
            AccessScope::Write => 2,
            AccessScope::Admin => 4,
        }
    }
}

/// The tenants that a principal may act for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// All tenants, future ones included.
    All,
    /// Only these tenants.
    Only(BTreeSet<TenantId>),
}

impl Tenants {
    fn contain(&self, tenant: TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(&tenant),
        }
    }
}

/// A caller's identity and rights, as its credential says.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
    tenants: Tenants,
    scopes: Scopes,
}

impl Principal {
    /// Creates the holder of a credential. The name says which kind of credential it is, and whose.
    pub(crate) fn new(name: String, tenants: Tenants, scopes: Scopes) -> Self {
        Self { name, tenants, scopes }
    }

    /// The principal of every caller if no proof of identity is required.
    pub(crate) fn anybody() -> Arc<Self> {
        static ANYBODY: LazyLock<Arc<Principal>> =
            LazyLock::new(|| Arc::new(Principal::new("anybody".to_owned(), Tenants::All, Scopes::ALL)));
        Arc::clone(&ANYBODY)
    }

    /// The service itself.
    pub(super) fn service() -> Arc<Self> {
        static SERVICE: LazyLock<Arc<Principal>> =
            LazyLock::new(|| Arc::new(Principal::new("service".to_owned(), Tenants::All, Scopes::ALL)));
        Arc::clone(&SERVICE)
    }

    /// The principal's name, for the audit log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The principal's rights, for any tenant that it may act for.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Returns the tenant that the principal acts for: the one that a call selects. A principal of exactly one tenant may
    /// select none.
    ///
    /// # Errors
    ///
    /// `TENANT_REQUIRED` if it may act for several.
    pub fn tenant(&self, selected: Option<TenantId>) -> Result<TenantId> {
        let only = match &self.tenants {
            Tenants::Only(tenants) if tenants.len() == 1 => tenants.first().copied(),
            Tenants::Only(_) | Tenants::All => None,
        };
        selected.or(only).ok_or_else(|| Error::Unauthenticated {
            reason: ErrorReason::TenantRequired,
            message: format!(
                "send the metadata {TENANT_HEADER} with the UUID of your tenant; only a credential for a single tenant \
                 may leave it out"
            ),
        })
    }

    /// Returns the principal as the caller of an RPC that needs `scope`, for a tenant.
    ///
    /// # Errors
    ///
    /// `TENANT_NOT_GRANTED`, `SCOPE_NOT_GRANTED`.
    pub fn act(self: &Arc<Self>, tenant: TenantId, scope: AccessScope) -> Result<Caller> {
        if !self.tenants.contain(tenant) {
            return Err(Error::PermissionDenied {
                reason: ErrorReason::TenantNotGranted,
                message: "your credential does not grant the tenant of x-tenant-id; send another tenant, or ask for the right".to_owned(),
            });
        }
        if !self.scopes.contains(scope) {
            return Err(Error::PermissionDenied {
                reason: ErrorReason::ScopeNotGranted,
                message: format!(
                    "this RPC needs the scope {:?}, which your credential does not grant; ask for one that does",
                    scope.word().to_lowercase()
                ),
            });
        }
        Ok(Caller { tenant, principal: Arc::clone(self), trace: Trace::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(number))
    }

    fn refusal(principal: &Arc<Principal>, tenant: TenantId, scope: AccessScope) -> Option<ErrorReason> {
        principal.act(tenant, scope).err().map(|error| error.reason())
    }

    #[test]
    fn a_principal_acts_for_its_tenants_within_its_scopes() {
        let tenants = Tenants::Only(BTreeSet::from([tenant(1)]));
        let principal = Arc::new(Principal::new("a".to_owned(), tenants, Scopes::of([AccessScope::Write])));
        let caller = principal.act(tenant(1), AccessScope::Write).expect("granted");
        assert_eq!((caller.tenant(), caller.principal().name()), (tenant(1), "a"));
        assert_eq!(refusal(&principal, tenant(2), AccessScope::Write), Some(ErrorReason::TenantNotGranted));
        for scope in [AccessScope::Read, AccessScope::Admin] {
            assert_eq!(refusal(&principal, tenant(1), scope), Some(ErrorReason::ScopeNotGranted));
        }
    }

    #[test]
    fn a_principal_of_one_tenant_need_not_select_it() {
        let principal = |tenants| Principal::new("a".to_owned(), tenants, Scopes::ALL);
        let only = |numbers: &[u128]| Tenants::Only(numbers.iter().map(|number| tenant(*number)).collect());
        let selected =
            |tenants, selected| principal(tenants).tenant(selected).map_err(|error| error.reason());
        assert_eq!(selected(only(&[1]), None), Ok(tenant(1)));
        // Whether the tenant is granted is asked later.
        assert_eq!(selected(only(&[1]), Some(tenant(2))), Ok(tenant(2)));
        for tenants in [Tenants::All, only(&[]), only(&[1, 2])] {
            assert_eq!(selected(tenants, None), Err(ErrorReason::TenantRequired));
        }
    }

    #[test]
    fn nobody_has_a_scope_that_is_none() {
        assert!(!Scopes::ALL.contains(AccessScope::Unspecified));
        assert_eq!(Scopes::of([]), Scopes::default());
    }

    #[test]
    fn where_nobody_is_asked_everything_is_granted() {
        for scope in [AccessScope::Read, AccessScope::Write, AccessScope::Admin] {
            assert_eq!(refusal(&Principal::anybody(), tenant(7), scope), None);
        }
    }
}
