//! Tools about questions to ask.

use super::{Told, items};
use crate::mcp::arguments::Arguments;
use crate::mcp::calls::Clients;
use crate::mcp::markdown;
use crate::mcp::trouble::Trouble;
use crate::pb;

/// The tokens of a question in an answer, about.
const TOKENS_OF_QUESTION: i64 = 60;

/// The most questions that one answer shows.
const MOST_QUESTIONS: i32 = 20;

/// Lists what to ask next, and what not to ask.
pub(super) async fn next(clients: &Clients, arguments: &Arguments) -> Told {
    let budget = arguments.budget();
    let request = pb::NextPendingQuestionsRequest {
        customer_id: clients.customer_id(&arguments.text_or_empty("customer")).await?,
        conversation_id: arguments.text_or_empty("conversation_id"),
        limit: items(budget, TOKENS_OF_QUESTION, MOST_QUESTIONS),
        query: arguments.text_or_empty("query"),
        include_left_out: true,
    };
    let response = clients.questions().next_pending_questions(request).await?.into_inner();
    let bytes = prost::Message::encoded_len(&response);
    markdown::counting(bytes, move || markdown::questions::next(&response, budget)).await
}

/// Records an answer, or that there will be none.
pub(super) async fn answer(clients: &Clients, arguments: &Arguments) -> Told {
    let id = arguments.text_or_empty("question_id");
    let answer = arguments.text_or_empty("answer");
    match (answer.is_empty(), arguments.flag("declined")) {
        (true, true) => decline(clients, id).await,
        (false, false) => record(clients, id, answer, arguments).await,
        (true, false) => Err(Trouble::new(
            "Nothing was recorded. Give the answer, or declined: true if the customer does not want to answer.",
        )),
        (false, true) => {
            Err(Trouble::new("Nothing was recorded. Give either an answer or declined: true, not both."))
        }
    }
}

async fn record(clients: &Clients, id: String, answer: String, arguments: &Arguments) -> Told {
    let request = pb::MarkPendingQuestionAnsweredRequest {
        id,
        answer,
        conversation_id: arguments.text_or_empty("conversation_id"),
        write_to_customer: arguments.flag("write_to_customer"),
        overwrite: arguments.flag("overwrite"),
        ..Default::default()
    };
    let response = clients.questions().mark_pending_question_answered(request).await?;
    Ok(markdown::questions::answered(&response.into_inner()))
}

async fn decline(clients: &Clients, id: String) -> Told {
    let request = pb::SkipPendingQuestionRequest { id, declined: true, ..Default::default() };
    clients.questions().skip_pending_question(request).await?;
    Ok("It is recorded that the customer does not want to answer; next_questions does not offer it again."
        .to_owned())
}
