//! `CustomerFaqService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::actions::{self, Done, Recorded};
use super::store::{Cursor, Faq};
use super::{observations, wire};
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::servers::customer_faq_service_server::CustomerFaqService;
use crate::rpc::together::Together;
use crate::rpc::update::Updating;
use crate::rpc::{self, Call, PageKey, page};
use crate::times;

/// `CustomerFaqService`.
pub struct Faqs {
    db: Db,
    page_key: PageKey,
}

impl Faqs {
    /// Creates the service over this database.
    pub fn new(db: Db, page_key: PageKey) -> Self {
        Self { db, page_key }
    }
}

#[async_trait]
impl CustomerFaqService for Faqs {
    async fn create_customer_faq(
        &self,
        request: Request<pb::CreateCustomerFaqRequest>,
    ) -> Result<Response<pb::CreateCustomerFaqResponse>, Status> {
        let (call, faq) = Call::read(request, |call| {
            wire::create(call.message.customer_faq.as_ref(), Uuid::now_v7(), times::now())
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { faq, deduplicated } = actions::create(tx, faq.clone()).await?;
            Ok(pb::CreateCustomerFaqResponse { customer_faq: Some(faq.into()), deduplicated })
        });
        Ok(response.await?)
    }

    async fn get_customer_faq(
        &self,
        request: Request<pb::GetCustomerFaqRequest>,
    ) -> Result<Response<pb::GetCustomerFaqResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let faq = actions::get(tx, id).await?;
            Ok(pb::GetCustomerFaqResponse { customer_faq: Some(faq.into()) })
        });
        Ok(response.await?)
    }

    async fn list_customer_faqs(
        &self,
        request: Request<pb::ListCustomerFaqsRequest>,
    ) -> Result<Response<pb::ListCustomerFaqsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = actions::list(tx, &filter, direction, &page).await?;
            let (customer_faqs, next_page_token) = self.page_key.finish(&call, &page, rows, Cursor::at)?;
            Ok(pb::ListCustomerFaqsResponse { customer_faqs, next_page_token })
        });
        Ok(response.await?)
    }

    async fn search_customer_faqs(
        &self,
        request: Request<pb::SearchCustomerFaqsRequest>,
    ) -> Result<Response<pb::SearchCustomerFaqsResponse>, Status> {
        let (call, params) = Call::read(request, |call| wire::params(&call.message))?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let found = actions::search_customer(tx, params.clone()).await?;
            let (matches, _) = page::fit(found, None, |_| ());
            Ok(pb::SearchCustomerFaqsResponse { matches })
        });
        Ok(response.await?)
    }

    async fn update_customer_faq(
        &self,
        request: Request<pb::UpdateCustomerFaqRequest>,
    ) -> Result<Response<pb::UpdateCustomerFaqResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            actions::update(tx, wanted.id, wanted.expected, wanted.change(merge)).await
        });
        Ok(response.await?)
    }

    async fn delete_customer_faq(
        &self,
        request: Request<pb::DeleteCustomerFaqRequest>,
    ) -> Result<Response<pb::DeleteCustomerFaqResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let faq = actions::delete(tx, id, expected).await?;
            Ok(pb::DeleteCustomerFaqResponse { customer_faq: Some(faq.into()) })
        });
        Ok(response.await?)
    }

    async fn mark_customer_faq_verified(
        &self,
        request: Request<pb::MarkCustomerFaqVerifiedRequest>,
    ) -> Result<Response<pb::MarkCustomerFaqVerifiedResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let check = wire::check(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Done { faq, deduplicated } = actions::verify(tx, id, expected, check.clone()).await?;
            Ok(pb::MarkCustomerFaqVerifiedResponse { customer_faq: Some(faq.into()), deduplicated })
        });
        Ok(response.await?)
    }

    async fn record_faq_observation(
        &self,
        request: Request<pb::RecordFaqObservationRequest>,
    ) -> Result<Response<pb::RecordFaqObservationResponse>, Status> {
        let (call, sighting) = Call::read(request, |call| {
            observations::wire::record(&call.message, Uuid::now_v7(), times::now())
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let Recorded { faq, observation, deduplicated } = actions::observe(tx, sighting.clone()).await?;
            Ok(pb::RecordFaqObservationResponse {
                customer_faq: Some(faq.into()),
                observation: Some(observation.into()),
                deduplicated,
            })
        });
        Ok(response.await?)
    }

    async fn get_faq_observation(
        &self,
        request: Request<pb::GetFaqObservationRequest>,
    ) -> Result<Response<pb::GetFaqObservationResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let observation = actions::get_observation(tx, id).await?;
            Ok(pb::GetFaqObservationResponse { observation: Some(observation.into()) })
        });
        Ok(response.await?)
    }

    async fn list_faq_observations(
        &self,
        request: Request<pb::ListFaqObservationsRequest>,
    ) -> Result<Response<pb::ListFaqObservationsResponse>, Status> {
        let (call, (faq_id, page)) = Call::read(request, |call| {
            let faq_id = rpc::id("customer_faq_id", &call.message.customer_faq_id);
            (faq_id, self.page_key.open(call)).together()
        })?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = actions::list_observations(tx, faq_id, &page).await?;
            let (observations, next_page_token) =
                self.page_key.finish(&call, &page, rows, observations::store::Cursor::at)?;
            Ok(pb::ListFaqObservationsResponse { observations, next_page_token })
        });
        Ok(response.await?)
    }
}

fn merge(wanted: pb::CustomerFaq, current: &Faq) -> Result<Faq> {
    Ok(wire::update(wanted, current))
}
