//! Customers, one RPC after the other.

use crm_backend::pb::{
    BrandVoice, BusinessContext, ContentPreferences, Customer, CustomerStatus, GetCustomerBySlugRequest,
    GetCustomerRequest, UpdateBusinessContextRequest,
};
use tonic::Code;

use crate::support::customers::{mask, named};
use crate::support::{Crm, Refusal, Tenant, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// A customer with something in every field.
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
        external_ref: text("CRM-17"),
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
            channels: vec![text("whatsapp")],
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
    let request = GetCustomerBySlugRequest { slug: slug.to_owned(), show_deleted };
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
    let zoe = tenant.create(sent.clone()).await.expect("a customer");
    let expected = Customer {
        id: zoe.id.clone(),
        create_time: zoe.create_time,
        update_time: zoe.update_time,
        delete_time: None,
        etag: zoe.etag.clone(),
        business_name: sent.business_name,
        slug: sent.slug,
        contact_name: sent.contact_name,
        email: sent.email,
        phone: sent.phone,
        phone_e164: "+4930901820".to_owned(),
        website: sent.website,
        address: sent.address,
        city: sent.city,
        region: sent.region,
        postal_code: sent.postal_code,
        country_code: sent.country_code,
        industry_category: sent.industry_category,
        size: sent.size,
        status: sent.status,
        source: sent.source,
        owner: sent.owner,
        tags: sent.tags,
        external_ref: sent.external_ref,
        business_context: sent.business_context,
        brand_voice: sent.brand_voice,
        content_preferences: sent.content_preferences,
        custom_attributes: sent.custom_attributes,
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
    let copy = Customer { slug: String::new(), ..zoe.clone() };
    let copy = tenant.create(copy).await.expect("a second one");
    assert!(copy.id != zoe.id && copy.etag != zoe.etag && micros(copy.create_time) > micros(zoe.create_time));
    let (id, slug, etag) = (copy.id.clone(), copy.slug.clone(), copy.etag.clone());
    let (create_time, update_time) = (copy.create_time, copy.update_time);
    assert_eq!(copy, Customer { id, slug, etag, create_time, update_time, ..zoe });
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
    let shown = GetCustomerRequest { id: zoe.id.clone(), show_deleted: true };
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
        id: zoe.id.clone(),
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
