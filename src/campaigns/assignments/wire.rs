//! The customers of campaigns: messages ⇄ rows.

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::actions::Whom;
use super::store::{Assigned, Assignment, Filter, Of, Refused};
use crate::contract::validate::Violation;
use crate::customers;
use crate::error::{Error, Result};
use crate::numbers;
use crate::pb::assign_customers_request::Customers;
use crate::pb::{self, AssignmentRefusal, ErrorReason};
use crate::rpc;
use crate::times;

/// The customers that a call names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Named {
    /// Their ids, each once.
    pub(crate) ids: BTreeSet<Uuid>,
    /// The texts that are not UUIDs, each once, in the order of the request.
    invalid: Vec<String>,
}

impl Named {
    fn new(texts: &[String]) -> Self {
        let mut named = Self::default();
        let mut seen = HashSet::new();
        for text in texts {
            match rpc::item_id(text) {
                Some(id) => drop(named.ids.insert(id)),
                None if seen.insert(text) => named.invalid.push(text.clone()),
                None => {}
            }
        }
        named
    }

    /// Returns the ids that are refused without a look at the database.
    pub(crate) fn refused(&self) -> Vec<pb::RefusedCustomer> {
        let refused = |text: &String| pb::RefusedCustomer {
            customer_id: text.clone(),
            reason: AssignmentRefusal::IdInvalid.into(),
            is_assigned: false,
        };
        self.invalid.iter().map(refused).collect()
    }
}

/// Returns the customers that a call assigns, and the ids that are refused without a look at the database.
pub(crate) fn whom(
    tenant: Uuid,
    request: &pb::AssignCustomersRequest,
) -> Result<(Whom, Vec<pb::RefusedCustomer>)> {
    match &request.customers {
        Some(Customers::Ids(pb::CustomerIds { customer_ids })) => {
            let named = Named::new(customer_ids);
            let refused = named.refused();
            Ok((Whom::Ids(named.ids.into_iter().collect()), refused))
        }
        Some(Customers::Filter(filter)) => {
            check_filter(filter)?;
            Ok((Whom::Found(customers::wire::filter(tenant, filter).map(Box::new)), Vec::new()))
        }
        // The rules of the contract have refused such a request before.
        None => Err(Error::invalid("customers", "oneof.required", "must be set, by one of ids, filter")),
    }
}

/// Returns the customers that a call removes from a campaign.
pub(crate) fn leaving(request: &pb::UnassignCustomersRequest) -> Named {
    Named::new(&request.customer_ids)
}

/// Returns the answer if `removed` of the named customers were in the campaign.
pub(crate) fn left(named: &Named, removed: usize) -> pb::UnassignCustomersResponse {
    // No more than a call may name.
    let count = |count: usize| numbers::int32(numbers::count(count));
    pb::UnassignCustomersResponse {
        removed_count: count(removed),
        absent_count: count(named.ids.len().saturating_sub(removed)),
        refused: named.refused(),
    }
}

/// Refuses fields that make no sense if all customers are assigned at once.
fn check_filter(filter: &pb::ListCustomersRequest) -> Result<()> {
    let wrong = [
        ("page_size", filter.page_size != 0),
        ("page_token", !filter.page_token.is_empty()),
        ("order_by", !filter.order_by.is_empty()),
        ("show_deleted", filter.show_deleted),
        ("view", filter.view != 0),
    ];
    let violation = |field: &str| {
        Violation {
        field: format!("filter.{field}"),
        rule: "empty",
        description: "must be empty: all customers that the filter finds are assigned, in no order and without deleted ones"
            .to_owned(),
    }
    };
    let violations: Vec<_> =
        wrong.into_iter().filter(|(_, is_wrong)| *is_wrong).map(|(field, _)| violation(field)).collect();
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
}

/// Returns the answer. `invalid` has the ids that were refused without a look at the database.
pub(crate) fn assigned(assigned: Assigned, invalid: Vec<pb::RefusedCustomer>) -> pb::AssignCustomersResponse {
    let Assigned { added, existing, refused } = assigned;
    let refused = refused.into_iter().map(|Refused { customer_id, reason, is_assigned }| {
        pb::RefusedCustomer { customer_id: customer_id.to_string(), reason: reason.into(), is_assigned }
    });
    pb::AssignCustomersResponse {
        added_count: numbers::int32(added),
        existing_count: numbers::int32(existing),
        refused: refused.chain(invalid).collect(),
    }
}

/// Returns the campaign or the customer whose assignments a list shows.
pub(crate) fn of(request: &pb::ListCampaignCustomersRequest) -> Result<Of> {
    let campaign_id = rpc::optional_id("campaign_id", &request.campaign_id)?;
    let customer_id = rpc::optional_id("customer_id", &request.customer_id)?;
    match (campaign_id, customer_id) {
        (Some(campaign_id), customer_id) => Ok(Of::Campaign(campaign_id, customer_id)),
        (None, Some(customer_id)) => Ok(Of::Customer(customer_id)),
        (None, None) => {
            let violation = |field: &str| Violation {
                field: field.to_owned(),
                rule: "required",
                description: "must be set, or the other one of campaign_id and customer_id".to_owned(),
            };
            let violations = ["campaign_id", "customer_id"].map(violation).to_vec();
            Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
        }
    }
}

/// Returns which assignments a list shows.
pub(crate) fn filter(request: &pb::ListCampaignCustomersRequest) -> Filter {
    Filter {
        // The numbers of the statuses, as they are stored.
        progresses: request.statuses.iter().filter_map(|status| i16::try_from(*status).ok()).collect(),
        exclude_refused: request.exclude_refused,
    }
}

impl From<Assignment> for pb::CampaignCustomer {
    fn from(row: Assignment) -> Self {
        let Assignment { campaign_id, customer_id, progress, created_at, updated_at, refusal } = row;
        Self {
            campaign_id: campaign_id.to_string(),
            customer_id: customer_id.to_string(),
            status: progress.into(),
            assign_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            refusal: refusal.map_or(0, Into::into),
        }
    }
}
