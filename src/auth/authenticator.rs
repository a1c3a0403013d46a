//! Finds out who is calling.

use std::sync::Arc;

use http::{Extensions, HeaderMap};

use super::Principal;
use crate::error::Result;

/// How callers prove who they are.
#[derive(Debug, Clone)]
pub struct Authenticator {
    _private: (),
}

impl Authenticator {
    /// Nobody has to prove anything: for an address that only this machine reaches, or behind something
    /// that authenticates callers itself.
    pub fn insecure() -> Self {
        Self { _private: () }
    }

    /// Who calls, by the metadata of the call and what is known of its connection.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED, with what to send.
    pub async fn authenticate(
        &self,
        _metadata: &HeaderMap,
        _connection: &Extensions,
    ) -> Result<Arc<Principal>> {
        Ok(Principal::anybody())
    }
}
