//! `CustomerService`.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::actions::{self, ById, Deleted};
use super::common::CommonWords;
use super::model::Customer;
use super::store::Cursor;
use super::{consents, rules, wire};
use crate::contract::validate::Validate;
use crate::db::texts::Texts;
use crate::db::{Db, Target, TenantTx};
use crate::error::Result;
use crate::live::finder::Finder;
use crate::pb;
use crate::rpc::servers::customer_service_server::CustomerService;
use crate::rpc::update::{Update, Updating};
use crate::rpc::{self, Call, HasSubject, PageKey};
use crate::times;

/// Answers `GetAiContext`. It is an RPC of customers, but needs more than customers have: modules above this
/// one implement it.
#[async_trait]
pub trait Contexts: Send + Sync + 'static {
    /// Returns the context of a customer.
    ///
    /// # Errors
    ///
    /// As the RPC documents.
    async fn get(&self, call: Call<pb::GetAiContextRequest>) -> Result<pb::GetAiContextResponse>;
}

/// `CustomerService`.
pub struct Customers {
    db: Db,
    page_key: PageKey,
    by_id: Finder<ById>,
    common: CommonWords,
    contexts: Box<dyn Contexts>,
}

impl Customers {
    /// Creates the service over this database. Its lookups are tasks of `tracker`.
    pub fn new(db: Db, page_key: PageKey, tracker: TaskTracker, contexts: impl Contexts) -> Self {
        let by_id = Finder::new(db.clone(), tracker);
        Self { db, page_key, by_id, common: CommonWords::default(), contexts: Box::new(contexts) }
    }

    /// The background work: it looks which words are common, until `stop`.
    pub fn background(&self, target: Target, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        self.common.clone().watch(target, stop)
    }
}

#[async_trait]
impl CustomerService for Customers {
    async fn create_customer(
        &self,
        request: Request<pb::CreateCustomerRequest>,
    ) -> Result<Response<pb::CreateCustomerResponse>, Status> {
        let call = Call::open(request)?;
        let wanted = rpc::required("customer", call.message.customer.as_ref())?;
        let customer = wire::create(wanted.clone(), Uuid::now_v7(), times::now());
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let customer = actions::create(tx, customer.clone()).await?;
            Ok(pb::CreateCustomerResponse { customer: Some(customer.into()) })
        });
        Ok(response.await?)
    }

    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::GetCustomerResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let deleted = deleted(call.message.show_deleted);
        let found = self.by_id.find(&call.context.caller, call.context.deadline, id).await?;
        let (found, consents) = found.unzip();
        let customer = actions::get(found, id, deleted)?;
        Ok(Response::new(pb::GetCustomerResponse {
            customer: Some(wire::viewed(customer, call.message.view())),
            consents: consents::wire::of_customer(consents.unwrap_or_default()),
        }))
    }

    async fn get_customer_by_slug(
        &self,
        request: Request<pb::GetCustomerBySlugRequest>,
    ) -> Result<Response<pb::GetCustomerBySlugResponse>, Status> {
        let call = Call::open(request)?;
        let slug = call.message.slug.as_str();
        let deleted = deleted(call.message.show_deleted);
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let (customer, consents) = actions::get_by_slug(tx, slug, deleted).await?;
            Ok(pb::GetCustomerBySlugResponse {
                customer: Some(wire::viewed(customer, call.message.view())),
                consents: consents::wire::of_customer(consents),
            })
        });
        Ok(response.await?)
    }

    async fn list_consents(
        &self,
        request: Request<pb::ListConsentsRequest>,
    ) -> Result<Response<pb::ListConsentsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let filter = consents::wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = consents::actions::list(tx, &filter, &page).await?;
            let (consents, next_page_token) =
                self.page_key.finish(&call, &page, rows, consents::store::Cursor::at)?;
            Ok(pb::ListConsentsResponse { consents, next_page_token })
        });
        Ok(response.await?)
    }

    async fn list_customers(
        &self,
        request: Request<pb::ListCustomersRequest>,
    ) -> Result<Response<pb::ListCustomersResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let order = wire::order(&call.message.order_by);
        let view = wire::view(call.message.view());
        let Some(filter) = wire::filter(call.context.caller.tenant().as_uuid(), &call.message) else {
            return Ok(Response::new(pb::ListCustomersResponse::default()));
        };
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let at = |last: &Customer| Cursor::at(order.0, last);
            let rows = actions::list(tx, &filter, &self.common, view, order, &page).await?;
            let (customers, next_page_token) = self.page_key.finish(&call, &page, rows, at)?;
            Ok(pb::ListCustomersResponse { customers, next_page_token })
        });
        Ok(response.await?)
    }

    async fn update_customer(
        &self,
        request: Request<pb::UpdateCustomerRequest>,
    ) -> Result<Response<pb::UpdateCustomerResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            actions::update(tx, wanted.id, wanted.expected, wanted.change(merge)).await
        });
        Ok(response.await?)
    }

    async fn delete_customer(
        &self,
        request: Request<pb::DeleteCustomerRequest>,
    ) -> Result<Response<pb::DeleteCustomerResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let customer = actions::delete(tx, id, expected).await?;
            Ok(pb::DeleteCustomerResponse { customer: Some(customer.into()) })
        });
        Ok(response.await?)
    }

    async fn undelete_customer(
        &self,
        request: Request<pb::UndeleteCustomerRequest>,
    ) -> Result<Response<pb::UndeleteCustomerResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let customer = actions::undelete(tx, id, expected).await?;
            Ok(pb::UndeleteCustomerResponse { customer: Some(customer.into()) })
        });
        Ok(response.await?)
    }

    async fn add_customer_tags(
        &self,
        request: Request<pb::AddCustomerTagsRequest>,
    ) -> Result<Response<pb::AddCustomerTagsResponse>, Status> {
        let (call, id) = Call::read(request, |call| rpc::id("customer_id", &call.message.customer_id))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let change = |current: &Customer| {
                let tags = rules::with_tags(&current.tags.0, &call.message.tags)?;
                Ok(Customer { tags: Texts(tags), ..current.clone() })
            };
            let customer = actions::update(tx, id, None, change).await?;
            Ok(pb::AddCustomerTagsResponse { customer: Some(customer.into()) })
        });
        Ok(response.await?)
    }

    async fn remove_customer_tags(
        &self,
        request: Request<pb::RemoveCustomerTagsRequest>,
    ) -> Result<Response<pb::RemoveCustomerTagsResponse>, Status> {
        let (call, id) = Call::read(request, |call| rpc::id("customer_id", &call.message.customer_id))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let change = |current: &Customer| {
                let tags = rules::without_tags(&current.tags.0, &call.message.tags);
                Ok(Customer { tags: Texts(tags), ..current.clone() })
            };
            let customer = actions::update(tx, id, None, change).await?;
            Ok(pb::RemoveCustomerTagsResponse { customer: Some(customer.into()) })
        });
        Ok(response.await?)
    }

    async fn update_business_context(
        &self,
        request: Request<pb::UpdateBusinessContextRequest>,
    ) -> Result<Response<pb::UpdateBusinessContextResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            let change = part(&wanted, |customer| &mut customer.business_context);
            actions::update(tx, wanted.id, wanted.expected, change).await
        });
        Ok(response.await?)
    }

    async fn update_brand_voice(
        &self,
        request: Request<pb::UpdateBrandVoiceRequest>,
    ) -> Result<Response<pb::UpdateBrandVoiceResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            let change = part(&wanted, |customer| &mut customer.brand_voice);
            actions::update(tx, wanted.id, wanted.expected, change).await
        });
        Ok(response.await?)
    }

    async fn update_content_preferences(
        &self,
        request: Request<pb::UpdateContentPreferencesRequest>,
    ) -> Result<Response<pb::UpdateContentPreferencesResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            let change = part(&wanted, |customer| &mut customer.content_preferences);
            actions::update(tx, wanted.id, wanted.expected, change).await
        });
        Ok(response.await?)
    }

    async fn get_ai_context(
        &self,
        request: Request<pb::GetAiContextRequest>,
    ) -> Result<Response<pb::GetAiContextResponse>, Status> {
        let call = Call::open(request)?;
        Ok(Response::new(self.contexts.get(call).await?))
    }
}

fn merge(wanted: pb::Customer, current: &Customer) -> Result<Customer> {
    Ok(wire::update(wanted, current))
}

/// Returns the change of a customer in one part of it.
fn part<T>(
    wanted: &Updating<T>,
    part: impl Fn(&mut pb::Customer) -> &mut Option<T::Part> + Send + Sync,
) -> impl Fn(&Customer) -> Result<Customer> + Send + Sync
where
    T: Update<Part: Default> + Validate + HasSubject + Sync,
{
    move |current| {
        let mut customer = current.clone().into();
        let part = part(&mut customer);
        *part = Some(wanted.apply(&part.take().unwrap_or_default())?);
        merge(customer, current)
    }
}

fn deleted(show: bool) -> Deleted {
    if show { Deleted::Shown } else { Deleted::Hidden }
}
