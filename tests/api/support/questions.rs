//! Helpers for pending questions.

use crm_backend::pb::{
    Conversation, CreatePendingQuestionRequest, DeletePendingQuestionRequest, GetPendingQuestionRequest,
    ListPendingQuestionsRequest, ListPendingQuestionsResponse, MarkPendingQuestionAnsweredRequest,
    MarkPendingQuestionAnsweredResponse, MarkPendingQuestionAskedRequest, MarkPendingQuestionVerifiedRequest,
    NextPendingQuestionsRequest, NextPendingQuestionsResponse, PendingQuestion, SkipPendingQuestionRequest,
    UpdatePendingQuestionRequest,
};
use crm_testkit::Sql;
use tonic::{Code, Status};

use super::customers::mask;
use super::{Refusal, Tenant};

/// Returns a question, to be created.
pub(crate) fn question(customer_id: &str, question: &str) -> PendingQuestion {
    PendingQuestion {
        customer_id: customer_id.to_owned(),
        question: question.to_owned(),
        ..Default::default()
    }
}

/// Returns a question whose answer fills a field, to be created.
pub(crate) fn about(customer_id: &str, target_field: &str) -> PendingQuestion {
    let text = format!("What is your {target_field}?");
    PendingQuestion { target_field: target_field.to_owned(), ..question(customer_id, &text) }
}

/// Returns an answer, to be recorded.
pub(crate) fn answer(id: &str, answer: &str) -> MarkPendingQuestionAnsweredRequest {
    MarkPendingQuestionAnsweredRequest { id: id.to_owned(), answer: answer.to_owned(), ..Default::default() }
}

/// Returns an answer, to be recorded and written into the customer.
pub(crate) fn written(id: &str, text: &str) -> MarkPendingQuestionAnsweredRequest {
    MarkPendingQuestionAnsweredRequest { write_to_customer: true, ..answer(id, text) }
}

/// Makes a waiting question expire.
pub(crate) async fn lapse(sql: &Sql, id: &str) {
    sql.run(&format!("UPDATE pending_questions SET expires_at = now() - interval '1 s' WHERE id = '{id}'"))
        .await;
}

/// Expects INVALID_ARGUMENT because of this field, for any of its rules.
#[track_caller]
pub(crate) fn is_about(error: &Status, field: &str) {
    error.is(Code::InvalidArgument, "FIELD_INVALID");
    let fields = error.fields();
    assert!(!fields.is_empty() && fields.iter().all(|found| found == field), "{field}: {error:?}");
}

impl Tenant {
    /// Creates a question.
    pub(crate) async fn question(&self, customer_id: &str, text: &str) -> PendingQuestion {
        self.create_question(question(customer_id, text)).await.expect("a question").0
    }

    /// Creates another conversation of a customer.
    pub(crate) async fn talk_of(&self, customer_id: &str) -> String {
        let request = Conversation { customer_id: customer_id.to_owned(), ..Default::default() };
        self.open(request).await.expect("a conversation").id
    }

    /// Creates a question, and returns whether it existed already.
    pub(crate) async fn create_question(
        &self,
        question: PendingQuestion,
    ) -> Result<(PendingQuestion, bool), Status> {
        self.create_question_once(question, "").await
    }

    /// The same with a `request_id`.
    pub(crate) async fn create_question_once(
        &self,
        question: PendingQuestion,
        request_id: &str,
    ) -> Result<(PendingQuestion, bool), Status> {
        let request = CreatePendingQuestionRequest {
            pending_question: Some(question),
            request_id: request_id.to_owned(),
        };
        let response = self.questions().create_pending_question(request).await?.into_inner();
        Ok((response.pending_question.expect("the question"), response.deduplicated))
    }

    pub(crate) async fn read_question(&self, id: &str) -> Result<PendingQuestion, Status> {
        let request = GetPendingQuestionRequest { id: id.to_owned() };
        let response = self.questions().get_pending_question(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    pub(crate) async fn question_page(
        &self,
        request: ListPendingQuestionsRequest,
    ) -> Result<ListPendingQuestionsResponse, Status> {
        Ok(self.questions().list_pending_questions(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_questions(
        &self,
        mut request: ListPendingQuestionsRequest,
    ) -> Vec<PendingQuestion> {
        let mut questions = Vec::new();
        loop {
            let page = self.question_page(request.clone()).await.expect("a page");
            questions.extend(page.pending_questions);
            if page.next_page_token.is_empty() {
                return questions;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes the fields of a question that `paths` names; without paths, the fields that are set.
    pub(crate) async fn revise_question(
        &self,
        wanted: PendingQuestion,
        paths: &[&str],
    ) -> Result<PendingQuestion, Status> {
        let update_mask = (!paths.is_empty()).then(|| mask(paths));
        let request = UpdatePendingQuestionRequest {
            pending_question: Some(wanted),
            update_mask,
            ..Default::default()
        };
        let response = self.questions().update_pending_question(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    pub(crate) async fn delete_question(&self, id: &str, etag: &str) -> Result<PendingQuestion, Status> {
        let request =
            DeletePendingQuestionRequest { id: id.to_owned(), etag: etag.to_owned(), ..Default::default() };
        let response = self.questions().delete_pending_question(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    /// Marks a question as asked, without a conversation.
    pub(crate) async fn ask(&self, id: &str) -> Result<PendingQuestion, Status> {
        self.mark_asked(MarkPendingQuestionAskedRequest { id: id.to_owned(), ..Default::default() }).await
    }

    pub(crate) async fn mark_asked(
        &self,
        request: MarkPendingQuestionAskedRequest,
    ) -> Result<PendingQuestion, Status> {
        let response = self.questions().mark_pending_question_asked(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    pub(crate) async fn answer(&self, id: &str, text: &str) -> Result<PendingQuestion, Status> {
        let response = self.mark_answered(answer(id, text)).await?;
        assert_eq!(response.customer, None, "nothing was written");
        Ok(response.pending_question.expect("the question"))
    }

    pub(crate) async fn mark_answered(
        &self,
        request: MarkPendingQuestionAnsweredRequest,
    ) -> Result<MarkPendingQuestionAnsweredResponse, Status> {
        Ok(self.questions().mark_pending_question_answered(request).await?.into_inner())
    }

    pub(crate) async fn verify(&self, id: &str, by: &str) -> Result<PendingQuestion, Status> {
        let request = MarkPendingQuestionVerifiedRequest {
            id: id.to_owned(),
            verified_by: by.to_owned(),
            ..Default::default()
        };
        let response = self.questions().mark_pending_question_verified(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    pub(crate) async fn skip(&self, id: &str, declined: bool) -> Result<PendingQuestion, Status> {
        self.skip_because(id, declined, "").await
    }

    pub(crate) async fn skip_because(
        &self,
        id: &str,
        declined: bool,
        reason: &str,
    ) -> Result<PendingQuestion, Status> {
        let request = SkipPendingQuestionRequest {
            id: id.to_owned(),
            declined,
            reason: reason.to_owned(),
            ..Default::default()
        };
        let response = self.questions().skip_pending_question(request).await?.into_inner();
        Ok(response.pending_question.expect("the question"))
    }

    /// Returns the next questions for this customer, and those that were left out.
    pub(crate) async fn next(&self, customer_id: &str) -> NextPendingQuestionsResponse {
        let request =
            NextPendingQuestionsRequest { customer_id: customer_id.to_owned(), ..Default::default() };
        self.next_of(request).await.expect("an answer")
    }

    /// The same for any request, which need not include the questions that were left out.
    pub(crate) async fn next_of(
        &self,
        request: NextPendingQuestionsRequest,
    ) -> Result<NextPendingQuestionsResponse, Status> {
        let request = NextPendingQuestionsRequest { include_left_out: true, ..request };
        Ok(self.questions().next_pending_questions(request).await?.into_inner())
    }
}
