//! A client calls a fake service, as the tests of a client do.

use crm_contract::pb::customer_service_client::CustomerServiceClient;
use crm_contract::pb::customer_service_server::{CustomerService, CustomerServiceServer};
use crm_contract::{CallerMetadata, ERROR_DOMAIN, Failure, TENANT_HEADER, pb};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const TENANT: &str = "0199d1c0-0000-7000-8000-000000000001";

/// A service that knows one customer of one tenant.
struct Fake;

#[tonic::async_trait]
impl CustomerService for Fake {
    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::GetCustomerResponse>, Status> {
        let says = |name: &str, value: &str| {
            request.metadata().get(name).is_some_and(|sent| sent.as_bytes() == value.as_bytes())
        };
        assert!(says(TENANT_HEADER, TENANT) && says("authorization", "Bearer key"));
        if request.get_ref().id != "known" {
            let mut details = ErrorDetails::new();
            details.set_error_info("CUSTOMER_NOT_FOUND", ERROR_DOMAIN, []);
            return Err(Status::with_error_details(Code::NotFound, "no such customer", details));
        }
        let customer = pb::Customer { business_name: "Café Zoë".to_owned(), ..Default::default() };
        Ok(Response::new(pb::GetCustomerResponse { customer: Some(customer), ..Default::default() }))
    }
}

#[tokio::test]
async fn a_client_talks_to_a_fake_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let service = Server::builder().add_service(CustomerServiceServer::new(Fake));
    let mut server = JoinSet::new();
    server.spawn(service.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    let channel = endpoint.connect().await.expect("a connection");
    let caller = CallerMetadata::of_tenant(TENANT).and_then(|caller| caller.with_credential("key"));
    let mut customers = CustomerServiceClient::with_interceptor(channel, caller.expect("a caller"));

    let get = |id: &str| pb::GetCustomerRequest { id: id.to_owned(), ..Default::default() };
    let found = customers.get_customer(get("known")).await.expect("the customer").into_inner();
    assert_eq!(found.customer.expect("a customer").business_name, "Café Zoë");
    let missing = customers.get_customer(get("unknown")).await.expect_err("no customer");
    assert_eq!(Failure::of(&missing).reason(), Some(pb::ErrorReason::CustomerNotFound));
    let other = customers.delete_customer(pb::DeleteCustomerRequest::default()).await;
    assert_eq!(other.expect_err("the fake does not have it").code(), Code::Unimplemented);
}
