//! Updates by field mask: what the requests of all nouns have in common.

use prost::{Message, Name};
use prost_types::FieldMask;
use tonic::{Request, Response};
use uuid::Uuid;

use super::etag::Etag;
use super::mask::Change;
use super::together::Together;
use super::{Call, HasSubject, Mutation};
use crate::contract::validate::Validate;
use crate::db::{Db, TenantTx, Work};
use crate::error::Result;

/// A request that changes the fields that its mask names. The build implements it for every request with an
/// `update_mask`.
pub trait Update: Mutation {
    /// The type of what the mask is about: the resource, or a part of it.
    type Part: Message + Name + Validate;
    /// The type of the resource that the response has.
    type Resource;

    /// The field with the new values.
    const PART: &'static str;
    /// The field with the resource's id.
    const ID: &'static str;
    /// The field with the etag.
    const ETAG: &'static str;

    /// The new values.
    fn part(&self) -> Option<&Self::Part>;
    /// The fields to change.
    fn mask(&self) -> Option<&FieldMask>;
    /// The etag that the client read; empty if it accepts any state.
    fn etag(&self) -> &str;
    /// The response with the resource after the change.
    fn response(resource: Self::Resource) -> Self::Response;
}

/// An update that a client asks for.
#[derive(Debug)]
pub struct Updating<T> {
    /// The call.
    pub call: Call<T>,
    /// The id of the resource.
    pub id: Uuid,
    /// The state that the client read; `None` if it accepts any state.
    pub expected: Option<Etag>,
    change: Change,
}

impl<T: Update + Validate + HasSubject + Sync> Updating<T> {
    /// Opens a request.
    ///
    /// # Errors
    ///
    /// Every rule that the message breaks, a missing or invalid part, and invalid ids and etags.
    pub fn open(request: Request<T>) -> Result<Self> {
        let (call, (id, expected, change)) = Call::read(request, |Call { message, .. }| {
            let part = super::required(T::PART, message.part())?;
            let id = super::id(T::ID, message.resource_id(None));
            (id, Etag::expected(T::ETAG, message.etag()), Change::new(T::PART, part, message.mask()))
                .together()
        })?;
        Ok(Self { call, id, expected, change })
    }

    /// Returns the resource, or the part of it, after the change.
    ///
    /// # Errors
    ///
    /// As [`Change::apply`].
    pub fn apply(&self, current: &T::Part) -> Result<T::Part>
    where
        T::Part: Default,
    {
        self.change.apply(current)
    }

    /// Returns the change of a row. `merge` puts the changed message into the row.
    pub fn change<R>(
        &self,
        merge: impl Fn(T::Part, &R) -> Result<R> + Send + Sync,
    ) -> impl Fn(&R) -> Result<R> + Send + Sync
    where
        R: Clone,
        T::Part: From<R> + Default,
    {
        move |current| merge(self.apply(&current.clone().into())?, current)
    }

    /// Answers with the row that `work` returns, see [`mutate`](super::mutate).
    ///
    /// # Errors
    ///
    /// As [`mutate`](super::mutate).
    pub async fn answer<R, F>(&self, db: &Db, work: F) -> Result<Response<T::Response>>
    where
        T::Resource: From<R>,
        F: for<'t> Work<&'t TenantTx, Result<R>>,
    {
        let work = &work;
        super::mutate(db, &self.call, async |tx: &TenantTx| Ok(T::response(work(tx).await?.into()))).await
    }
}
