//! Consents: messages ⇄ rows.

use super::store::{Consent, Filter};
use crate::db::words::{stored_each, wire};
use crate::error::Result;
use crate::pb;
use crate::rpc;
use crate::times;

impl From<Consent> for pb::Consent {
    fn from(row: Consent) -> Self {
        let Consent { customer_id, channel, state, occurred_at, campaign_id, campaign_event_id, updated_at } =
            row;
        Self {
            customer_id: customer_id.to_string(),
            channel: wire(Some(channel)),
            state: wire(Some(state)),
            since_time: Some(times::to_wire(occurred_at)),
            campaign_id: campaign_id.to_string(),
            campaign_event_id: campaign_event_id.to_string(),
            update_time: Some(times::to_wire(updated_at)),
        }
    }
}

/// Returns the consents of one customer, in the order of the channels.
pub(crate) fn of_customer(consents: Vec<Consent>) -> Vec<pb::Consent> {
    let mut consents: Vec<pb::Consent> = consents.into_iter().map(Into::into).collect();
    consents.sort_unstable_by_key(|consent| consent.channel);
    consents
}

/// Returns which consents a list shows.
pub(crate) fn filter(request: &pb::ListConsentsRequest) -> Result<Filter> {
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        channels: stored_each(&request.channels),
        states: stored_each(&request.states),
    })
}
