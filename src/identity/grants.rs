//! The written form of what a credential grants, for people and issuers.

use super::{TenantId, Tenants};
use crate::contract::Word;
use crate::pb::AccessScope;

/// The word for all tenants, future ones included.
const ALL: &str = "*";

/// One word of a list of tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// All tenants.
    All,
    /// One tenant.
    One(TenantId),
}

/// Returns what a word grants: `*`, or the UUID of a tenant.
pub fn tenant(word: &str) -> Option<Grant> {
    if word == ALL { Some(Grant::All) } else { TenantId::parse(word).map(Grant::One) }
}

/// Returns the scope that a word names, in any case of letters.
pub fn scope(word: &str) -> Option<AccessScope> {
    [AccessScope::Read, AccessScope::Write, AccessScope::Admin]
        .into_iter()
        .find(|scope| scope.word().eq_ignore_ascii_case(word))
}

impl FromIterator<Grant> for Tenants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let mut tenants = std::collections::BTreeSet::new();
        for grant in grants {
            match grant {
                Grant::All => return Self::All,
                Grant::One(tenant) => {
                    tenants.insert(tenant);
                }
            }
        }
        Self::Only(tenants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

    fn tenants(words: &[&str]) -> Tenants {
        words.iter().filter_map(|word| tenant(word)).collect()
    }

    #[test]
    fn tenants_are_named_one_by_one_or_all_at_once() {
        let Tenants::Only(only) = tenants(&[ONE, &ONE.to_uppercase(), "nonsense", ""]) else {
            panic!("not all of them")
        };
        assert_eq!(only.into_iter().map(|tenant| tenant.to_string()).collect::<Vec<_>>(), [ONE]);
        assert_eq!(tenants(&[ONE, "*"]), Tenants::All);
        assert_eq!(tenants(&["**", "all", "* "]), Tenants::Only([].into()));
    }

    #[test]
    fn scopes_have_their_words_and_no_others() {
        assert_eq!(scope("read"), Some(AccessScope::Read));
        assert_eq!(scope("Write"), Some(AccessScope::Write));
        assert_eq!(scope("admin"), Some(AccessScope::Admin));
        for other in ["", "unspecified", "read ", "crm:read", "*"] {
            assert_eq!(scope(other), None, "{other:?}");
        }
    }
}
