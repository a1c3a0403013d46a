//! Helpers for customers.

use crm_backend::pb::{
    CreateCustomerRequest, Customer, CustomerView, DeleteCustomerRequest, GetCustomerRequest,
    ListCustomersRequest, ListCustomersResponse, UndeleteCustomerRequest, UpdateCustomerRequest,
};
use prost_types::FieldMask;
use tonic::Status;
use uuid::Uuid;

use super::Tenant;

/// Returns a customer of this name, to be created.
pub(crate) fn named(business_name: &str) -> Customer {
    Customer { business_name: business_name.to_owned(), ..Default::default() }
}

/// Returns the request that creates a customer.
pub(crate) fn creation(customer: Customer) -> CreateCustomerRequest {
    CreateCustomerRequest { customer: Some(customer), request_id: String::new() }
}

/// Returns the request that creates a customer, and that may be retried.
pub(crate) fn repeatable(customer: Customer) -> CreateCustomerRequest {
    CreateCustomerRequest { request_id: Uuid::new_v4().to_string(), ..creation(customer) }
}

/// Returns a mask of these paths.
pub(crate) fn mask(paths: &[&str]) -> FieldMask {
    FieldMask { paths: paths.iter().map(ToString::to_string).collect() }
}

/// Returns the names of customers, in order.
pub(crate) fn names(customers: &[Customer]) -> Vec<&str> {
    customers.iter().map(|customer| customer.business_name.as_str()).collect()
}

impl Tenant {
    /// Creates a customer of this name.
    pub(crate) async fn customer(&self, business_name: &str) -> Customer {
        self.create(named(business_name)).await.expect("a customer")
    }

    pub(crate) async fn create(&self, customer: Customer) -> Result<Customer, Status> {
        self.send_create(creation(customer)).await
    }

    /// Creates a customer with this whole request.
    pub(crate) async fn send_create(&self, request: CreateCustomerRequest) -> Result<Customer, Status> {
        let response = self.customers().create_customer(request).await?;
        Ok(response.into_inner().customer.expect("the customer"))
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Customer, Status> {
        let request = GetCustomerRequest { id: id.to_owned(), ..Default::default() };
        Ok(self.customers().get_customer(request).await?.into_inner().customer.expect("the customer"))
    }

    /// Returns a page of a list, with whole customers unless the request says otherwise.
    pub(crate) async fn list(&self, request: ListCustomersRequest) -> Result<ListCustomersResponse, Status> {
        let view = if request.view == 0 { CustomerView::Full.into() } else { request.view };
        let request = ListCustomersRequest { view, ..request };
        Ok(self.customers().list_customers(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn list_all(&self, mut request: ListCustomersRequest) -> Vec<Customer> {
        let mut customers = Vec::new();
        loop {
            let page = self.list(request.clone()).await.expect("a page");
            customers.extend(page.customers);
            if page.next_page_token.is_empty() {
                return customers;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes the fields of a customer that `paths` names; without paths, the fields that are set.
    pub(crate) async fn update(&self, customer: Customer, paths: &[&str]) -> Result<Customer, Status> {
        let update_mask = (!paths.is_empty()).then(|| mask(paths));
        let request =
            UpdateCustomerRequest { customer: Some(customer), update_mask, request_id: String::new() };
        Ok(self.customers().update_customer(request).await?.into_inner().customer.expect("the customer"))
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Customer, Status> {
        let request = DeleteCustomerRequest { id: id.to_owned(), ..Default::default() };
        Ok(self.customers().delete_customer(request).await?.into_inner().customer.expect("the customer"))
    }

    pub(crate) async fn undelete(&self, id: &str) -> Result<Customer, Status> {
        let request = UndeleteCustomerRequest { id: id.to_owned(), ..Default::default() };
        Ok(self.customers().undelete_customer(request).await?.into_inner().customer.expect("the customer"))
    }
}
