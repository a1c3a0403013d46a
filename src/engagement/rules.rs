//! Decisions that interest and purchases share.

use uuid::Uuid;

use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::ConversationOutcome;

/// Refuses an outcome without a conversation. `field` is the field of the conversation's id.
pub(crate) fn check_outcome(
    field: &'static str,
    outcome: Option<Text<ConversationOutcome>>,
    conversation_id: Option<Uuid>,
) -> Result<()> {
    if outcome.is_some() && conversation_id.is_none() {
        return Err(Error::invalid(
            field,
            "combination",
            "must be set with conversation_outcome, which is the outcome of that conversation",
        ));
    }
    Ok(())
}
