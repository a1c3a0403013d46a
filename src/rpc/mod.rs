//! What all calls have in common.

pub mod codec;
pub mod cost;
pub mod etag;
pub mod fold;
pub mod ids;
pub mod incoming;
pub mod layer;
pub mod mask;
pub mod method;
pub mod money;
pub mod page;
pub mod servers;
pub mod size;
pub mod split;
pub mod structs;
pub mod together;
pub mod update;
pub mod zones;

use prost::Message;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::audit::rules::SubjectSlot;
use crate::audit::{self, Operation, Subject};
use crate::contract::validate::{self, Validate};
use crate::db::standby::Freshness;
use crate::db::turns::Turn;
use crate::db::{Access, Db, Deadline, TenantTx, Work};
use crate::error::{Error, Result};
use crate::idempotency;
use crate::identity::Caller;
use crate::pb::ErrorReason;
use crate::times;
use cost::Costs;
use etag::Etag;
use method::Method;
use together::Together;

pub use page::{Page, PageKey, Paged};

/// The common parts of requests, which the build reads from the protos.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/requests.rs"));
}

/// A request that changes something, and that a client may retry.
pub trait Mutation: Message {
    /// The type of its response.
    type Response: Message + Default;

    /// The UUID that the client made for the request; empty if it made none.
    fn request_id(&self) -> &str;

    /// The UUID of the changed resource, from the field that the contract names; empty if that field is in a response
    /// and there is none.
    fn resource_id<'m>(&'m self, response: Option<&'m Self::Response>) -> &'m str;
}

/// A request, as the audit log sees it.
pub trait HasSubject {
    /// The resource that the request names; empty if the call changes nothing.
    fn subject(&self) -> Subject {
        Subject::default()
    }
}

/// What the layers know about a call before its message is read.
#[derive(Debug, Clone)]
pub struct Context {
    /// The caller and its tenant.
    pub caller: Caller,
    /// The method that is called.
    pub method: &'static Method,
    /// When the client stops waiting.
    pub deadline: Deadline,
    /// The id of the call.
    pub id: Uuid,
    /// Passes the content of the message to the layers.
    pub subject: SubjectSlot,
    /// How old the data that the call reads may be; `None` if it must be the newest.
    pub freshness: Option<Freshness>,
    /// Where a costly call waits for its place.
    pub costs: Costs,
}

impl Context {
    /// Takes the context that the layers attached to a request.
    ///
    /// # Errors
    ///
    /// If the layers did not run, there is no caller: a bug of this service.
    pub fn of<T>(request: &mut Request<T>) -> Result<Self> {
        let context = request.extensions_mut().remove::<Self>();
        context.ok_or_else(|| Error::internal("a call came past the layers"))
    }

    /// Waits for the place that the call needs, and has until this is dropped. It must be taken only once the message
    /// is known to be valid, so that no client holds a place without sending. [`read`], [`snapshot`] and [`mutate`]
    /// do so.
    ///
    /// # Errors
    ///
    /// `TENANT_QUOTA_EXCEEDED`, `DEADLINE_EXCEEDED`.
    pub async fn place(&self) -> Result<Option<Turn>> {
        let _waiting = self.caller.trace().wait("wait for a place");
        self.costs.place(self.method.cost, self.caller.tenant(), self.deadline).await
    }

    /// The operation of the call, for the audit log.
    ///
    /// # Errors
    ///
    /// If the contract says that the call changes nothing: a bug of this service.
    pub(crate) fn operation(&self) -> Result<Operation> {
        let Method { name, resource_type, .. } = self.method;
        let nothing =
            || Error::internal(format!("{name} changes something, but the contract says it does not"));
        Ok(Operation {
            method: name,
            resource_type: resource_type.ok_or_else(nothing)?,
            call_id: Some(self.id),
        })
    }
}

/// A call that may be answered: its caller is known, and its message follows the rules of the contract.
#[derive(Debug)]
pub struct Call<T> {
    /// The caller, the method and the deadline.
    pub context: Context,
    /// What the client sent.
    pub message: T,
}

impl<T: Validate + HasSubject> Call<T> {
    /// Opens a request: takes its context and checks its message.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks.
    pub fn open(mut request: Request<T>) -> Result<Self> {
        let context = Context::of(&mut request)?;
        let message = request.into_inner();
        // Also for a message that is refused below.
        context.subject.note(message.subject());
        check(&message)?;
        Ok(Self { context, message })
    }

    /// Opens a request, and returns the result of `read` for its message too.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks, together with what `read` finds wrong.
    pub fn read<R>(mut request: Request<T>, read: impl FnOnce(&Self) -> Result<R>) -> Result<(Self, R)>
    where
        T: Message,
    {
        let context = Context::of(&mut request)?;
        let call = Self { context, message: request.into_inner() };
        call.context.subject.note(call.message.subject());
        let read = together::checked(&call.message, || read(&call))?;
        Ok((call, read))
    }
}

/// Checks a message against the rules of the contract.
///
/// # Errors
///
/// All violations at once.
pub fn check(message: &impl Validate) -> Result<()> {
    validate::validate(message)
        .map_err(|violations| Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
}

/// Answers a call that only reads, from one transaction of its tenant.
///
/// # Errors
///
/// What `work` returns, or any error that a transaction may have.
pub async fn read<T, R, F>(db: &Db, call: &Call<T>, work: F) -> Result<Response<R>>
where
    T: Sync,
    R: Send,
    F: for<'t> Work<&'t TenantTx, Result<R>>,
{
    read_as(Access::ReadOnly, db, call, work).await
}

/// Answers a call that only reads, from one transaction of its tenant that sees one moment.
///
/// # Errors
///
/// As [`read`].
pub async fn snapshot<T, R, F>(db: &Db, call: &Call<T>, work: F) -> Result<Response<R>>
where
    T: Sync,
    R: Send,
    F: for<'t> Work<&'t TenantTx, Result<R>>,
{
    read_as(Access::Snapshot, db, call, work).await
}

async fn read_as<T, R, F>(access: Access, db: &Db, call: &Call<T>, work: F) -> Result<Response<R>>
where
    T: Sync,
    R: Send,
    F: for<'t> Work<&'t TenantTx, Result<R>>,
{
    let _place = call.context.place().await?;
    let Context { caller, deadline, freshness, .. } = &call.context;
    db.read(caller, access, *freshness, *deadline, work).await.map(Response::new)
}

/// Answers a call that changes something, in one transaction of its tenant, which also stores the audit event. With a
/// `request_id` it happens once: a retry gets the first answer and no event.
///
/// # Errors
///
/// `IDEMPOTENCY_KEY_REUSED`; what `work` returns; or any error that a transaction may have.
pub async fn mutate<T, F>(db: &Db, call: &Call<T>, work: F) -> Result<Response<T::Response>>
where
    T: Mutation + Sync,
    F: for<'t> Work<&'t TenantTx, Result<T::Response>>,
{
    let _place = call.context.place().await?;
    let Context { caller, deadline, .. } = &call.context;
    let operation = call.context.operation()?;
    let key = match call.message.request_id() {
        "" => None,
        text => Some(idempotency::Key::new(call.context.method.name, id("request_id", text)?, &call.message)),
    };
    let (key, work) = (&key, &work);
    let work = async |tx: &TenantTx| {
        let Some(key) = key else { return work(tx).await.map(Answer::First) };
        if let Some(answer) = idempotency::recall(tx, key).await? {
            return Ok(Answer::Again(answer));
        }
        let answer = work(tx).await?;
        idempotency::keep(tx, key, &answer).await?;
        Ok(Answer::First(answer))
    };
    let event = |answer: &Answer<T::Response>| {
        let Answer::First(answer) = answer else { return None };
        let subject = Subject::new(call.message.resource_id(Some(answer)), call.message.request_id());
        let event = audit::rules::succeeded(caller.principal(), operation, subject, None, times::now());
        Some(audit::store::insert_last(caller.tenant().as_uuid(), &event))
    };
    let (Answer::First(answer) | Answer::Again(answer)) =
        db.write_with_last(caller, *deadline, work, event).await?;
    Ok(positioned(db, answer).await)
}

/// Returns the answer of a call that changed something, with the position that a later read may send to see the
/// change.
pub(crate) async fn positioned<R>(db: &Db, answer: R) -> Response<R> {
    let mut response = Response::new(answer);
    let position = db.position().await.and_then(|position| position.to_string().parse().ok());
    if let Some(position) = position {
        response.metadata_mut().insert(layer::freshness::POSITION, position);
    }
    response
}

/// The answer of a call that changes something.
enum Answer<R> {
    /// The call was done now.
    First(R),
    /// The call was done before.
    Again(R),
}

/// Returns a required part of a request.
///
/// # Errors
///
/// If it is missing.
pub fn required<'m, M>(field: &'static str, part: Option<&'m M>) -> Result<&'m M> {
    part.ok_or_else(|| Error::invalid(field, "required", "must be set"))
}

/// Returns the id and the etag by which a request names a resource and its state.
///
/// # Errors
///
/// As [`id`] and [`Etag::expected`], together.
pub fn subject(id: &str, etag: &str) -> Result<(Uuid, Option<Etag>)> {
    (self::id("id", id), Etag::expected("etag", etag)).together()
}

/// Parses a UUID of the field `field`, whose form the contract's rules have already checked.
///
/// # Errors
///
/// If `text` is not a UUID.
pub fn id(field: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| {
        Error::invalid(field, "string.uuid", "must be a UUID, such as 018f4e0a-7b7c-7000-8000-000000000000")
    })
}

/// Returns the UUID of one item of a list of ids, where each item is handled separately. Returns `None` if the item
/// does not have the form that the contract asks for.
pub fn item_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| validate::formats::is_uuid(text))
}

/// As [`id`], for a field that may be empty.
///
/// # Errors
///
/// As [`id`].
pub fn optional_id(field: &str, text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// The text of an optional UUID: empty if there is none.
pub fn optional_text(id: Option<Uuid>) -> String {
    id.map_or_else(String::new, |id| id.to_string())
}

/// Returns `None` for a text that the client left empty.
pub fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
