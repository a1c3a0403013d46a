//! The reads of a funnel, within one transaction.

use std::collections::HashMap;

use super::model::Params;
use super::store::{self, Reached};
use crate::db::TenantTx;
use crate::error::Result;
use crate::pb::FunnelGrouping;

/// How far the customers of a group came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Funnel {
    /// The value that the group shares, as it is stored; empty if the customers have no value.
    pub(in crate::dashboard) group: String,
    /// For each step, the number of customers that reached it, and the median of the microseconds since the
    /// step before.
    pub(in crate::dashboard) steps: Vec<(i64, Option<i64>)>,
}

/// Returns how far the customers of each group came, the largest group first. Without a grouping there is one
/// group, even if no customer entered.
pub(in crate::dashboard) async fn read(tx: &TenantTx, params: &Params) -> Result<Vec<Funnel>> {
    tx.plan_for_sums().await?;
    let reached = store::list_reached(tx, params).await?;
    let empty = |group: &str| Funnel { group: group.to_owned(), steps: vec![(0, None); params.steps.len()] };
    let mut groups: HashMap<String, Funnel> = HashMap::new();
    if params.grouping == FunnelGrouping::Unspecified {
        groups.insert(String::new(), empty(""));
    }
    for Reached { step, group, customers, median } in reached {
        let funnel = groups.entry(group).or_insert_with_key(|group| empty(group));
        let step = usize::try_from(step).ok().and_then(|step| funnel.steps.get_mut(step));
        if let Some(step) = step {
            *step = (customers, median);
        }
    }
    let mut funnels: Vec<_> = groups.into_values().collect();
    let entries = |funnel: &Funnel| funnel.steps.first().map_or(0, |(customers, _)| *customers);
    funnels.sort_by(|a, b| entries(b).cmp(&entries(a)).then_with(|| a.group.cmp(&b.group)));
    Ok(funnels)
}
