//! The effect of a change of a customer on the counts of customers.

use std::collections::BTreeSet;

use super::model::Customer;
use crate::contract::Word;

/// A column by whose values customers are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dimension {
    IndustryCategory,
    Source,
    Status,
}

impl Dimension {
    /// Returns the stored word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::IndustryCategory => "INDUSTRY_CATEGORY",
            Self::Source => "SOURCE",
            Self::Status => "STATUS",
        }
    }
}

/// A value that a customer takes on or gives up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) dimension: Dimension,
    pub(crate) value: String,
    /// True if one more customer has the value, false if one fewer has it.
    pub(crate) taken: bool,
}

/// Returns the steps of a change from `before` to `after`. `None` is a customer that does not exist. A deleted
/// customer does not count.
pub(crate) fn steps(before: Option<&Customer>, after: Option<&Customer>) -> Vec<Step> {
    let (before, after) = (values(before), values(after));
    let step = |taken| {
        move |(dimension, value): &(Dimension, &str)| Step {
            dimension: *dimension,
            value: (*value).to_owned(),
            taken,
        }
    };
    let given_up = before.difference(&after).map(step(false));
    given_up.chain(after.difference(&before).map(step(true))).collect()
}

/// Returns the values by which a customer counts.
fn values(customer: Option<&Customer>) -> BTreeSet<(Dimension, &str)> {
    let counted = customer.filter(|customer| customer.deleted_at.is_none());
    let values = counted.map(|customer| {
        [
            (Dimension::IndustryCategory, customer.industry_category.as_str()),
            (Dimension::Source, customer.source.as_str()),
            (Dimension::Status, customer.status.0.word()),
        ]
    });
    values.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customers::wire;
    use crate::db::words::Text;
    use crate::pb::{self, CustomerStatus};
    use crate::times;

    fn bakery() -> Customer {
        let wanted = pb::Customer {
            business_name: "Bakery".to_owned(),
            industry_category: "food".to_owned(),
            ..Default::default()
        };
        wire::create(wanted, uuid::Uuid::nil(), times::now())
    }

    fn step(dimension: Dimension, value: &str, taken: bool) -> Step {
        Step { dimension, value: value.to_owned(), taken }
    }

    #[test]
    fn a_new_customer_takes_on_all_its_values() {
        let expected = [
            step(Dimension::IndustryCategory, "food", true),
            step(Dimension::Source, "", true),
            step(Dimension::Status, "LEAD", true),
        ];
        assert_eq!(steps(None, Some(&bakery())), expected);
    }

    #[test]
    fn a_change_counts_what_it_changes() {
        let active = Customer { status: Text(CustomerStatus::Active), ..bakery() };
        let expected = [step(Dimension::Status, "LEAD", false), step(Dimension::Status, "ACTIVE", true)];
        assert_eq!(steps(Some(&bakery()), Some(&active)), expected);
        let renamed = Customer { business_name: "Baker".to_owned(), ..bakery() };
        assert_eq!(steps(Some(&bakery()), Some(&renamed)), []);
    }

    #[test]
    fn a_deleted_customer_counts_no_more_and_changes_nothing() {
        let deleted = Customer { deleted_at: Some(times::now()), ..bakery() };
        assert!(steps(Some(&bakery()), Some(&deleted)).iter().all(|step| !step.taken));
        assert_eq!(steps(Some(&bakery()), Some(&deleted)).len(), 3);
        assert_eq!(steps(Some(&deleted), Some(&bakery())), steps(None, Some(&bakery())));
        assert_eq!(steps(None, Some(&deleted)), []);
    }
}
