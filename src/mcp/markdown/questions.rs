//! Questions to ask.

use super::{Answer, joined, one_line, word};
use crate::pb;

/// Writes what to ask next, then what not to ask.
pub(in crate::mcp) fn next(response: &pb::NextPendingQuestionsResponse, budget: i64) -> String {
    if response.questions.is_empty() && response.left_out.is_empty() {
        return "There is nothing to ask this customer.".to_owned();
    }
    let mut answer = Answer::new(budget);
    let title =
        if response.questions.is_empty() { "Nothing to ask now.\n" } else { "Ask, the best first:\n" };
    answer.add(title.to_owned());
    answer.add_all(response.questions.iter().map(item));
    if !response.left_out.is_empty() && answer.add("Do not ask now:\n".to_owned()) {
        for left_out in &response.left_out {
            let reason = word::<pb::QuestionLeftOutReason>(left_out.reason).replace('_', " ");
            if !answer.add(format!("- {} ({reason}; id {})\n", one_line(&left_out.question), left_out.id)) {
                break;
            }
        }
    }
    answer.text()
}

fn item(next: &pb::NextQuestion) -> String {
    let question = next.pending_question.clone().unwrap_or_default();
    let fills = if question.target_field.is_empty() {
        String::new()
    } else {
        format!("fills {}", question.target_field)
    };
    let purpose = one_line(&question.purpose);
    let priority = match question.priority() {
        pb::Priority::High => "high priority",
        pb::Priority::Urgent => "urgent",
        _ => "",
    };
    let id = format!("id {}", question.id);
    let about = joined([priority, &fills, &purpose, &id], "; ");
    format!("- {} ({about})\n", one_line(&question.question))
}

/// Says what became of an answer.
pub(in crate::mcp) fn answered(response: &pb::MarkPendingQuestionAnsweredResponse) -> String {
    let question = response.pending_question.clone().unwrap_or_default();
    let what =
        if response.deduplicated { "The answer was recorded before." } else { "The answer is recorded." };
    let written = question.answer.as_ref().is_some_and(|answer| answer.write_time.is_some());
    let field = &question.target_field;
    match (written, field.is_empty()) {
        (true, _) => format!("{what} The customer's {field} has it."),
        (false, false) => {
            format!("{what} It was not written into the customer's {field}: write_to_customer does that.")
        }
        (false, true) => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::count;
    use super::*;

    fn question(text: &str) -> pb::NextQuestion {
        let question = pb::PendingQuestion {
            id: "q".to_owned(),
            question: text.to_owned(),
            target_field: "email".to_owned(),
            priority: pb::Priority::High.into(),
            ..Default::default()
        };
        pb::NextQuestion { pending_question: Some(question), ..Default::default() }
    }

    #[test]
    fn questions_have_their_ids_and_those_not_to_ask_their_reasons() {
        let left_out = pb::LeftOutQuestion {
            id: "r".to_owned(),
            question: "How many seats?".to_owned(),
            reason: pb::QuestionLeftOutReason::CoolingDown.into(),
            ..Default::default()
        };
        let response = pb::NextPendingQuestionsResponse {
            questions: vec![question("What is your\ne-mail?")],
            left_out: vec![left_out],
        };
        let expected = "Ask, the best first:\n- What is your e-mail? (high priority; fills email; id q)\n\
                        Do not ask now:\n- How many seats? (cooling down; id r)";
        assert_eq!(next(&response, 500), expected);
        let none = pb::NextPendingQuestionsResponse::default();
        assert_eq!(next(&none, 500), "There is nothing to ask this customer.");
    }

    #[test]
    fn the_budget_holds() {
        let questions = vec![question(&"word ".repeat(30)); 50];
        let response = pb::NextPendingQuestionsResponse { questions, ..Default::default() };
        assert!(count(&next(&response, 500)) <= 500);
    }

    #[test]
    fn an_answer_says_whether_the_customer_has_it() {
        let mut question = question("?").pending_question.expect("a question");
        let response = |question: &pb::PendingQuestion| pb::MarkPendingQuestionAnsweredResponse {
            pending_question: Some(question.clone()),
            ..Default::default()
        };
        assert!(answered(&response(&question)).contains("write_to_customer does that"));
        question.answer =
            Some(pb::QuestionAnswer { write_time: Some(Default::default()), ..Default::default() });
        assert_eq!(answered(&response(&question)), "The answer is recorded. The customer's email has it.");
    }
}
