//! `ConversationService`.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming, async_trait};
use uuid::Uuid;

use super::messages::actions::Range;
use super::store::{Conversation, Cursor, Filter, OrderKey};
use super::{actions, analyses, messages, wire};
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::mask::Change;
use crate::rpc::words::stored;
use crate::rpc::{self, Call, Context, PageKey, etag, page, times};

/// `ConversationService`.
pub struct Conversations {
    db: Db,
    page_key: PageKey,
    streams: TaskTracker,
    stop: CancellationToken,
}

impl Conversations {
    /// The service over this database. Its streams run in `streams`, and end at `stop`.
    pub fn new(db: Db, page_key: PageKey, streams: TaskTracker, stop: CancellationToken) -> Self {
        Self { db, page_key, streams, stop }
    }
}

#[async_trait]
impl pb::conversation_service_server::ConversationService for Conversations {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        let call = Call::open(request)?;
        let conversation = wire::create(call.message.clone(), Uuid::now_v7(), times::now())?;
        let response = rpc::mutate(&self.db, &call, async |tx: &mut TenantTx| {
            let conversation = actions::create(tx, conversation.clone()).await?;
            Ok(pb::CreateConversationResponse { conversation: Some(conversation.into()) })
        });
        Ok(response.await?)
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &mut TenantTx| {
            let conversation = actions::get(tx, id).await?;
            Ok(pb::GetConversationResponse { conversation: Some(conversation.into()) })
        });
        Ok(response.await?)
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        let call = Call::open(request)?;
        let page = self.page_key.open(&call)?;
        let order = order(&call.message.order_by);
        let filter = filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &mut TenantTx| {
            let (conversations, next) = actions::list(tx, &filter, order, &page).await?;
            let (conversations, next) = page::fit(conversations, next, |last| Cursor::at(order.0, last));
            Ok(pb::ListConversationsResponse {
                conversations,
                next_page_token: self.page_key.next(&call, next)?,
            })
        });
        Ok(response.await?)
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Result<Response<pb::UpdateConversationResponse>, Status> {
        let call = Call::open(request)?;
        let pb::UpdateConversationRequest { conversation, update_mask, request_id: _ } = &call.message;
        let missing = || Error::invalid("conversation", "required", "is required");
        let conversation = conversation.as_ref().ok_or_else(missing)?;
        let id = rpc::id("conversation.id", &conversation.id)?;
        let expected = etag::to_revision("conversation.etag", &conversation.etag)?;
        let change = Change::new("conversation", conversation, update_mask.as_ref())?;
        let response = rpc::mutate(&self.db, &call, async |tx: &mut TenantTx| {
            let change = |current: &Conversation| changed(&change, current);
            let conversation = actions::update(tx, id, expected, change).await?;
            Ok(pb::UpdateConversationResponse { conversation: Some(conversation.into()) })
        });
        Ok(response.await?)
    }

    async fn end_conversation(
        &self,
        request: Request<pb::EndConversationRequest>,
    ) -> Result<Response<pb::EndConversationResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let expected = etag::to_revision("etag", &call.message.etag)?;
        let ending = wire::ending(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &mut TenantTx| {
            let conversation = actions::end(tx, id, expected, ending.clone()).await?;
            Ok(pb::EndConversationResponse { conversation: Some(conversation.into()) })
        });
        Ok(response.await?)
    }

    type AddMessageStream = ReceiverStream<Result<pb::AddMessageResponse, Status>>;

    async fn add_message(
        &self,
        mut request: Request<Streaming<pb::AddMessageRequest>>,
    ) -> Result<Response<Self::AddMessageStream>, Status> {
        let Context { caller, .. } = Context::of(&mut request)?;
        let (responses, outgoing) = mpsc::channel(messages::stream::WINDOW);
        let (db, stop) = (self.db.clone(), self.stop.clone());
        self.streams.spawn(messages::stream::serve(db, caller, request.into_inner(), responses, stop));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn create_message(
        &self,
        request: Request<pb::CreateMessageRequest>,
    ) -> Result<Response<pb::CreateMessageResponse>, Status> {
        let call = Call::open(request)?;
        let pb::CreateMessageRequest { conversation_id, message, request_id } = &call.message;
        let conversation_id = rpc::id("conversation_id", conversation_id)?;
        let mut message = message.clone().unwrap_or_default();
        if message.message_key.is_empty() {
            message.message_key =
                if request_id.is_empty() { Uuid::new_v4().to_string() } else { request_id.clone() };
        }
        let message = messages::wire::new_message(conversation_id, message);
        let response = rpc::mutate(&self.db, &call, async |tx: &mut TenantTx| {
            let (message, deduplicated) = messages::actions::create(tx, message.clone()).await?;
            Ok(pb::CreateMessageResponse { message: Some(message.into()), deduplicated })
        });
        Ok(response.await?)
    }

    async fn get_message(
        &self,
        request: Request<pb::GetMessageRequest>,
    ) -> Result<Response<pb::GetMessageResponse>, Status> {
        let call = Call::open(request)?;
        let conversation_id = rpc::id("conversation_id", &call.message.conversation_id)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &mut TenantTx| {
            let message = messages::actions::get(tx, conversation_id, id).await?;
            Ok(pb::GetMessageResponse { message: Some(message.into()) })
        });
        Ok(response.await?)
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let call = Call::open(request)?;
        let page = self.page_key.open(&call)?;
        let direction = match call.message.order_by.as_str() {
            "sequence desc" => Direction::Descending,
            _ => Direction::Ascending,
        };
        let range = Range {
            conversation_id: rpc::id("conversation_id", &call.message.conversation_id)?,
            after: call.message.after_sequence,
            before: call.message.before_sequence,
        };
        let response = rpc::read(&self.db, &call, async |tx: &mut TenantTx| {
            let (messages, next) = messages::actions::list(tx, range, direction, &page).await?;
            let (messages, next) = page::fit(messages, next, |last| last.sequence);
            Ok(pb::ListMessagesResponse { messages, next_page_token: self.page_key.next(&call, next)? })
        });
        Ok(response.await?)
    }

    async fn record_analysis(
        &self,
        request: Request<pb::RecordAnalysisRequest>,
    ) -> Result<Response<pb::RecordAnalysisResponse>, Status> {
        let call = Call::open(request)?;
        let analysis = analyses::wire::record(call.message.clone(), Uuid::now_v7(), times::now())?;
        let response = rpc::mutate(&self.db, &call, async |tx: &mut TenantTx| {
            let analysis = analyses::actions::record(tx, analysis.clone()).await?;
            Ok(pb::RecordAnalysisResponse { analysis: Some(analysis.into()) })
        });
        Ok(response.await?)
    }

    async fn list_analyses(
        &self,
        request: Request<pb::ListAnalysesRequest>,
    ) -> Result<Response<pb::ListAnalysesResponse>, Status> {
        let call = Call::open(request)?;
        let page = self.page_key.open(&call)?;
        let conversation_id = rpc::id("conversation_id", &call.message.conversation_id)?;
        let response = rpc::read(&self.db, &call, async |tx: &mut TenantTx| {
            let (analyses, next) = analyses::actions::list(tx, conversation_id, &page).await?;
            let (analyses, next) = page::fit(analyses, next, |last| last.version);
            Ok(pb::ListAnalysesResponse { analyses, next_page_token: self.page_key.next(&call, next)? })
        });
        Ok(response.await?)
    }
}

fn changed(change: &Change, current: &Conversation) -> Result<Conversation> {
    let wanted = change.apply(&pb::Conversation::from(current.clone()))?;
    Ok(wire::update(wanted, current))
}

/// What a list is ordered by. The contract's rules leave no other text.
fn order(text: &str) -> (OrderKey, Direction) {
    match text {
        "start_time" => (OrderKey::StartedAt, Direction::Ascending),
        "update_time" => (OrderKey::UpdatedAt, Direction::Ascending),
        "update_time desc" => (OrderKey::UpdatedAt, Direction::Descending),
        _ => (OrderKey::StartedAt, Direction::Descending),
    }
}

fn filter(request: &pb::ListConversationsRequest) -> Result<Filter> {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().and_then(times::from_wire);
    Ok(Filter {
        customer_id: match request.customer_id.as_str() {
            "" => None,
            id => Some(rpc::id("customer_id", id)?),
        },
        session_id: text(&request.session_id),
        statuses: request.statuses.iter().filter_map(|status| stored(*status)).collect(),
        entry_points: request.entry_points.iter().filter_map(|entry_point| stored(*entry_point)).collect(),
        environments: request.environments.iter().filter_map(|environment| stored(*environment)).collect(),
        presenter_kinds: request.presenter_kinds.iter().filter_map(|kind| stored(*kind)).collect(),
        presenter_id: text(&request.presenter_id),
        outcomes: request.outcomes.iter().filter_map(|outcome| stored(*outcome)).collect(),
        follow_up_due_before: time(&request.follow_up_due_before),
        started_from: time(&request.start_time_from),
        started_until: time(&request.start_time_until),
    })
}
