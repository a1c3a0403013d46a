//! `PendingQuestionService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::actions::{self, Done};
use super::store::{Cursor, Question};
use super::wire;
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::servers::pending_question_service_server::PendingQuestionService;
use crate::rpc::together::Together;
use crate::rpc::update::Updating;
use crate::rpc::{self, Call, PageKey};
use crate::times;

/// `PendingQuestionService`.
pub struct PendingQuestions {
    db: Db,
    page_key: PageKey,
}

impl PendingQuestions {
    /// Creates the service over this database.
    pub fn new(db: Db, page_key: PageKey) -> Self {
        Self { db, page_key }
    }
}

#[async_trait]
impl PendingQuestionService for PendingQuestions {
    async fn create_pending_question(
        &self,
        request: Request<pb::CreatePendingQuestionRequest>,
    ) -> Result<Response<pb::CreatePendingQuestionResponse>, Status> {
        let (call, question) = Call::read(request, |call| {
            wire::create(call.message.pending_question.as_ref(), Uuid::now_v7(), times::now())
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { question, deduplicated } = actions::create(tx, question.clone()).await?;
            Ok(pb::CreatePendingQuestionResponse { pending_question: Some(question.into()), deduplicated })
        });
        Ok(response.await?)
    }

    async fn get_pending_question(
        &self,
        request: Request<pb::GetPendingQuestionRequest>,
    ) -> Result<Response<pb::GetPendingQuestionResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let question = actions::get(tx, id).await?;
            Ok(pb::GetPendingQuestionResponse { pending_question: Some(question.into()) })
        });
        Ok(response.await?)
    }

    async fn list_pending_questions(
        &self,
        request: Request<pb::ListPendingQuestionsRequest>,
    ) -> Result<Response<pb::ListPendingQuestionsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = actions::list(tx, &filter, direction, &page).await?;
            let (pending_questions, next_page_token) =
                self.page_key.finish(&call, &page, rows, Cursor::at)?;
            Ok(pb::ListPendingQuestionsResponse { pending_questions, next_page_token })
        });
        Ok(response.await?)
    }

    async fn update_pending_question(
        &self,
        request: Request<pb::UpdatePendingQuestionRequest>,
    ) -> Result<Response<pb::UpdatePendingQuestionResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            actions::update(tx, wanted.id, wanted.expected, wanted.change(merge)).await
        });
        Ok(response.await?)
    }

    async fn delete_pending_question(
        &self,
        request: Request<pb::DeletePendingQuestionRequest>,
    ) -> Result<Response<pb::DeletePendingQuestionResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let question = actions::delete(tx, id, expected).await?;
            Ok(pb::DeletePendingQuestionResponse { pending_question: Some(question.into()) })
        });
        Ok(response.await?)
    }

    async fn next_pending_questions(
        &self,
        request: Request<pb::NextPendingQuestionsRequest>,
    ) -> Result<Response<pb::NextPendingQuestionsResponse>, Status> {
        let (call, params) = Call::read(request, |call| wire::params(&call.message))?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let ranking = actions::next(tx, &params).await?;
            Ok(ranking.into())
        });
        Ok(response.await?)
    }

    async fn mark_pending_question_asked(
        &self,
        request: Request<pb::MarkPendingQuestionAskedRequest>,
    ) -> Result<Response<pb::MarkPendingQuestionAskedResponse>, Status> {
        let (call, ((id, expected), step)) = Call::read(request, |call| {
            (rpc::subject(&call.message.id, &call.message.etag), wire::asking(&call.message)).together()
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { question, deduplicated } = actions::step(tx, id, expected, &step).await?;
            Ok(pb::MarkPendingQuestionAskedResponse { pending_question: Some(question.into()), deduplicated })
        });
        Ok(response.await?)
    }

    async fn mark_pending_question_answered(
        &self,
        request: Request<pb::MarkPendingQuestionAnsweredRequest>,
    ) -> Result<Response<pb::MarkPendingQuestionAnsweredResponse>, Status> {
        let (call, ((id, expected), step)) = Call::read(request, |call| {
            (rpc::subject(&call.message.id, &call.message.etag), wire::answering(&call.message)).together()
        })?;
        let pb::MarkPendingQuestionAnsweredRequest { write_to_customer, overwrite, .. } = call.message;
        let overwrite = write_to_customer.then_some(overwrite);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let (done, customer) = actions::answer(tx, id, expected, &step, overwrite).await?;
            let Done { question, deduplicated } = done;
            let pending_question = Some(question.into());
            let customer = customer.map(Into::into);
            Ok(pb::MarkPendingQuestionAnsweredResponse { pending_question, customer, deduplicated })
        });
        Ok(response.await?)
    }

    async fn mark_pending_question_verified(
        &self,
        request: Request<pb::MarkPendingQuestionVerifiedRequest>,
    ) -> Result<Response<pb::MarkPendingQuestionVerifiedResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let step = wire::verifying(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { question, deduplicated } = actions::step(tx, id, expected, &step).await?;
            Ok(pb::MarkPendingQuestionVerifiedResponse {
                pending_question: Some(question.into()),
                deduplicated,
            })
        });
        Ok(response.await?)
    }

    async fn skip_pending_question(
        &self,
        request: Request<pb::SkipPendingQuestionRequest>,
    ) -> Result<Response<pb::SkipPendingQuestionResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let step = wire::skipping(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { question, deduplicated } = actions::step(tx, id, expected, &step).await?;
            Ok(pb::SkipPendingQuestionResponse { pending_question: Some(question.into()), deduplicated })
        });
        Ok(response.await?)
    }
}

fn merge(wanted: pb::PendingQuestion, current: &Question) -> Result<Question> {
    Ok(wire::update(wanted, current))
}
