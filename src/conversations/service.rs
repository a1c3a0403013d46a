//! `ConversationService`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming, async_trait};
use uuid::Uuid;

use super::feed::Feed;
use super::messages::actions::{Name, Range};
use super::messages::audited::{Audit, Author};
use super::messages::counter::Counter;
use super::messages::rules::Placed;
use super::messages::stream::Streams;
use super::messages::writer::{Settled, Writer};
use super::store::{Conversation, Cursor};
use super::watch::Watches;
use super::{actions, analyses, caretaker, messages, watch, wire};
use crate::audit::Recorder;
use crate::audit::ledger::Ledger;
use crate::db::keyset::Direction;
use crate::db::{Db, Target, TenantTx};
use crate::error::Result;
use crate::live::bus::{Bus, Signal};
use crate::live::drought::Drought;
use crate::live::lanes::{Lanes, Width};
use crate::metrics::Lane;
use crate::pb;
use crate::rpc::layer::room::Meter;
use crate::rpc::servers::conversation_service_server::ConversationService;
use crate::rpc::together::Together;
use crate::rpc::update::Updating;
use crate::rpc::{self, Call, Context, PageKey};
use crate::times;

/// `ConversationService`.
pub struct Conversations {
    db: Db,
    page_key: PageKey,
    tracker: TaskTracker,
    feed: Feed,
    streams: Streams,
    watches: Watches,
    lease: Duration,
}

/// The parts that the service is made of.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// The key of page and resume tokens.
    pub page_key: PageKey,
    /// The channel over which replicas tell each other events.
    pub bus: Arc<dyn Bus>,
    /// The limits of concurrent writers and of a batch.
    pub width: Width,
    /// The time that a message stays in progress after the last write to it.
    pub lease: Duration,
    /// The tracker of the tasks of streams.
    pub tracker: TaskTracker,
    /// The token that ends all streams.
    pub stop: CancellationToken,
    /// The recorder of failed calls.
    pub recorder: Recorder,
    /// The time for which one event of the audit log covers the messages that follow.
    pub audit_cover: Duration,
}

impl Conversations {
    /// Creates the service.
    pub fn new(parts: Parts) -> Self {
        let Parts { db, page_key, bus, width, lease, tracker, stop, recorder, audit_cover } = parts;
        let feed = Feed::new(bus);
        let counter = Counter::new(db.clone(), &tracker, stop.clone());
        let audit = Audit::new(Ledger::new(audit_cover), recorder);
        let writer = Writer {
            db: db.clone(),
            feed: feed.clone(),
            lease,
            counter,
            audit: audit.clone(),
            drought: Drought::default(),
        };
        let lanes = Lanes::new(writer, width, tracker.clone(), db.metrics().lanes.of(Lane::Messages));
        let streams = Streams { lanes, feed: feed.clone(), stop: stop.clone(), audit };
        let watches = Watches::new(db.clone(), feed.clone(), page_key.clone(), tracker.clone(), stop);
        Self { db, page_key, tracker, feed, streams, watches, lease }
    }

    /// Returns the feed of conversation events, for other services that tell events.
    pub(crate) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Runs the background work of the service until `stop`. It hears other replicas, looks at the watched
    /// conversations, and gives up messages that no producer goes on with.
    pub fn background(
        &self,
        target: Target,
        signals: mpsc::Receiver<Signal>,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let hear = self.feed.clone().hear(signals);
        let look = self.feed.clone().look(target.clone(), stop.clone());
        let care = caretaker::run(target, self.streams.lanes.clone(), self.lease, stop.clone());
        async move {
            tokio::join!(hear, look, care);
        }
    }
}

#[async_trait]
impl ConversationService for Conversations {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        let (call, conversation) =
            Call::read(request, |call| wire::create(call.message.clone(), Uuid::now_v7(), times::now()))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let (conversation, reused) =
                actions::create(tx, conversation.clone(), call.message.reuse_open).await?;
            Ok(pb::CreateConversationResponse { conversation: Some(conversation.into()), reused })
        });
        Ok(response.await?)
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let conversation = wire::shown(actions::get(tx, id).await?.into(), call.message.view());
            Ok(pb::GetConversationResponse { conversation: Some(conversation) })
        });
        Ok(response.await?)
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        let (call, (page, filter)) =
            Call::read(request, |call| (self.page_key.open(call), wire::filter(&call.message)).together())?;
        let order = wire::order(&call.message.order_by);
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let is_full = call.message.view() == pb::ConversationView::Full;
            let at = |last: &Conversation| Cursor::at(order.0, last);
            let rows = actions::list(tx, &filter, order, is_full, &page).await?;
            let (conversations, next_page_token) = self.page_key.finish(&call, &page, rows, at)?;
            Ok(pb::ListConversationsResponse { conversations, next_page_token })
        });
        Ok(response.await?)
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Result<Response<pb::UpdateConversationResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            actions::update(tx, wanted.id, wanted.expected, wanted.change(merge)).await
        });
        let response = response.await?;
        self.feed.changed(&wanted.call.context.caller, wanted.id);
        Ok(response)
    }

    async fn end_conversation(
        &self,
        request: Request<pb::EndConversationRequest>,
    ) -> Result<Response<pb::EndConversationResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let ending = wire::ending(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let (conversation, deduplicated) = actions::end(tx, id, expected, ending.clone()).await?;
            Ok(pb::EndConversationResponse { conversation: Some(conversation.into()), deduplicated })
        });
        let response = response.await?;
        self.feed.changed(&call.context.caller, id);
        Ok(response)
    }

    async fn reopen_conversation(
        &self,
        request: Request<pb::ReopenConversationRequest>,
    ) -> Result<Response<pb::ReopenConversationResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let (conversation, deduplicated) = actions::reopen(tx, id, expected).await?;
            Ok(pb::ReopenConversationResponse { conversation: Some(conversation.into()), deduplicated })
        });
        let response = response.await?;
        self.feed.changed(&call.context.caller, id);
        Ok(response)
    }

    type AddMessageStream = ReceiverStream<Result<pb::AddMessageResponse, Status>>;

    async fn add_message(
        &self,
        mut request: Request<Streaming<pb::AddMessageRequest>>,
    ) -> Result<Response<Self::AddMessageStream>, Status> {
        let author = Author::of(&Context::of(&mut request)?)?;
        let (responses, outgoing) = mpsc::channel(messages::stream::ANSWERS);
        let streams = self.streams.clone();
        let meter = request.extensions_mut().remove::<Meter>();
        let requests = (request.into_inner(), meter);
        self.tracker.spawn(messages::stream::serve(streams, author, requests, responses));
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
        let write = messages::wire::add(conversation_id, message);
        let caller = &call.context.caller;
        if !request_id.is_empty() {
            // The response is kept for a retry, in the same transaction that adds the message.
            let (write, lease) = (&write, self.lease);
            let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
                let placed = messages::actions::write(tx, write, lease).await?;
                created(tx, &placed).await
            });
            let response = response.await?;
            self.feed.changed(caller, conversation_id);
            return Ok(response);
        }
        let author = Author::of(&call.context)?;
        let Settled { placed, added } =
            messages::writer::write(&self.streams.lanes, author, call.context.deadline, write).await?;
        // Reading it again could fail, though it is stored.
        if let Some(message) = added {
            let answer = pb::CreateMessageResponse { message: Some(message.into()), deduplicated: false };
            return Ok(rpc::positioned(&self.db, answer).await);
        }
        Ok(rpc::read(&self.db, &call, async |tx: &TenantTx| created(tx, &placed).await).await?)
    }

    async fn get_message(
        &self,
        request: Request<pb::GetMessageRequest>,
    ) -> Result<Response<pb::GetMessageResponse>, Status> {
        let call = Call::open(request)?;
        let conversation_id = rpc::id("conversation_id", &call.message.conversation_id)?;
        let name = messages::wire::name(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let message = messages::actions::get(tx, conversation_id, &name).await?;
            let message = messages::wire::shown(message.into(), call.message.view());
            Ok(pb::GetMessageResponse { message: Some(message) })
        });
        Ok(response.await?)
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = match call.message.order_by.as_str() {
            "sequence desc" => Direction::Descending,
            _ => Direction::Ascending,
        };
        let range = Range {
            conversation_id: rpc::id("conversation_id", &call.message.conversation_id)?,
            after: call.message.after_sequence.map(i64::from),
            before: call.message.before_sequence.map(i64::from),
        };
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let is_full = call.message.view() != pb::MessageView::Basic;
            let rows = messages::actions::list(tx, range, direction, is_full, &page).await?;
            let (messages, next_page_token) =
                self.page_key.finish(&call, &page, rows, |last| last.sequence)?;
            Ok(pb::ListMessagesResponse { messages, next_page_token })
        });
        Ok(response.await?)
    }

    type WatchConversationStream = watch::Responses;

    async fn watch_conversation(
        &self,
        request: Request<pb::WatchConversationRequest>,
    ) -> Result<Response<Self::WatchConversationStream>, Status> {
        let Call { context, message } = Call::open(request)?;
        let pb::WatchConversationRequest { conversation_id, start, include_deltas } = message;
        let conversation_id = rpc::id("conversation_id", &conversation_id)?;
        let params = watch::Params { conversation_id, start, include_deltas };
        Ok(Response::new(watch::open(self.watches.clone(), context.caller, params).await?))
    }

    async fn record_analysis(
        &self,
        request: Request<pb::RecordAnalysisRequest>,
    ) -> Result<Response<pb::RecordAnalysisResponse>, Status> {
        let (call, analysis) = Call::read(request, |call| {
            let analysis = rpc::required("analysis", call.message.analysis.as_ref())?;
            analyses::wire::record(analysis.clone(), Uuid::now_v7(), times::now())
        })?;
        let conversation_id = analysis.conversation_id;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let analysis = analyses::actions::record(tx, analysis.clone()).await?;
            Ok(pb::RecordAnalysisResponse { analysis: Some(analysis.into()) })
        });
        let response = response.await?;
        self.feed.changed(&call.context.caller, conversation_id);
        Ok(response)
    }

    async fn get_conversation_analysis(
        &self,
        request: Request<pb::GetConversationAnalysisRequest>,
    ) -> Result<Response<pb::GetConversationAnalysisResponse>, Status> {
        let call = Call::open(request)?;
        let pb::GetConversationAnalysisRequest { conversation_id, id } = &call.message;
        let (conversation_id, id) =
            (rpc::id("conversation_id", conversation_id), rpc::id("id", id)).together()?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let analysis = analyses::actions::get(tx, conversation_id, id).await?;
            Ok(pb::GetConversationAnalysisResponse { analysis: Some(analysis.into()) })
        });
        Ok(response.await?)
    }

    async fn list_conversation_analyses(
        &self,
        request: Request<pb::ListConversationAnalysesRequest>,
    ) -> Result<Response<pb::ListConversationAnalysesResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let conversation_id = rpc::id("conversation_id", &call.message.conversation_id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = analyses::actions::list(tx, conversation_id, &page).await?;
            let (analyses, next_page_token) =
                self.page_key.finish(&call, &page, rows, |last| last.version)?;
            Ok(pb::ListConversationAnalysesResponse { analyses, next_page_token })
        });
        Ok(response.await?)
    }
}

async fn created(tx: &TenantTx, placed: &Placed) -> Result<pb::CreateMessageResponse> {
    let message = messages::actions::get(tx, placed.conversation_id, &Name::Id(placed.id)).await?;
    Ok(pb::CreateMessageResponse { message: Some(message.into()), deduplicated: placed.deduplicated })
}

fn merge(wanted: pb::Conversation, current: &Conversation) -> Result<Conversation> {
    Ok(wire::update(wanted, current))
}
