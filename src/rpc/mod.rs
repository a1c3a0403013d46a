//! What every call shares.

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
pub mod size;
pub mod split;
pub mod structs;
pub mod times;
pub mod together;
pub mod validate;
pub mod words;
pub mod zones;

use prost::Message;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::audit::rules::Asking;
use crate::audit::{self, Asked, Operation};
use crate::auth::Caller;
use crate::db::standby::Freshness;
use crate::db::turns::Turn;
use crate::db::{Access, Db, Deadline, TenantTx, Work};
use crate::error::{Error, Result};
use crate::idempotency;
use crate::pb::ErrorReason;
use cost::Costs;
use etag::Etag;
use method::Method;
use together::Together;
use validate::Validate;

pub use page::{Page, PageKey, Paged};

/// What requests have in common, read off the protos by the build.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/requests.rs"));
}

/// A request that changes something, and that a client may send again.
pub trait Mutation: Message {
    /// What answers it.
    type Response: Message + Default;

    /// The UUID that the client made for the request; empty when it made none.
    fn request_id(&self) -> &str;

    /// The UUID of what the call changes, as the contract says where it stands; empty where that is a
    /// response that there is none of.
    fn resource_id<'m>(&'m self, response: Option<&'m Self::Response>) -> &'m str;
}

/// A request, as far as the audit log looks at it.
pub trait Asks {
    /// What the request says that its call is about; nothing where it changes nothing.
    fn asked(&self) -> Asked {
        Asked::default()
    }
}

/// What the layers know about a call before its message is read.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who calls, and for which tenant.
    pub caller: Caller,
    /// What is called.
    pub method: &'static Method,
    /// When the client stops waiting.
    pub deadline: Deadline,
    /// The id of the call.
    pub id: Uuid,
    /// Where the layers learn what the message says.
    pub asking: Asking,
    /// How old what the call reads may be; nothing where it must be as new as can be.
    pub freshness: Option<Freshness>,
    /// Where a call waits for its place, if it is much work.
    pub costs: Costs,
}

impl Context {
    /// What the layers put beside a request.
    ///
    /// # Errors
    ///
    /// Without the layers there is no caller, which is our fault.
    pub fn of<T>(request: &mut Request<T>) -> Result<Self> {
        let context = request.extensions_mut().remove::<Self>();
        context.ok_or_else(|| Error::internal("a call came past the layers"))
    }

    /// Waits for the place that the call needs, which it has until this is dropped. To be taken once the
    /// message is known to be in order, so that no client has a place and sends nothing; [`read`],
    /// [`snapshot`] and [`mutate`] do.
    ///
    /// # Errors
    ///
    /// `TENANT_QUOTA_EXCEEDED`, `DEADLINE_EXCEEDED`.
    pub async fn place(&self) -> Result<Option<Turn>> {
        let _waiting = self.caller.trace().wait("wait for a place");
        self.costs.place(self.method.cost, self.caller.tenant(), self.deadline).await
    }

    /// What the call does, for the audit log.
    ///
    /// # Errors
    ///
    /// When the contract says that it changes nothing, which is our fault.
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

/// A call that may be answered: its caller is known, and its message keeps the rules of the
/// contract.
#[derive(Debug)]
pub struct Call<T> {
    /// Who calls, which method, until when.
    pub context: Context,
    /// What the client sent.
    pub message: T,
}

impl<T: Validate + Asks> Call<T> {
    /// Opens a request.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks.
    pub fn open(mut request: Request<T>) -> Result<Self> {
        let context = Context::of(&mut request)?;
        let message = request.into_inner();
        // Also of a message that is refused below.
        context.asking.note(message.asked());
        check(&message)?;
        Ok(Self { context, message })
    }

    /// Opens a request, with what `read` makes of its message.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks, and what `read` finds wrong beyond them, together.
    pub fn read<R>(mut request: Request<T>, read: impl FnOnce(&Self) -> Result<R>) -> Result<(Self, R)>
    where
        T: Message,
    {
        let context = Context::of(&mut request)?;
        let call = Self { context, message: request.into_inner() };
        call.context.asking.note(call.message.asked());
        let read = together::checked(&call.message, || read(&call))?;
        Ok((call, read))
    }
}

/// Holds a message to the rules of the contract.
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
/// What `work` returns, or what can happen to any transaction.
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
    db.read(caller, (access, *freshness), *deadline, work).await.map(Response::new)
}

/// Answers a call that changes something, in one transaction of its tenant, which has the event of the
/// audit log too. With a `request_id` it happens once: a retry gets the first answer, and is no event.
///
/// # Errors
///
/// `IDEMPOTENCY_KEY_REUSED`; what `work` returns; or what can happen to any transaction.
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
        let asked = Asked::new(call.message.resource_id(Some(answer)), call.message.request_id());
        let event = audit::rules::succeeded((caller.principal(), operation), asked, None, times::now());
        Some(audit::store::insert_last(caller.tenant().as_uuid(), &event))
    };
    let (Answer::First(answer) | Answer::Again(answer)) =
        db.write_with_last(caller, *deadline, work, event).await?;
    Ok(positioned(db, answer).await)
}

/// The answer of a call that changed something, with the position that a read may send back to see it.
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
    /// It was done.
    First(R),
    /// It was done before.
    Again(R),
}

/// A part of a request that has to be there.
///
/// # Errors
///
/// If it is not.
pub fn required<'m, M>(field: &'static str, part: Option<&'m M>) -> Result<&'m M> {
    part.ok_or_else(|| Error::invalid(field, "required", "must be set"))
}

/// What a request is about that names it by `id`, and by the `etag` that it was read with.
///
/// # Errors
///
/// As [`id`] and [`Etag::expected`], together.
pub fn subject(id: &str, etag: &str) -> Result<(Uuid, Option<Etag>)> {
    (self::id("id", id), Etag::expected("etag", etag)).together()
}

/// A UUID of the field `field`, which the contract's rules have already held to its form.
///
/// # Errors
///
/// If `text` is not a UUID.
pub fn id(field: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| {
        Error::invalid(field, "string.uuid", "must be a UUID, such as 018f4e0a-7b7c-7000-8000-000000000000")
    })
}

/// The UUID that is one item of a list of ids, each of which stands for itself. Returns `None` if it is
/// not one in the form that the contract asks for.
pub fn item_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| validate::formats::is_uuid(text))
}

/// The same of a field that may be empty.
///
/// # Errors
///
/// As [`id`].
pub fn optional_id(field: &str, text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// A UUID for a field that is empty where there is none.
pub fn optional_text(id: Option<Uuid>) -> String {
    id.map_or_else(String::new, |id| id.to_string())
}

/// A count or a place that the contract has in 32 bits. The service writes no larger one (see `messages::rules`).
pub fn to_int32(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A text that a client may leave empty.
pub fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
