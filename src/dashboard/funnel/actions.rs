//! What one transaction reads of a funnel.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::store::{self, Reached};
use crate::dashboard::rules::Window;
use crate::db::TenantTx;
use crate::error::Result;
use crate::pb::{EntryPoint, FunnelGrouping, FunnelStep};
use crate::rpc::words::Text;

/// What is asked for.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Wish {
    /// When customers enter.
    pub(in crate::dashboard) window: Window,
    pub(in crate::dashboard) steps: Vec<FunnelStep>,
    /// How long a customer is followed.
    pub(in crate::dashboard) max_duration: TimeDelta,
    pub(in crate::dashboard) grouping: FunnelGrouping,
    /// The campaign by which customers entered.
    pub(in crate::dashboard) campaign_id: Option<Uuid>,
    /// Where the conversation began by which customers entered.
    pub(in crate::dashboard) entry_points: Vec<Text<EntryPoint>>,
}

impl Wish {
    /// When customers that entered in the window are followed.
    pub(super) fn followed(&self) -> Window {
        self.window.longer(self.max_duration)
    }
}

/// How far the customers of a group came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Funnel {
    /// What they have in common, as it is stored; empty for nothing.
    pub(in crate::dashboard) group: String,
    /// How many reached each step, and the median of the microseconds that it took from the one before.
    pub(in crate::dashboard) steps: Vec<(i64, Option<i64>)>,
}

/// Follows customers, and says how far those of each group came, the largest group first. What is not
/// split is one group, also where nobody entered.
pub(in crate::dashboard) async fn read(tx: &TenantTx, wish: &Wish) -> Result<Vec<Funnel>> {
    tx.plan_for_sums().await?;
    let reached = store::list_reached(tx, wish).await?;
    let nobody = |group: &str| Funnel { group: group.to_owned(), steps: vec![(0, None); wish.steps.len()] };
    let mut groups: HashMap<String, Funnel> = HashMap::new();
    if wish.grouping == FunnelGrouping::Unspecified {
        groups.insert(String::new(), nobody(""));
    }
    for Reached { step, group, customers, median } in reached {
        let funnel = groups.entry(group).or_insert_with_key(|group| nobody(group));
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
