//! What a token says of whoever has it.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::{Principal, Scopes, grants, invalid};
use crate::error::Result;

/// Characters of a subject: what OpenID Connect allows, and what the audit log has room for.
const MAX_SUBJECT: usize = 255;

/// What the claims of grants are called.
pub(super) struct Names {
    pub(super) tenants: String,
    pub(super) scope: String,
}

/// All claims of a token.
#[derive(Deserialize)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// When the token ends. jsonwebtoken has made sure that it says so.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        let expiry = self.0.get("exp")?;
        let seconds = match expiry.as_u64() {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::try_from_secs_f64(expiry.as_f64()?.round()).ok()?,
        };
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    }

    /// Who has the token, and what it grants.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID` for a subject that is no name.
    pub(super) fn principal(&self, names: &Names) -> Result<Principal> {
        let subject = self.0.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.contains(char::is_control) {
            return Err(invalid(format!(
                "the claim sub of the token must have 1 to {MAX_SUBJECT} characters, none of them a control character"
            )));
        }
        let tenants = words(self.0.get(&names.tenants)).filter_map(grants::tenant).collect();
        let scopes = Scopes::of(words(self.0.get(&names.scope)).filter_map(grants::scope));
        Ok(Principal::new(format!("jwt:{subject}"), tenants, scopes))
    }
}

/// A claim that is one text with words in it, or a list of them. Anything else grants nothing.
fn words(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let listed = claim.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = claim.and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().chain(listed.iter().filter_map(Value::as_str))
}
