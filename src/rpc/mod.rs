//! What every call shares.

pub mod etag;
pub mod layer;
pub mod mask;
pub mod method;
pub mod page;
pub mod structs;
pub mod times;
pub mod validate;
pub mod words;

use prost::Message;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::auth::Caller;
use crate::db::{Db, Deadline, TenantTx, Work};
use crate::error::{Error, Result};
use crate::idempotency;
use crate::pb::ErrorReason;
use method::Method;
use validate::Validate;

pub use page::{Page, PageKey, Paged};

/// What requests have in common, read off the protos by the build.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/requests.rs"));
}

/// A request that changes something, and that a client may send again.
pub trait Mutation: Message {
    /// The UUID that the client made for the request; empty when it made none.
    fn request_id(&self) -> &str;
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

impl<T: Validate> Call<T> {
    /// Opens a request.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks.
    pub fn open(mut request: Request<T>) -> Result<Self> {
        let context = Context::of(&mut request)?;
        let message = request.into_inner();
        check(&message)?;
        Ok(Self { context, message })
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
    db.read(&call.context.caller, call.context.deadline, work).await.map(Response::new)
}

/// Answers a call that changes something, in one transaction of its tenant. With a `request_id` it
/// happens once: a retry gets the first answer.
///
/// # Errors
///
/// `IDEMPOTENCY_KEY_REUSED`; what `work` returns; or what can happen to any transaction.
pub async fn mutate<T, R, F>(db: &Db, call: &Call<T>, work: F) -> Result<Response<R>>
where
    T: Mutation + Sync,
    R: Message + Default,
    F: for<'t> Work<&'t TenantTx, Result<R>>,
{
    let key = match call.message.request_id() {
        "" => None,
        text => Some(idempotency::Key::new(call.context.method.name, id("request_id", text)?, &call.message)),
    };
    let (key, work) = (&key, &work);
    db.write(&call.context.caller, call.context.deadline, async |tx: &TenantTx| {
        let Some(key) = key else { return work(tx).await };
        if let Some(answer) = idempotency::recall(tx, key).await? {
            return Ok(answer);
        }
        let answer = work(tx).await?;
        idempotency::keep(tx, key, &answer).await?;
        Ok(answer)
    })
    .await
    .map(Response::new)
}

/// A UUID of the field `field`, which the contract's rules have already held to its form.
///
/// # Errors
///
/// When it is none all the same.
pub fn id(field: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| Error::invalid(field, "string.uuid", "must be a UUID"))
}

/// The same of a field that may be empty.
///
/// # Errors
///
/// As [`id`].
pub fn optional_id(field: &str, text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}
