//! What is asked for of a funnel.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::dashboard::rules::Window;
use crate::db::words::Text;
use crate::pb::{EntryPoint, FunnelGrouping, FunnelStep};

/// The parameters of a request.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Params {
    /// The window in which customers enter.
    pub(in crate::dashboard) window: Window,
    pub(in crate::dashboard) steps: Vec<FunnelStep>,
    /// The time for which a customer is followed.
    pub(in crate::dashboard) max_duration: TimeDelta,
    pub(in crate::dashboard) grouping: FunnelGrouping,
    /// The campaign through which customers entered.
    pub(in crate::dashboard) campaign_id: Option<Uuid>,
    /// The entry points of the conversations with which customers entered.
    pub(in crate::dashboard) entry_points: Vec<Text<EntryPoint>>,
}

impl Params {
    /// Returns the window in which customers that entered are followed.
    pub(super) fn followed(&self) -> Window {
        self.window.longer(self.max_duration)
    }
}
