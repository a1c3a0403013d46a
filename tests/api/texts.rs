//! Texts of a customer: which are accepted, and which are not.

use crm_backend::pb::{BusinessContext, CreateCustomerRequest, Customer, GetCustomerBySlugRequest};

use crate::support::customers::{creation, named};
use crate::support::{Crm, Refusal, Tenant};

async fn refuses(tenant: &Tenant, field: &str, request: Customer) {
    let shown = format!("{request:?}");
    let Err(error) = tenant.create(request).await else { panic!("taken: {shown}") };
    error.is_invalid(&[&format!("customer.{field}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_line_of_256_characters_at_most_that_are_not_all_spaces() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for name in [
        "x".to_owned(),
        "é".repeat(256),
        "👩‍👩‍👧".to_owned(),
        "<b>'; DROP TABLE customers; --".to_owned(),
        "\u{202e}rtl".to_owned(),
    ] {
        assert_eq!(tenant.customer(&name).await.business_name, name);
    }
    let long = "é".repeat(257);
    for name in [" ", "   ", "a\tb", "a\nb", "\u{1}", "\u{7f}", "a\u{85}", "\0", &long] {
        let error = tenant.create(named(name)).await.expect_err(name);
        error.is(tonic::Code::InvalidArgument, "FIELD_INVALID");
        assert!(error.fields().iter().all(|field| field == "customer.business_name"), "{name:?}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_spaces_of_other_scripts_is_no_name() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for name in ["\u{3000}", "\u{a0}", "\u{2003}\u{2003}"] {
        let error = tenant.create(named(name)).await.expect_err("only spaces");
        error.is_invalid(&["customer.business_name"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_is_1_to_63_small_letters_digits_and_hyphens_within() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (longest, long) = ("a".repeat(63), "a".repeat(64));
    for slug in ["a", "7", "a-b", "a--b", "0-9", &longest] {
        let request = Customer { slug: slug.to_owned(), ..named("Zoe") };
        assert_eq!(tenant.create(request).await.expect(slug).slug, slug);
    }
    for slug in
        ["-a", "a-", "-", "..", "a.b", "A", "Zoe", "zoë", "a b", " a", "a\n", "a_b", "a/b", "%", &long]
    {
        refuses(&tenant, "slug", Customer { slug: slug.to_owned(), ..named("Zoe") }).await;
        let request = GetCustomerBySlugRequest { slug: slug.to_owned(), ..Default::default() };
        let error = tenant.customers().get_customer_by_slug(request).await.expect_err(slug);
        error.is_invalid(&["slug"]);
    }
    let request = GetCustomerBySlugRequest::default();
    tenant.customers().get_customer_by_slug(request).await.expect_err("empty").is_invalid(&["slug"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_all_kinds_have_their_forms() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let text = str::to_owned;
    for email in ["x", "@", "a@", "@b", "a b@c.de", "a@b\n", "<a@b.de>", "a@b.de, c@d.de", "a@-b.de"] {
        refuses(&tenant, "email", Customer { email: text(email), ..named("Zoe") }).await;
    }
    for phone in ["x", "1", "++", "none", "(1)", "+49\u{1}30", &format!("1{}1", " ".repeat(127))] {
        refuses(&tenant, "phone", Customer { phone: text(phone), ..named("Zoe") }).await;
    }
    for website in ["x", "//x.de", "/x", "http://a b", "http://\n", "http://x.de/%zz"] {
        refuses(&tenant, "website", Customer { website: text(website), ..named("Zoe") }).await;
    }
    for country_code in ["d", "de", "DEU", "D1", "ÖS"] {
        refuses(&tenant, "country_code", Customer { country_code: text(country_code), ..named("Zoe") }).await;
    }
    for email in [
        "a@b.de",
        "a.b+c@d-e.co.uk",
        "o'brien@x.de",
        "jürgen@müller.example",
        "用户@例子.广告",
        "अजय@डाटा.भारत",
        "παράδειγμα@παράδειγμα.ελ",
    ] {
        let zoe = tenant.create(Customer { email: text(email), ..named("Zoe") }).await;
        assert_eq!(zoe.expect(email).email, email);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_kept_as_people_write_it_and_gets_a_form_that_can_be_dialled() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let berlin = "+493090182017";
    for (phone, country_code, expected) in [
        ("+49 30 9018-2017", "", berlin),
        ("030 9018-2017", "DE", berlin),
        ("(030) 9018 2017", "DE", berlin),
        ("030/90182017", "DE", berlin),
        ("00493090182017", "DE", berlin),
        ("+49 (0)30 90182017", "AT", berlin),
        ("+49 30 9018-2017 ext. 89", "", berlin),
        ("+49\u{a0}30\u{a0}9018\u{a0}2017", "", berlin),
        ("+49 30 9018\u{2013}2017", "", berlin),
        ("tel:+49-30-9018-2017", "", berlin),
        ("030 90182017 / 0171 2345678", "DE", berlin),
        ("030 90182017\n0171 2345678", "DE", berlin),
        ("030 90182017, 0171 2345678", "DE", berlin),
        ("＋４９ ３０ ９０１８２０１７", "", berlin),
        ("٠٣٠٩٠١٨٢٠١٧", "DE", berlin),
        (" +49 30 90182017 ", "", berlin),
        ("+49 30 90182017 (Büro)", "", berlin),
        ("030 9018-2017", "", ""),
        ("030.1 #12", "DE", ""),
        ("110", "DE", ""),
        ("Durchwahl 12", "DE", ""),
    ] {
        let request =
            Customer { phone: phone.to_owned(), country_code: country_code.to_owned(), ..named("Zoe") };
        let zoe = tenant.create(request).await.unwrap_or_else(|error| panic!("{phone:?}: {error:?}"));
        assert_eq!((zoe.phone.as_str(), zoe.phone_e164.as_str()), (phone, expected));
        if phone == "030 9018-2017" && expected.is_empty() {
            let wanted = Customer { id: zoe.id.clone(), country_code: "DE".to_owned(), ..Default::default() };
            let german = tenant.update(wanted, &["country_code"]).await.expect("updated");
            assert_eq!(german.phone_e164, berlin, "the country says which number it is");
            let wanted = Customer { id: zoe.id, phone_e164: "+1".to_owned(), ..Default::default() };
            let same = tenant.update(wanted, &["phone_e164"]).await.expect("output only");
            assert_eq!(same.phone_e164, berlin);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_few_short_and_different() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let numbered = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
    let with = |tags: Vec<String>| Customer { tags, ..named("Zoe") };
    assert_eq!(tenant.create(with(numbered(50))).await.expect("50 tags").tags, numbered(50));
    refuses(&tenant, "tags", with(numbered(51))).await;
    refuses(&tenant, "tags", with(vec!["a".to_owned(), "a".to_owned()])).await;
    refuses(&tenant, "tags[1]", with(vec!["a".to_owned(), String::new()])).await;
    refuses(&tenant, "tags[0]", with(vec!["x".repeat(65)])).await;
    refuses(&tenant, "tags[0]", with(vec!["a\nb".to_owned()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_several_lines_may_have_control_characters() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let description = "one\r\ntwo\t\u{1}\u{1b}[0m\u{7f}\u{feff}".to_owned();
    let context = BusinessContext { description: description.clone(), ..Default::default() };
    let request = Customer {
        address: "Straße 1\nHinterhof".to_owned(),
        business_context: Some(context),
        ..named("Zoe")
    };
    let created = tenant.create(request).await.expect("taken");
    assert_eq!(created.business_context.expect("a context").description, description);
    assert_eq!(created.address, "Straße 1\nHinterhof");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_violations_come_at_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = Customer {
        slug: "A".to_owned(),
        email: "x".to_owned(),
        tags: vec![String::new()],
        status: 99,
        ..named("x\ny")
    };
    let request = CreateCustomerRequest { request_id: "x".to_owned(), ..creation(customer) };
    let error = tenant.send_create(request).await.expect_err("much is wrong");
    let fields =
        ["business_name", "slug", "email", "status", "tags[0]"].map(|field| format!("customer.{field}"));
    let mut fields: Vec<_> = fields.iter().map(String::as_str).collect();
    fields.push("request_id");
    error.is_invalid(&fields);
    let error = tenant.send_create(Default::default()).await.expect_err("no customer");
    error.is_invalid(&["customer"]);
}
