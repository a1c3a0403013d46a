//! Customers, one RPC after the other.

use crm_backend::pb::{
    AddCustomerTagsRequest, BrandVoice, BusinessContext, ContactChannel, ContentPreferences, Customer,
    CustomerStatus, CustomerView, ExternalId, GetCustomerBySlugRequest, GetCustomerRequest,
    ListCustomersRequest, RemoveCustomerTagsRequest, UpdateBrandVoiceRequest, UpdateBusinessContextRequest,
    UpdateContentPreferencesRequest,
};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::Code;

use crate::support::customers::{mask, named};
use crate::support::raw::CONTRACT;
use crate::support::{Crm, Refusal, Tenant, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// Returns an id in another system.
fn external(source: &str, id: &str) -> ExternalId {
    ExternalId { source: source.to_owned(), id: id.to_owned() }
}

/// Returns the fields of a customer that are not set.
fn unset(customer: &Customer) -> Vec<String> {
    let descriptor = CONTRACT.get_message_by_name("crm.v1.Customer").expect("the resource");
    let message = DynamicMessage::decode(descriptor.clone(), customer.encode_to_vec().as_slice());
    let message = message.expect("a message of the contract");
    let fields = descriptor.fields().filter(|field| !message.has_field(field));
    fields.map(|field| field.name().to_owned()).collect()
}

/// Returns a customer with a value in every field that a client can set.
fn full() -> Customer {
    let text = |text: &str| text.to_owned();
    Customer {
        business_name: text("Café Zoë & Söhne"),
        slug: text("zoe"),
        contact_name: text("Zoë Müller"),
        email: text("zoe@cafe.example"),
        phone: text("+49 30 901820"),
        website: text("https://cafe-zoe.example/menu?a=b"),
        address: text("Straße 1\nHinterhof"),
        city: text("Berlin"),
        region: text("Berlin"),
        postal_code: text("10115"),
        country_code: text("DE"),
        industry_category: text("food_and_beverage"),
        size: text("11-50 employees"),
        status: CustomerStatus::Active.into(),
        source: text("trade_fair_2026"),
        owner: text("ana"),
        tags: vec![text("vip"), text("berlin")],
        external_ids: vec![external("crm", "17"), external("shop", "4711")],
        business_context: Some(BusinessContext {
            description: text("Coffee.\nAnd cake."),
            products_and_services: vec![text("coffee")],
            target_audience: text("neighbours"),
            value_proposition: text("near"),
            competitors: vec![text("Starbucks")],
            goals: vec![text("grow")],
            challenges: vec![text("rent")],
        }),
        brand_voice: Some(BrandVoice {
            tone: text("warm"),
            style: text("short"),
            vocabulary: vec![text("lecker")],
            dos: vec![text("smile")],
            donts: vec![text("shout")],
            sample_texts: vec![text("Komm rein!")],
        }),
        content_preferences: Some(ContentPreferences {
            topics: vec![text("beans")],
            formats: vec![text("short video")],
            preferred_channels: vec![ContactChannel::Whatsapp.into(), ContactChannel::Email.into()],
            languages: vec![text("de-AT")],
            frequency: text("weekly"),
            avoid: vec![text("politics")],
        }),
        custom_attributes: Some(prost_types::Struct {
            fields: [("seats", 12.0), ("rating", 4.5)]
                .map(|(key, number)| (text(key), prost_types::value::Kind::NumberValue(number)))
                .map(|(key, kind)| (key, prost_types::Value { kind: Some(kind) }))
                .into(),
        }),
        ..Default::default()
    }
}

async fn by_slug(tenant: &Tenant, slug: &str, show_deleted: bool) -> Result<Customer, tonic::Status> {
    let request = GetCustomerBySlugRequest { slug: slug.to_owned(), show_deleted, ..Default::default() };
    Ok(tenant.customers().get_customer_by_slug(request).await?.into_inner().customer.expect("the customer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_a_whole_create() {
    let crm = Crm::start().await;
    let zoe = crm.tenant().customer("  Café Zoë & Söhne ").await;
    assert_eq!(zoe.business_name, "  Café Zoë & Söhne ");
    assert_eq!(zoe.slug, "cafe-zoe-sohne");
    assert_eq!(zoe.status(), CustomerStatus::Lead);
    let id = uuid::Uuid::parse_str(&zoe.id).expect("a UUID");
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(zoe.create_time, zoe.update_time);
    let age = std::time::SystemTime::try_from(zoe.create_time.expect("set")).expect("a time").elapsed();
    assert!(age.expect("in the past").as_secs() < 60);
    assert!(zoe.delete_time.is_none() && zoe.business_context.is_none() && zoe.custom_attributes.is_none());
    assert!(!zoe.etag.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sent = full();
    assert_eq!(
        unset(&sent),
        ["id", "anonymous", "phone_e164", "create_time", "update_time", "delete_time", "etag"]
    );
    let zoe = tenant.create(sent.clone()).await.expect("a customer");
    let expected = Customer {
        id: zoe.id.clone(),
        create_time: zoe.create_time,
        update_time: zoe.update_time,
        etag: zoe.etag.clone(),
        phone_e164: "+4930901820".to_owned(),
        ..sent
    };
    assert_eq!(zoe, expected);
    assert_eq!(tenant.get(&zoe.id).await.expect("it is there"), expected);
    assert_eq!(by_slug(&tenant, "zoe", false).await.expect("it is there"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_makes_is_ignored_in_a_create() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    let copy = Customer { slug: String::new(), external_ids: Vec::new(), anonymous: true, ..zoe.clone() };
    let copy = tenant.create(copy).await.expect("a second one");
    assert!(copy.id != zoe.id && copy.etag != zoe.etag && micros(copy.create_time) > micros(zoe.create_time));
    let (id, slug, etag) = (copy.id.clone(), copy.slug.clone(), copy.etag.clone());
    let (create_time, update_time) = (copy.create_time, copy.update_time);
    let external_ids = Vec::new();
    assert_eq!(copy, Customer { id, slug, external_ids, etag, create_time, update_time, ..zoe });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_customer_is_not_found() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    tenant.get(UNKNOWN).await.expect_err("unknown").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    let error = by_slug(&tenant, "nobody", true).await.expect_err("unknown");
    error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    tenant.delete(UNKNOWN).await.expect_err("unknown").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    tenant.undelete(UNKNOWN).await.expect_err("unknown").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_customer_is_hidden_until_it_is_undeleted() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Café Zoë").await;
    let deleted = tenant.delete(&zoe.id).await.expect("deleted");
    assert!(deleted.delete_time.is_some());
    assert_ne!(deleted.etag, zoe.etag);
    tenant.get(&zoe.id).await.expect_err("hidden").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    by_slug(&tenant, &zoe.slug, false).await.expect_err("hidden").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    let change = Customer { id: zoe.id.clone(), city: "Bonn".to_owned(), ..Default::default() };
    tenant.update(change, &[]).await.expect_err("hidden").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    assert_eq!(tenant.list_all(Default::default()).await, []);
    let shown = GetCustomerRequest { id: zoe.id.clone(), show_deleted: true, ..Default::default() };
    let shown = tenant.customers().get_customer(shown).await.expect("shown").into_inner().customer;
    assert_eq!(shown.as_ref(), Some(&deleted));
    assert_eq!(by_slug(&tenant, &zoe.slug, true).await.expect("shown"), deleted);
    let back = tenant.undelete(&zoe.id).await.expect("undeleted");
    let as_it_was = Customer { etag: back.etag.clone(), update_time: back.update_time, ..zoe.clone() };
    assert_eq!(back, as_it_was);
    assert_eq!(tenant.get(&zoe.id).await.expect("it is back"), back);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_twice_is_not_found_and_undeleting_twice_already_exists() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Café Zoë").await;
    tenant.undelete(&zoe.id).await.expect_err("not deleted").is(Code::AlreadyExists, "CUSTOMER_NOT_DELETED");
    tenant.delete(&zoe.id).await.expect("deleted");
    tenant.delete(&zoe.id).await.expect_err("deleted already").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    tenant.undelete(&zoe.id).await.expect("undeleted");
    tenant
        .undelete(&zoe.id)
        .await
        .expect_err("undeleted already")
        .is(Code::AlreadyExists, "CUSTOMER_NOT_DELETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_stays_reserved_while_its_customer_is_deleted() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    tenant.delete(&zoe.id).await.expect("deleted");
    assert_eq!(tenant.customer("Zoe").await.slug, "zoe-2");
    let error = tenant.create(Customer { slug: "zoe".to_owned(), ..named("Other") }).await;
    error.expect_err("reserved").is(Code::AlreadyExists, "SLUG_TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_slug_already_exists_in_one_tenant_only() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let zoe = Customer { slug: "zoe".to_owned(), ..named("Zoe") };
    ana.create(zoe.clone()).await.expect("free");
    ana.create(zoe.clone()).await.expect_err("taken").is(Code::AlreadyExists, "SLUG_TAKEN");
    ben.create(zoe).await.expect("free for another tenant");
    let other = ana.customer("Other").await;
    let change = Customer { id: other.id, slug: "zoe".to_owned(), ..Default::default() };
    ana.update(change, &["slug"]).await.expect_err("taken").is(Code::AlreadyExists, "SLUG_TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_one_name_at_once_get_different_slugs() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let creates = (0..32).map(|_| {
        let tenant = tenant.clone();
        async move { tenant.customer("Café Zoë").await.slug }
    });
    let mut slugs = at_once(creates).await;
    slugs.sort();
    let mut expected: Vec<_> = (2..=32).map(|number| format!("cafe-zoe-{number}")).collect();
    expected.push("cafe-zoe".to_owned());
    expected.sort();
    assert_eq!(slugs, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_with_one_slug_one_wins() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let creates = (0..16).map(|number| {
        let (tenant, slug) = (tenant.clone(), "zoe".to_owned());
        async move { tenant.create(Customer { slug, ..named(&format!("Zoe {number}")) }).await }
    });
    let outcomes = at_once(creates).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        outcome.expect_err("lost").is(Code::AlreadyExists, "SLUG_TAKEN");
    }
    assert_eq!(tenant.list_all(Default::default()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_etag_is_aborted_and_an_absent_one_is_not() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let change = |city: &str, etag: &str| Customer {
        id: zoe.id.clone(),
        city: city.to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let second = tenant.update(change("Bonn", &zoe.etag), &["city"]).await.expect("the etag is fresh");
    assert_ne!(second.etag, zoe.etag);
    assert!(micros(second.update_time) > micros(zoe.update_time));
    let error = tenant.update(change("Köln", &zoe.etag), &["city"]).await.expect_err("the etag is stale");
    error.is(Code::Aborted, "ETAG_STALE");
    let third = tenant.update(change("Ulm", ""), &["city"]).await.expect("the last write wins");
    assert_eq!(third.city, "Ulm");
    let error = tenant.update(change("Ulm", "nonsense"), &["city"]).await.expect_err("malformed");
    error.is(Code::InvalidArgument, "ETAG_INVALID");
    assert_eq!(error.fields(), ["customer.etag"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_nothing_changes_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    assert_eq!(tenant.update(zoe.clone(), &[]).await.expect("the same"), zoe);
    assert_eq!(tenant.update(zoe.clone(), &["*"]).await.expect("the same"), zoe);
    assert_eq!(tenant.get(&zoe.id).await.expect("there"), zoe);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_empties_what_is_not_set() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    let bare = Customer { id: zoe.id.clone(), business_name: "Bare".to_owned(), ..Default::default() };
    let after = tenant.update(bare.clone(), &["*"]).await.expect("replaced");
    let expected = Customer {
        slug: zoe.slug,
        status: zoe.status,
        create_time: zoe.create_time,
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..bare
    };
    assert_eq!(after, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_writers_with_one_etag_one_wins() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut zoe = tenant.customer("Zoe").await;
    for round in 0..2 {
        let writes = (0..64).map(|writer| {
            let (tenant, city) = (tenant.clone(), format!("City {round}/{writer}"));
            let change = Customer { city, id: zoe.id.clone(), etag: zoe.etag.clone(), ..Default::default() };
            async move { tenant.update(change, &["city"]).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) = at_once(writes).await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for outcome in lost {
            outcome.expect_err("lost").is(Code::Aborted, "ETAG_STALE");
        }
        let now = tenant.get(&zoe.id).await.expect("there");
        assert_eq!(won.into_iter().next().and_then(Result::ok), Some(now.clone()));
        zoe = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_business_context_changes_alone() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    let before = zoe.business_context.clone().expect("a context");
    let patch = BusinessContext { goals: vec!["rest".to_owned()], ..Default::default() };
    let request = |paths: &[&str], etag: &str| UpdateBusinessContextRequest {
        customer_id: zoe.id.clone(),
        business_context: Some(patch.clone()),
        update_mask: (!paths.is_empty()).then(|| mask(paths)),
        etag: etag.to_owned(),
        request_id: String::new(),
    };
    let update = async |request| tenant.customers().update_business_context(request).await;
    let after = update(request(&[], &zoe.etag)).await.expect("updated").into_inner().customer.expect("it");
    let context = BusinessContext { goals: patch.goals.clone(), ..before };
    let expected = Customer {
        business_context: Some(context),
        etag: after.etag.clone(),
        update_time: after.update_time,
        ..zoe.clone()
    };
    assert_eq!(after, expected);
    update(request(&[], &zoe.etag)).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
    let after = update(request(&["*"], "")).await.expect("replaced").into_inner().customer.expect("it");
    assert_eq!(after.business_context.as_ref(), Some(&patch));
    update(request(&["nonsense"], "")).await.expect_err("unknown").is_invalid(&["update_mask.paths[0]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn brand_voice_and_content_preferences_change_alone() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    let request = UpdateBrandVoiceRequest {
        customer_id: zoe.id.clone(),
        brand_voice: Some(BrandVoice { tone: "cool".to_owned(), ..Default::default() }),
        etag: zoe.etag.clone(),
        ..Default::default()
    };
    let after = tenant.customers().update_brand_voice(request.clone()).await.expect("updated").into_inner();
    let after = after.customer.expect("the customer");
    let brand_voice = BrandVoice { tone: "cool".to_owned(), ..zoe.brand_voice.clone().expect("a voice") };
    let (etag, update_time) = (after.etag.clone(), after.update_time);
    let expected = Customer { brand_voice: Some(brand_voice), etag, update_time, ..zoe.clone() };
    assert_eq!(after, expected);
    let error = tenant.customers().update_brand_voice(request).await.expect_err("stale");
    error.is(Code::Aborted, "ETAG_STALE");
    let request = UpdateContentPreferencesRequest {
        customer_id: zoe.id.clone(),
        content_preferences: Some(ContentPreferences {
            preferred_channels: vec![ContactChannel::Sms.into()],
            ..Default::default()
        }),
        update_mask: Some(mask(&["preferred_channels", "avoid"])),
        ..Default::default()
    };
    let after = tenant.customers().update_content_preferences(request).await.expect("updated").into_inner();
    let after = after.customer.expect("the customer");
    let content_preferences = ContentPreferences {
        preferred_channels: vec![ContactChannel::Sms.into()],
        avoid: Vec::new(),
        ..zoe.content_preferences.expect("preferences")
    };
    let (etag, update_time) = (after.etag.clone(), after.update_time);
    let content_preferences = Some(content_preferences);
    assert_eq!(after, Customer { content_preferences, etag, update_time, ..expected });
    let twice =
        ContentPreferences { preferred_channels: vec![ContactChannel::Sms.into(); 2], ..Default::default() };
    let request = UpdateContentPreferencesRequest {
        customer_id: zoe.id,
        content_preferences: Some(twice),
        ..Default::default()
    };
    let error = tenant.customers().update_content_preferences(request).await.expect_err("twice");
    error.is_invalid(&["content_preferences.preferred_channels"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_has_no_name_yet() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let visitor = tenant.create(Customer::default()).await.expect("a visitor");
    let other = tenant.create(Customer::default()).await.expect("another one");
    assert!(visitor.anonymous && visitor.business_name.is_empty());
    assert!(visitor.slug.starts_with("visitor-") && visitor.slug != other.slug);
    assert_eq!(by_slug(&tenant, &visitor.slug, false).await.expect("it is there"), visitor);
    let zoe = tenant.customer("Zoe").await;
    let by_name =
        |order_by: &str| ListCustomersRequest { order_by: order_by.to_owned(), ..Default::default() };
    let ids = async |order_by: &str| {
        let customers = tenant.list_all(by_name(order_by)).await;
        customers.into_iter().map(|customer| customer.id).collect::<Vec<_>>()
    };
    let order = [&zoe.id, &visitor.id, &other.id].map(Clone::clone);
    assert_eq!(ids("business_name").await, order);
    assert_eq!(ids("business_name desc").await, order.iter().rev().cloned().collect::<Vec<_>>());
    let change =
        Customer { id: visitor.id.clone(), business_name: "Bakery".to_owned(), ..Default::default() };
    let named = tenant.update(change, &[]).await.expect("updated");
    assert!(!named.anonymous);
    assert_eq!(named.slug, visitor.slug, "a slug stays");
    assert_eq!(ids("business_name").await, [&visitor.id, &zoe.id, &other.id].map(Clone::clone));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_id_belongs_to_one_customer() {
    let crm = Crm::start().await;
    let (tenant, foreign) = (crm.tenant(), crm.tenant());
    let with = |name: &str, ids: &[ExternalId]| Customer { external_ids: ids.to_vec(), ..named(name) };
    let taken = |error: tonic::Status, holder: &Customer| {
        error.is(Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
        let details = tonic_types::StatusExt::get_error_details(&error);
        let resource = details.resource_info().expect("a resource").clone();
        assert_eq!((resource.resource_type.as_str(), &resource.resource_name), ("customer", &holder.id));
    };
    let (shop, crm_id) = (external("shop", "4711"), external("crm", "4711"));
    let zoe = tenant.create(with("Zoe", &[shop.clone(), crm_id.clone()])).await.expect("free");
    assert_eq!(zoe.external_ids, [shop.clone(), crm_id.clone()], "in the order in which they were sent");
    foreign.create(with("Zoe", std::slice::from_ref(&shop))).await.expect("free in another tenant");
    taken(tenant.create(with("Ana", &[external("a", "1"), shop.clone()])).await.expect_err("taken"), &zoe);
    assert_eq!(tenant.list_all(Default::default()).await.len(), 1);
    let ana = tenant.create(with("Ana", &[external("shop", "4712")])).await.expect("free");
    let change = Customer { id: ana.id.clone(), external_ids: vec![crm_id.clone()], ..Default::default() };
    taken(tenant.update(change.clone(), &["external_ids"]).await.expect_err("taken"), &zoe);
    // After it was given up, it is free.
    let fewer = Customer { id: zoe.id.clone(), external_ids: vec![shop.clone()], ..Default::default() };
    tenant.update(fewer, &["external_ids"]).await.expect("updated");
    assert_eq!(tenant.update(change, &["external_ids"]).await.expect("free").external_ids, [crm_id]);
    let twice = Customer { external_ids: vec![shop.clone(), shop.clone()], ..named("Ben") };
    tenant.create(twice).await.expect_err("twice").is_invalid(&["customer.external_ids[1]"]);
    let bad = with("Ben", &[external("", "x"), external("x", &"x".repeat(257))]);
    let error = tenant.create(bad).await.expect_err("no ids");
    error.is_invalid(&["customer.external_ids[0].source", "customer.external_ids[1].id"]);
    let many: Vec<_> = (0..21).map(|number| external("many", &number.to_string())).collect();
    tenant.create(with("Ben", &many)).await.expect_err("21").is_invalid(&["customer.external_ids"]);
    tenant.create(with("Ben", &many[..20])).await.expect("20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_customer_holds_no_external_id() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let with = |name: &str| Customer { external_ids: vec![external("shop", "4711")], ..named(name) };
    let find = async || {
        let external_id = Some(external("shop", "4711"));
        let request = ListCustomersRequest { external_id, show_deleted: true, ..Default::default() };
        tenant.list_all(request).await
    };
    let zoe = tenant.create(with("Zoe")).await.expect("free");
    assert_eq!(find().await, std::slice::from_ref(&zoe));
    let gone = tenant.delete(&zoe.id).await.expect("deleted");
    assert_eq!(gone.external_ids, zoe.external_ids, "it is shown");
    assert_eq!(find().await, []);
    let ana = tenant.create(with("Ana")).await.expect("free again");
    assert_eq!(find().await, std::slice::from_ref(&ana));
    let error = tenant.undelete(&zoe.id).await.expect_err("taken since");
    error.is(Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
    tenant.delete(&ana.id).await.expect("deleted");
    let back = tenant.undelete(&zoe.id).await.expect("free again");
    assert_eq!(find().await, [back]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_with_one_external_id_one_wins() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let creates = (0..16).map(|number| {
        let tenant = tenant.clone();
        // In both orders, so that transactions would block each other if they took ids in the given order.
        let mut external_ids = vec![external("shop", "1"), external("shop", "2")];
        if number % 2 == 0 {
            external_ids.reverse();
        }
        async move { tenant.create(Customer { external_ids, ..named(&format!("Zoe {number}")) }).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = at_once(creates).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        outcome.expect_err("lost").is(Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
    }
    assert_eq!(tenant.list_all(Default::default()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_basic_view_leaves_out_what_can_be_large() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.create(full()).await.expect("a customer");
    let basic = Customer {
        business_context: None,
        brand_voice: None,
        content_preferences: None,
        custom_attributes: None,
        ..zoe.clone()
    };
    let mut client = tenant.customers();
    for (view, in_get, in_list) in [
        (CustomerView::Unspecified, &zoe, &basic),
        (CustomerView::Basic, &basic, &basic),
        (CustomerView::Full, &zoe, &zoe),
    ] {
        let view = view.into();
        let get = GetCustomerRequest { id: zoe.id.clone(), view, ..Default::default() };
        let got = client.get_customer(get).await.expect("there").into_inner().customer;
        assert_eq!(got.as_ref(), Some(in_get));
        let get = GetCustomerBySlugRequest { slug: zoe.slug.clone(), view, ..Default::default() };
        let got = client.get_customer_by_slug(get).await.expect("there").into_inner().customer;
        assert_eq!(got.as_ref(), Some(in_get));
        let list = ListCustomersRequest { view, ..Default::default() };
        let listed = client.list_customers(list).await.expect("a page").into_inner().customers;
        assert_eq!(listed, std::slice::from_ref(in_list));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_added_and_removed_without_a_race() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe =
        tenant.create(Customer { tags: vec!["vip".to_owned()], ..named("Zoe") }).await.expect("created");
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let add = async |tags: Vec<String>| {
        let request = AddCustomerTagsRequest { customer_id: zoe.id.clone(), tags, ..Default::default() };
        let answer = tenant.customers().add_customer_tags(request).await?.into_inner();
        Ok::<_, tonic::Status>(answer.customer.expect("it"))
    };
    let remove = async |tags: Vec<String>| {
        let request = RemoveCustomerTagsRequest { customer_id: zoe.id.clone(), tags, ..Default::default() };
        let answer = tenant.customers().remove_customer_tags(request).await?.into_inner();
        Ok::<_, tonic::Status>(answer.customer.expect("it"))
    };
    let added = add(texts(&["new", "vip", "new"])).await.expect("added");
    assert_eq!(added.tags, ["vip", "new"]);
    assert_eq!(add(texts(&["new"])).await.expect("no change"), added, "the etag included");
    let removed = remove(texts(&["vip", "unknown"])).await.expect("removed");
    assert_eq!(removed.tags, ["new"]);
    assert_eq!(remove(texts(&["vip"])).await.expect("no change"), removed);
    let at_the_same_time = (0..40).map(|number| {
        let (tenant, customer_id) = (tenant.clone(), zoe.id.clone());
        async move {
            let tags = vec![number.to_string()];
            let request = AddCustomerTagsRequest { customer_id, tags, ..Default::default() };
            tenant.customers().add_customer_tags(request).await.expect("added")
        }
    });
    at_once(at_the_same_time).await;
    assert_eq!(tenant.get(&zoe.id).await.expect("there").tags.len(), 41, "none undoes another");
    let many: Vec<_> = (0..10).map(|number| format!("more {number}")).collect();
    add(many).await.expect_err("51").is_invalid(&["tags"]);
    add(Vec::new()).await.expect_err("none").is_invalid(&["tags"]);
    remove(texts(&["a\nb"])).await.expect_err("no tag").is_invalid(&["tags[0]"]);
    assert_eq!(tenant.get(&zoe.id).await.expect("there").tags.len(), 41);
    tenant.delete(&zoe.id).await.expect("deleted");
    add(texts(&["late"])).await.expect_err("deleted").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
}
