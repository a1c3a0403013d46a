//! What a token says about its holder.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::invalid;
use crate::error::Result;
use crate::identity::{Principal, Scopes, grants};

/// The maximum number of characters of a subject: what OpenID Connect allows, and what fits into
/// the audit log.
const MAX_SUBJECT: usize = 255;

/// The names of the claims with grants.
pub(super) struct Names {
    pub(super) tenants: String,
    pub(super) scope: String,
}

/// All claims of a token.
#[derive(Deserialize)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// When the token ends. jsonwebtoken has checked that the claim exists.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        let expiry = self.0.get("exp")?;
        let seconds = match expiry.as_u64() {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::try_from_secs_f64(expiry.as_f64()?.round()).ok()?,
        };
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    }

    /// Returns the holder of the token, and what the token grants.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID` for a subject that cannot be a name.
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

/// Returns the words of a claim that is one text, or a list of words. Any other claim grants
/// nothing.
fn words(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let listed = claim.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = claim.and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().chain(listed.iter().filter_map(Value::as_str))
}
