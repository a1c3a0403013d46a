//! Tools about FAQs.

use super::{Told, items};
use crate::mcp::arguments::Arguments;
use crate::mcp::calls::Clients;
use crate::mcp::keys::uuid_of;
use crate::mcp::markdown;
use crate::mcp::trouble::Trouble;
use crate::pb;

/// The least tokens of a FAQ in an answer.
const TOKENS_OF_FAQ: i64 = 60;

/// The most FAQs that one answer shows.
const MOST_FAQS: i32 = 50;

/// Finds FAQs.
pub(super) async fn search(clients: &Clients, arguments: &Arguments) -> Told {
    let budget = arguments.budget();
    let request = pb::SearchCustomerFaqsRequest {
        customer_id: clients.customer_id(&arguments.text_or_empty("customer")).await?,
        query: arguments.text_or_empty("query"),
        limit: items(budget, TOKENS_OF_FAQ, MOST_FAQS),
        ..Default::default()
    };
    let matches = clients.faqs().search_customer_faqs(request).await?.into_inner().matches;
    let bytes = matches.iter().map(prost::Message::encoded_len).sum();
    markdown::counting(bytes, move || markdown::faqs::found(&matches, budget)).await
}

/// Records a question that was asked, or a FAQ that was used.
///
/// What is recorded again with the same content counts once, for 72 hours. The conversation is a part of the content:
/// the same question in another conversation counts again.
pub(super) async fn record(clients: &Clients, arguments: &Arguments) -> Told {
    let customer_id = clients.customer_id(&arguments.text_or_empty("customer")).await?;
    let observation = observation(arguments)?;
    let pb::FaqObservation { customer_faq_id, question, answer, conversation_id, .. } = &observation;
    let request_id =
        uuid_of(&["record_faq", &customer_id, customer_faq_id, question, answer, conversation_id]);
    let request = pb::RecordFaqObservationRequest {
        customer_id,
        request_id: request_id.to_string(),
        observation: Some(observation),
    };
    let response = clients.faqs().record_faq_observation(request).await?.into_inner();
    Ok(markdown::faqs::recorded(&response))
}

fn observation(arguments: &Arguments) -> Result<pb::FaqObservation, Trouble> {
    let (used, question) = (arguments.text_or_empty("used_faq_id"), arguments.text_or_empty("question"));
    let answer = arguments.text_or_empty("answer");
    let kind = match (used.is_empty(), question.is_empty() && answer.is_empty()) {
        (true, false) => pb::FaqObservationKind::Asked,
        (false, true) => pb::FaqObservationKind::Used,
        _ => {
            return Err(Trouble::new(
                "Nothing was recorded. Give either a question (with the answer, if there was one), or used_faq_id.",
            ));
        }
    };
    Ok(pb::FaqObservation {
        customer_faq_id: used,
        kind: kind.into(),
        question,
        answer,
        conversation_id: arguments.text_or_empty("conversation_id"),
        ..Default::default()
    })
}
