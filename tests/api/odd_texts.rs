//! Texts that look like other texts, or like something else.

use crm_backend::pb::{Customer, ListCustomersRequest, SearchCustomerFaqsRequest};
use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};

use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::{Crm, Refusal, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_that_looks_like_one_is_none() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for slug in [
        "c\u{430}fe",         // a Cyrillic а
        "\u{217d}afe",        // a Roman numeral
        "\u{ff43}\u{ff41}fe", // wide letters
        "cafe\u{301}",        // an accent of its own
        "ca\u{200b}fe",       // a space without width
        "ca\u{ad}fe",         // a soft hyphen
        "ca\u{2010}fe",       // another hyphen
        "caf\u{ff65}",        // half wide
        "1\u{0662}",          // an Arabic digit
        "\u{202e}efac",       // turned around
        "cafe\u{feff}",
    ] {
        let request = Customer { slug: slug.to_owned(), ..named("Zoe") };
        tenant.create(request).await.expect_err(slug).is_invalid(&["customer.slug"]);
    }
    assert_eq!(tenant.list_all(ListCustomersRequest::default()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_can_see_is_no_name() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for name in
        ["\u{200b}", "\u{200b}\u{200d}\u{feff}", "\u{ad}", "\u{2060} \u{a0}", "\u{202e}\u{202c}", "\u{e0041}"]
    {
        tenant.create(named(name)).await.expect_err(name).is_invalid(&["customer.business_name"]);
    }
    // With visible characters they are allowed, as in emoji and Persian.
    for name in [
        "می\u{200c}خواهم",
        "👩\u{200d}🚀",
        "Zoe\u{200b}",
        "\u{feff}Zoe",
        "\u{fffd}",
        "\u{10ffff}x",
        "\u{fffe}x",
    ] {
        assert_eq!(tenant.customer(name).await.business_name, name);
    }
}

fn object(texts: &[&str]) -> Struct {
    let value = |text: &str| Value { kind: Some(Json::StringValue(text.to_owned())) };
    Struct { fields: texts.iter().map(|text| ((*text).to_owned(), value(text))).collect() }
}

/// Texts that JSON could read as something else stay unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_struct_are_no_escapes() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let texts = [
        "\\u0000",
        "\\ud800",
        "\\ud83d\\ude00",
        "\\",
        "\\\\",
        "\"",
        "\"}, {\"a\": \"b",
        "\u{1}\u{1f}\u{7f}\u{80}",
        "\u{2028}\u{2029}",
        "\u{d7ff}\u{e000}\u{fffe}\u{ffff}\u{10ffff}",
        "$1 %s {} :a @> '{}'",
        "\u{feff}",
        "__proto__",
        "",
        " ",
    ];
    let request = Customer { custom_attributes: Some(object(&texts)), ..named("Zoe") };
    let created = tenant.create(request).await.expect("texts");
    assert_eq!(created.custom_attributes, Some(object(&texts)));
    assert_eq!(tenant.get(&created.id).await.expect("there").custom_attributes, Some(object(&texts)));
    let talk = tenant.conversation().await;
    for (number, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let sent = crm_backend::pb::Message {
            metadata: Some(object(&[text])),
            ..message(&number.to_string(), text)
        };
        let (added, _) = tenant.add(&talk.id, sent).await.expect("texts");
        let read = tenant.message(&talk.id, &added.id).await.expect("there");
        assert_eq!((read.content.as_str(), read.metadata), (*text, Some(object(&[text]))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_struct_come_back_as_they_were() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let numbers =
        [0.0, 1.5, -1.0, 1e308, -1e308, 5e-324, f64::MIN_POSITIVE, 9_007_199_254_740_993.0, 1e22, 0.1 + 0.2];
    let value = |number: f64| Value { kind: Some(Json::NumberValue(number)) };
    let fields = numbers.iter().map(|number| (format!("{number:e}"), value(*number))).collect();
    let attributes = Some(Struct { fields });
    let request = Customer { custom_attributes: attributes.clone(), ..named("Zoe") };
    let created = tenant.create(request).await.expect("numbers");
    assert_eq!(tenant.get(&created.id).await.expect("there").custom_attributes, attributes);
}

/// A search for FAQs accepts whole messages, which may be any text.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_nothing_in_particular_finds_nothing_or_is_too_long() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer_id = tenant.customer("Zoe").await.id;
    tenant.faq(&customer_id, "Do you deliver?", "Yes.").await;
    let fill = |word: &str, length: usize| word.chars().cycle().take(length).collect::<String>();
    let search = async |query: String| {
        let request =
            SearchCustomerFaqsRequest { customer_id: customer_id.clone(), query, ..Default::default() };
        soon(tenant.faqs().search_customer_faqs(request)).await
    };
    for word in [
        "the and of to a in ",
        "%",
        "_",
        "\\",
        "'",
        "& | ! ( ) <-> :* ",
        "\u{200b}",
        "x",
        "鸡",
        "a1-b2_c3.d4 ",
    ] {
        for length in [1, 256, 8_192] {
            let found = search(fill(word, length)).await;
            let found = found.unwrap_or_else(|error| panic!("{length} of {word:?}: {error:?}")).into_inner();
            assert_eq!(found.matches.len(), 0, "{length} of {word:?}");
        }
        search(fill(word, 10 * 1024)).await.expect_err("10 KB").is_invalid(&["query"]);
    }
}
