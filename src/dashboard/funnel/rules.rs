//! The sources of the events of a step.

use crate::pb::{CampaignEventKind, FunnelStep, InterestKind};

/// Rows that are events of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Events of campaigns of these kinds.
    Campaigns(&'static [CampaignEventKind]),
    /// Conversations that are not tests, at their start.
    Conversations,
    /// Events of interest of these kinds.
    Interest(&'static [InterestKind]),
    /// Paid purchases.
    Purchases,
}

/// All kinds of interest except those that end it.
const SHOWN: &[InterestKind] = &[
    InterestKind::Viewed,
    InterestKind::Clicked,
    InterestKind::Mentioned,
    InterestKind::Asked,
    InterestKind::Downloaded,
    InterestKind::SignedUp,
    InterestKind::Requested,
    InterestKind::AddedToCart,
    InterestKind::Other,
];

/// The steps of a funnel if the request sets none.
pub(super) const DEFAULT_STEPS: [FunnelStep; 4] =
    [FunnelStep::Contacted, FunnelStep::Conversed, FunnelStep::Interested, FunnelStep::Purchased];

/// Returns the sources of the events of a step.
pub(super) const fn sources(step: FunnelStep) -> &'static [Source] {
    use {CampaignEventKind as Event, Source as S};
    match step {
        FunnelStep::Unspecified => &[],
        FunnelStep::Contacted => &[S::Campaigns(&[Event::Sent, Event::Delivered]), S::Conversations],
        FunnelStep::Engaged => &[S::Campaigns(&[Event::Opened, Event::Clicked, Event::Replied])],
        FunnelStep::Conversed => &[S::Conversations],
        FunnelStep::Interested => &[S::Interest(SHOWN)],
        FunnelStep::Converted => {
            &[S::Interest(&[InterestKind::Converted]), S::Campaigns(&[Event::Converted])]
        }
        FunnelStep::Purchased => &[S::Purchases],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_is_shown_by_every_kind_that_does_not_end_it() {
        let kinds = (1..).map_while(|number| InterestKind::try_from(number).ok());
        let shown = kinds.filter(|kind| !matches!(kind, InterestKind::Declined | InterestKind::Converted));
        assert_eq!(shown.collect::<Vec<_>>(), SHOWN);
    }

    #[test]
    fn every_step_has_events() {
        let steps = (1..).map_while(|number| FunnelStep::try_from(number).ok());
        assert_eq!(steps.filter(|step| !sources(*step).is_empty()).count(), 6);
    }
}
