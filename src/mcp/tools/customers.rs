//! Tools about customers.

use prost_types::FieldMask;

use super::{Told, items};
use crate::mcp::arguments::Arguments;
use crate::mcp::calls::Clients;
use crate::mcp::keys::uuid_of;
use crate::mcp::markdown;
use crate::mcp::trouble::Trouble;
use crate::pb;

/// The least tokens of a customer in a list.
const TOKENS_OF_CUSTOMER: i64 = 15;

/// The most customers that one answer shows.
const MOST_CUSTOMERS: i32 = 200;

/// The tokens for the cursor of a list: page tokens have about 200 characters that are no words.
const TOKENS_OF_CURSOR: i64 = 200;

/// Lists customers.
pub(super) async fn find(clients: &Clients, arguments: &Arguments) -> Told {
    let budget = arguments.budget() - TOKENS_OF_CURSOR;
    let mut request = pb::ListCustomersRequest {
        page_size: items(budget, TOKENS_OF_CUSTOMER, MOST_CUSTOMERS),
        page_token: arguments.text_or_empty("cursor"),
        query: arguments.text_or_empty("query"),
        statuses: arguments.word::<pb::CustomerStatus>("status").map(Into::into).into_iter().collect(),
        tags: arguments.text("tag").filter(|tag| !tag.is_empty()).map(str::to_owned).into_iter().collect(),
        owner: arguments.text_or_empty("owner"),
        view: pb::CustomerView::Basic.into(),
        ..Default::default()
    };
    let page = clients.customers().list_customers(request.clone()).await?.into_inner();
    let (customers, mut next) = (page.customers, page.next_page_token);
    if customers.is_empty() {
        return Ok(
            "No customer was found. Try fewer or other words, or create one with save_customer.".to_owned()
        );
    }
    let (bytes, listed) = (customers.len() * markdown_bytes(&customers), customers.len());
    let listing = move || markdown::customers::list(&customers, budget);
    let (mut answer, shown) = markdown::counting(bytes, listing).await?;
    if shown < listed {
        // The cursor must go on after the last customer that has room.
        request.page_size = i32::try_from(shown).unwrap_or(MOST_CUSTOMERS);
        next = clients.customers().list_customers(request).await?.into_inner().next_page_token;
    }
    answer.release(TOKENS_OF_CURSOR);
    if !next.is_empty()
        && !answer.add(format!("More: call find_customers with the same arguments and cursor {next}"))
    {
        return Err(Trouble::new(
            "The cursor has no room in the answer. Call again with max_tokens 2000 or more.",
        ));
    }
    Ok(answer.text())
}

/// Returns the bytes of the largest of these customers.
fn markdown_bytes(customers: &[pb::Customer]) -> usize {
    customers.iter().map(prost::Message::encoded_len).max().unwrap_or_default()
}

/// Reads the context of a customer.
pub(super) async fn context(clients: &Clients, arguments: &Arguments) -> Told {
    let budget = arguments.budget();
    let request = pb::GetAiContextRequest {
        customer_id: clients.customer_id(&arguments.text_or_empty("customer")).await?,
        conversation_id: arguments.text_or_empty("conversation_id"),
        query: arguments.text_or_empty("query"),
        max_tokens: i32::try_from(markdown::context::budget_of_text(budget)).unwrap_or_default(),
        format: pb::ContextFormat::Markdown.into(),
        ..Default::default()
    };
    let response = clients.customers().get_ai_context(request).await?.into_inner();
    let bytes = response.markdown.len();
    markdown::counting(bytes, move || markdown::context::context(&response, budget)).await
}

/// Creates or changes a customer.
pub(super) async fn save(clients: &Clients, arguments: &Arguments) -> Told {
    let (fields, paths) = fields(arguments);
    let tags = arguments.texts("add_tags");
    match arguments.text("customer") {
        None => create(clients, pb::Customer { tags, ..fields }).await,
        Some(_) if paths.is_empty() && tags.is_empty() => Err(Trouble::new(
            "Nothing was done: no field was given. Give the fields that change, such as phone; an empty text clears one.",
        )),
        Some(named) => {
            let id = clients.customer_id(named).await?;
            change(clients, pb::Customer { id, ..fields }, paths, tags).await
        }
    }
}

/// Creates a customer. A create with the same content is answered like the first one for 72 hours, so it must say
/// enough for two different customers not to be the same.
async fn create(clients: &Clients, customer: pb::Customer) -> Told {
    if [&customer.business_name, &customer.email, &customer.phone].iter().all(|text| text.is_empty()) {
        return Err(Trouble::new(
            "Nothing was done. A new customer needs a business_name, an email or a phone; to change a customer, give \
             its id or slug as customer.",
        ));
    }
    let content = prost::Message::encode_to_vec(&customer);
    let request_id = uuid_of(&["save_customer", &hex(&content)]).to_string();
    let request = pb::CreateCustomerRequest { customer: Some(customer), request_id };
    let response = clients.customers().create_customer(request).await?.into_inner();
    Ok(markdown::customers::saved(&response.customer.unwrap_or_default(), "The customer is created."))
}

/// Changes a customer. Both calls may be repeated without a request_id. With one, a value that is set, changed and
/// set again would not be set.
async fn change(clients: &Clients, fields: pb::Customer, paths: Vec<String>, tags: Vec<String>) -> Told {
    let customer_id = fields.id.clone();
    let (mut saved, names) = (pb::Customer::default(), paths.join(", "));
    if !paths.is_empty() {
        let update_mask = Some(FieldMask { paths });
        let request = pb::UpdateCustomerRequest { customer: Some(fields), update_mask, ..Default::default() };
        saved = clients.customers().update_customer(request).await?.into_inner().customer.unwrap_or_default();
    }
    if !tags.is_empty() {
        let request = pb::AddCustomerTagsRequest { customer_id, tags, ..Default::default() };
        let tagged = clients.customers().add_customer_tags(request).await;
        let done =
            |trouble: Trouble| if names.is_empty() { trouble } else { trouble.after("The fields are saved") };
        saved = tagged.map_err(|status| done(status.into()))?.into_inner().customer.unwrap_or_default();
    }
    Ok(markdown::customers::saved(&saved, "The customer is saved."))
}

/// Returns a customer with the given fields, and their paths in an update mask.
fn fields(arguments: &Arguments) -> (pb::Customer, Vec<String>) {
    let mut customer = pb::Customer::default();
    let mut paths = Vec::new();
    let texts = [
        ("business_name", &mut customer.business_name),
        ("contact_name", &mut customer.contact_name),
        ("email", &mut customer.email),
        ("phone", &mut customer.phone),
        ("website", &mut customer.website),
        ("address", &mut customer.address),
        ("city", &mut customer.city),
        ("country_code", &mut customer.country_code),
        ("industry_category", &mut customer.industry_category),
        ("owner", &mut customer.owner),
    ];
    for (name, field) in texts {
        if let Some(text) = arguments.text(name) {
            text.clone_into(field);
            paths.push(name.to_owned());
        }
    }
    if let Some(status) = arguments.word::<pb::CustomerStatus>("status") {
        customer.status = status.into();
        paths.push("status".to_owned());
    }
    if let Some(description) = arguments.text("description") {
        let description = description.to_owned();
        customer.business_context = Some(pb::BusinessContext { description, ..Default::default() });
        paths.push("business_context.description".to_owned());
    }
    (customer, paths)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
