//! The actions on the customers of campaigns, each within one transaction.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::store::{self, Assigned, Assignment, Cursor, Filter, Of};
use crate::campaigns;
use crate::campaigns::rules;
use crate::customers;
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::error::{Error, Result};
use crate::numbers;
use crate::rpc::Page;
use crate::times;

/// The limit of customers that are assigned in one call, as in the contract. It is a few hundred milliseconds
/// of work, and their ids fit in a request.
const MAX_CUSTOMERS: usize = 10_000;

/// The customers to assign.
#[derive(Debug, PartialEq)]
pub(crate) enum Whom {
    /// Customers by their ids.
    Ids(Vec<Uuid>),
    /// All customers that match a filter; `None` if the filter can match no customer.
    Found(Option<Box<customers::store::Filter>>),
}

/// Assigns customers to a campaign.
pub(crate) async fn assign(tx: &TenantTx, campaign_id: Uuid, whom: &Whom) -> Result<Assigned> {
    let campaign = campaigns::actions::lock(tx, campaign_id).await?;
    rules::check_assign(&campaign)?;
    let found;
    let ids = match whom {
        Whom::Ids(ids) => ids,
        Whom::Found(filter) => {
            found = list_found(tx, filter.as_deref()).await?;
            &found
        }
    };
    store::assign(tx, campaign_id, campaign.channel, ids, times::now()).await
}

/// Returns the ids of the customers that match a filter, if they are not too many.
async fn list_found(tx: &TenantTx, filter: Option<&customers::store::Filter>) -> Result<Vec<Uuid>> {
    let Some(filter) = filter else { return Ok(Vec::new()) };
    let one_more = numbers::count(MAX_CUSTOMERS + 1);
    let ids = customers::actions::list_ids(tx, filter, one_more).await?;
    if ids.len() > MAX_CUSTOMERS {
        return Err(Error::invalid(
            "filter",
            "max_customers",
            format!("finds more than {MAX_CUSTOMERS} customers; set more fields of the filter"),
        ));
    }
    Ok(ids)
}

/// Removes customers from a campaign. Returns how many were in it.
pub(crate) async fn unassign(
    tx: &TenantTx,
    campaign_id: Uuid,
    customer_ids: &BTreeSet<Uuid>,
) -> Result<usize> {
    campaigns::actions::lock(tx, campaign_id).await?;
    store::delete(tx, campaign_id, customer_ids).await
}

/// Returns one page of assignments, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    of: Of,
    filter: &Filter,
    page: &Page<Cursor>,
) -> Result<Rows<Assignment>> {
    if let Of::Campaign(campaign_id, _) = of {
        campaigns::actions::get(tx, campaign_id).await?;
    }
    if filter.exclude_refused {
        // The planner expects nearly all customers to be refused, and would read and sort all of them for a
        // page.
        tx.plan_by_order().await?;
    } else if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    Ok(Rows::all(store::list(tx, of, filter, page).await?))
}
