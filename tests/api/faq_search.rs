//! SearchCustomerFaqs: the results, and their order.

use crm_backend::pb::{
    ContentPreferences, Customer, CustomerFaq, CustomerFaqMatch, FaqStatus, FaqVerificationStatus,
    SearchCustomerFaqsRequest,
};
use tonic::Code;

use crate::support::customers::named;
use crate::support::faqs::{asked, checked, query, question, questions};
use crate::support::{Crm, Refusal, Tenant};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// Creates a customer with this language.
async fn speaks(tenant: &Tenant, language: &str) -> String {
    let preferences = ContentPreferences { languages: vec![language.to_owned()], ..Default::default() };
    let request = Customer { content_preferences: Some(preferences), ..named("Zoe") };
    tenant.create(request).await.expect("a customer").id
}

async fn found(tenant: &Tenant, customer_id: &str, text: &str) -> Vec<CustomerFaqMatch> {
    tenant.search_faqs(query(customer_id, text)).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn german_words_are_found_by_their_stems() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "de-AT").await;
    tenant.faq(&zoe, "Wie sind die Öffnungszeiten?", "Täglich von acht bis zwölf.").await;
    tenant.faq(&zoe, "Gibt es Häuser mit Garten?", "Nein.").await;
    for (text, expected) in [
        ("Öffnungszeit", "Wie sind die Öffnungszeiten?"),
        ("ÖFFNUNGSZEITEN", "Wie sind die Öffnungszeiten?"),
        ("täglich", "Wie sind die Öffnungszeiten?"),
        ("Haus", "Gibt es Häuser mit Garten?"),
        ("gärten", "Gibt es Häuser mit Garten?"),
    ] {
        assert_eq!(questions(&found(&tenant, &zoe, text).await), [expected], "{text}");
    }
    assert_eq!(found(&tenant, &zoe, "die mit von und").await, [], "words that say nothing find nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn english_words_are_found_by_their_stems() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    tenant.faq(&zoe, "When are you opening on Sundays?", "At nine.").await;
    tenant.faq(&zoe, "Do you sell oat milk?", "We do.").await;
    for text in ["open", "opened", "Sunday opening", "openings"] {
        let found = found(&tenant, &zoe, text).await;
        assert_eq!(questions(&found), ["When are you opening on Sundays?"], "{text}");
        assert!((found[0].text_score - 1.0).abs() < 1e-9, "a stem counts like the word: {found:?}");
    }
    let french = SearchCustomerFaqsRequest { language: "fr".to_owned(), ..query(&zoe, "milk") };
    let found = tenant.search_faqs(french).await.expect("an answer");
    assert_eq!(questions(&found), ["Do you sell oat milk?"], "what is written is found in any language");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_outlive_a_change_of_the_customers_language() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    tenant.faq(&zoe, "Opening hours of the bakery", "").await;
    let customer = tenant.get(&zoe).await.expect("there");
    let german = ContentPreferences { languages: vec!["de".to_owned()], ..Default::default() };
    let wanted = crm_backend::pb::Customer { content_preferences: Some(german), ..customer };
    tenant.update(wanted, &["content_preferences"]).await.expect("updated");
    assert_eq!(found(&tenant, &zoe, "opening").await.len(), 1);
    assert_eq!(found(&tenant, &zoe, "opened").await.len(), 0, "German has no such stem");
    let english = SearchCustomerFaqsRequest { language: "en-US".to_owned(), ..query(&zoe, "opened") };
    assert_eq!(tenant.search_faqs(english).await.expect("an answer").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_and_rarer_words_come_first_and_questions_before_answers() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    for (asked, answer) in [
        ("Do you have vegan cake?", "Yes."),
        ("Do you have cake?", "Yes."),
        ("What is there to eat?", "Bread and vegan cake."),
        ("Is the cake fresh?", "It is."),
        ("Where are you?", "In Graz."),
    ] {
        tenant.faq(&zoe, asked, answer).await;
    }
    let found = found(&tenant, &zoe, "vegan cake").await;
    assert_eq!(questions(&found)[0], "Do you have vegan cake?");
    assert_eq!(found.len(), 4);
    assert!((found[0].text_score - 1.0).abs() < 1e-9);
    let in_answer =
        found.iter().find(|found| questions(std::slice::from_ref(found)) == ["What is there to eat?"]);
    assert!((in_answer.expect("found").text_score - 0.4).abs() < 1e-6);
    for one in &found {
        let score = 0.7 * one.text_score + 0.2 * one.confidence_score + 0.1 * one.recency_score;
        assert!((one.score - score).abs() < 1e-6, "{one:?}");
        assert!(one.recency_score > 0.99);
    }
    assert!(found.is_sorted_by(|one, other| one.score >= other.score));
    let again = tenant.search_faqs(query(&zoe, "vegan cake")).await.expect("an answer");
    assert_eq!(again, found, "the same data gives the same answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equals_the_surer_and_the_newer_come_first() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let zoe = speaks(&tenant, "en").await;
    let mut faqs: Vec<CustomerFaq> = Vec::new();
    for asked in ["Cake one?", "Cake two?", "Cake three?"] {
        faqs.push(tenant.faq(&zoe, asked, "Yes.").await);
    }
    tenant.check_faq(checked(&faqs[1], FaqVerificationStatus::HumanVerified)).await.expect("checked");
    sql.run(&format!(
        "UPDATE customer_faqs SET active_at = now() - interval '90 days' WHERE id = '{}'",
        faqs[0].id
    ))
    .await;
    let found = found(&tenant, &zoe, "cake").await;
    assert_eq!(questions(&found), ["Cake two?", "Cake three?", "Cake one?"]);
    assert!((found[2].recency_score - 0.5).abs() < 0.001, "{found:?}");
    assert!((found[0].confidence_score - 0.9).abs() < 1e-6, "{found:?}");
    // Equal in all respects: two that were written in the same microsecond.
    sql.run("UPDATE customer_faqs SET active_at = now(), derived_confidence = 0.5").await;
    let found = tenant.search_faqs(query(&zoe, "cake")).await.expect("an answer");
    assert_eq!(questions(&found), ["Cake one?", "Cake two?", "Cake three?"], "by id, which is by age");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_archived_or_deleted_is_not_found_until_it_is_back() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    let faq = tenant.faq(&zoe, "Do you sell cake?", "Yes.").await;
    let status = async |status: FaqStatus| {
        let wanted = CustomerFaq { id: faq.id.clone(), status: status.into(), ..Default::default() };
        tenant.revise_faq(wanted, &["status"]).await.expect("updated");
        found(&tenant, &zoe, "cake").await.len()
    };
    for (word, count) in [
        (FaqStatus::Rejected, 0),
        (FaqStatus::Approved, 1),
        (FaqStatus::Archived, 0),
        (FaqStatus::Conflict, 1),
        (FaqStatus::Candidate, 1),
    ] {
        assert_eq!(status(word).await, count, "{word:?}");
    }
    let wanted = CustomerFaq {
        id: faq.id.clone(),
        question: "Do you sell bread?".to_owned(),
        answer: "Rye.".to_owned(),
        ..Default::default()
    };
    tenant.revise_faq(wanted, &[]).await.expect("updated");
    for (word, count) in [("cake", 0), ("bread", 1), ("rye", 1)] {
        assert_eq!(found(&tenant, &zoe, word).await.len(), count, "{word}");
    }
    tenant.delete_faq(&faq.id, "").await.expect("deleted");
    assert_eq!(found(&tenant, &zoe, "bread").await, []);
    assert_eq!(crm.sql().await.number("SELECT count(*) FROM customer_faq_terms").await, 0);
    tenant.observe(asked(&zoe, "Do you sell bread?", "Rye.")).await.expect("observed");
    assert_eq!(found(&tenant, &zoe, "rye").await.len(), 1, "a learned one is found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_of_one_customer_and_of_some_statuses() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ben) = (speaks(&tenant, "en").await, speaks(&tenant, "en").await);
    tenant.faq(&zoe, "Is there cake?", "Yes.").await;
    tenant.faq(&ben, "No cake?", "No.").await;
    let approved =
        CustomerFaq { status: FaqStatus::Approved.into(), ..question(&zoe, "Which cake?", "Apple.") };
    tenant.create_faq(approved).await.expect("created");
    assert_eq!(found(&tenant, &zoe, "cake").await.len(), 2);
    for (statuses, count) in [
        (vec![FaqStatus::Approved], 1),
        (vec![FaqStatus::Candidate, FaqStatus::Approved], 2),
        (vec![FaqStatus::Conflict], 0),
        (vec![FaqStatus::Rejected, FaqStatus::Archived], 0),
    ] {
        let statuses = statuses.into_iter().map(Into::into).collect();
        let request = SearchCustomerFaqsRequest { statuses, ..query(&zoe, "cake") };
        assert_eq!(tenant.search_faqs(request).await.expect("an answer").len(), count);
    }
    let one = SearchCustomerFaqsRequest { limit: 1, ..query(&zoe, "cake") };
    assert_eq!(tenant.search_faqs(one).await.expect("an answer").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_10_when_not_said_and_100_at_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    for number in 0..3 {
        tenant.faq(&zoe, &format!("Cake with syllables {number}?"), "Yes.").await;
    }
    crate::support::faqs::multiply_faqs(&crm.sql().await, &zoe, 60).await;
    for (limit, count) in [(0, 10), (1, 1), (99, 99), (1_000, 100), (i32::MAX, 100)] {
        let request = SearchCustomerFaqsRequest { limit, ..query(&zoe, "cake 0 1 2") };
        assert_eq!(tenant.search_faqs(request).await.expect("an answer").len(), count, "{limit}");
    }
    let request = SearchCustomerFaqsRequest { limit: -1, ..query(&zoe, "cake") };
    tenant.search_faqs(request).await.expect_err("negative").is_invalid(&["limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_faqs_are_found_as_far_as_an_answer_goes() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    tenant.faq(&zoe, "Cake?", &"\u{1f370}".repeat(16_384)).await;
    crate::support::faqs::multiply_faqs(&crm.sql().await, &zoe, 99).await;
    let request = SearchCustomerFaqsRequest { limit: 100, ..query(&zoe, "cake") };
    let found = tenant.search_faqs(request).await.expect("below the limit of a message");
    assert_eq!(found.len(), 31, "of 64 KiB each, and what stands beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_answered_or_refused_by_its_length() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = speaks(&tenant, "en").await;
    tenant.faq(&zoe, "Is it 100% cake \u{1f370}?", "C:\\cake_1 & 'more' | less:*").await;
    let (long, words) = ("x".repeat(8_192), "a1 b2 c3 d4 ".repeat(682));
    let many: String = (0..1_500).map(|number| format!("w{number} ")).collect();
    for text in [
        "%",
        "_",
        "\\",
        "'",
        "' | 'x",
        "!",
        "&",
        ":*",
        "the of",
        " ",
        "\u{1f370}",
        "\u{1}",
        &long,
        &words,
        &many,
    ] {
        assert_eq!(found(&tenant, &zoe, text).await, [], "{:.20}", text);
    }
    let late = format!("{} cake", (0..31).map(|number| format!("w{number} ")).collect::<String>());
    assert_eq!(found(&tenant, &zoe, &late).await.len(), 1, "the 32nd word counts");
    let later = format!("w99 {late}");
    assert_eq!(found(&tenant, &zoe, &later).await.len(), 0, "the 33rd does not");
    for text in ["", "\0", &"é".repeat(8_193)] {
        tenant.search_faqs(query(&zoe, text)).await.expect_err("refused").is_invalid(&["query"]);
    }
    for language in ["x", "de_AT", "' OR 1", "12", &"a".repeat(65)] {
        let request = SearchCustomerFaqsRequest { language: language.to_owned(), ..query(&zoe, "cake") };
        let error = tenant.search_faqs(request).await.expect_err(language);
        error.is(Code::InvalidArgument, "FIELD_INVALID");
        assert!(error.fields().iter().all(|field| field == "language"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_is_not_there_has_no_faqs_to_search() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let zoe = speaks(&ana, "en").await;
    ana.faq(&zoe, "Cake?", "Yes.").await;
    for (tenant, id) in [(&ana, UNKNOWN), (&ben, zoe.as_str())] {
        let error = tenant.search_faqs(query(id, "cake")).await.expect_err("unknown");
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
    ana.delete(&zoe).await.expect("deleted");
    let error = ana.search_faqs(query(&zoe, "cake")).await.expect_err("deleted");
    error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
}

/// Creates a customer with these questions, the later ones newer, and many unrelated ones.
async fn asks(tenant: &Tenant, language: &str, questions: &[&str]) -> String {
    let id = speaks(tenant, language).await;
    for asked in questions {
        tenant.faq(&id, asked, "").await;
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_comes_first_however_many_have_its_words() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = asks(&tenant, "en", &["What is Kombucha?", "Who are you?", "Où êtes-vous ?"]).await;
    tenant.faq(&zoe, "Where can I buy Kombucha?", "").await;
    crate::support::faqs::multiply_faq(&crm.sql().await, "Where can I buy Kombucha?", 70).await;
    for (text, expected) in [
        ("What is Kombucha?", "What is Kombucha?"),
        ("what is KOMBUCHA", "What is Kombucha?"),
        ("Hello! What is Kombucha? Thanks.", "What is Kombucha?"),
        ("Who are you?", "Who are you?"),
        ("who are you", "Who are you?"),
        ("Hi\nwho are you", "Who are you?"),
        ("Ou etes-vous?", "Où êtes-vous ?"),
    ] {
        let found = found(&tenant, &zoe, text).await;
        assert_eq!(questions(&found)[0], expected, "{text}");
        assert!(
            (found[0].score - 1.0).abs() < f64::EPSILON && (found[0].text_score - 1.0).abs() < f64::EPSILON
        );
        assert!(found.iter().skip(1).all(|other| questions(std::slice::from_ref(other)) != [expected]));
        assert!(found[1..].is_sorted_by(|one, other| one.score >= other.score));
    }
    assert_eq!(found(&tenant, &zoe, "you are who").await, [], "that is no question which was asked");
    let rejected = found(&tenant, &zoe, "Who are you?").await[0].customer_faq.clone().expect("a FAQ");
    let wanted = CustomerFaq { status: FaqStatus::Rejected.into(), ..rejected };
    tenant.revise_faq(wanted, &["status"]).await.expect("rejected");
    assert_eq!(found(&tenant, &zoe, "Who are you?").await, []);
    let approved = SearchCustomerFaqsRequest {
        statuses: vec![FaqStatus::Approved.into()],
        ..query(&zoe, "What is Kombucha?")
    };
    assert_eq!(tenant.search_faqs(approved).await.expect("an answer"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_of_thousands_with_the_same_words_is_found() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = asks(&tenant, "en", &["Kombucha refills"]).await;
    let pinned = tenant.faq(&zoe, "Which Kombucha is without sugar and how long does it keep?", "").await;
    tenant.faq(&zoe, "Where can I buy Kombucha?", "").await;
    let sql = crm.sql().await;
    crate::support::faqs::multiply_faq(&sql, "Where can I buy Kombucha?", 9_000).await;
    let found_first = async |text: &str| questions(&found(&tenant, &zoe, text).await)[0].to_owned();
    assert_eq!(found_first("kombucha refill").await, "Kombucha refills");
    assert_eq!(found_first("sugar in kombucha, how long to keep").await, pinned.question);
    let one = SearchCustomerFaqsRequest { limit: 1, ..query(&zoe, "kombucha") };
    assert_eq!(tenant.search_faqs(one).await.expect("an answer").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn languages_without_spaces_are_found_by_their_words() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for (language, asked, queries) in [
        ("zh", "你们周六送货吗？", ["周六送货", "请问周六能送货吗？", "送货", "周"].as_slice()),
        ("ja", "土曜日の配達はできますか", &["土曜日", "配達", "土曜日に配達してもらえますか？"]),
        ("th", "คุณส่งของวันเสาร์ไหม", &["วันเสาร์", "ส่งของ"]),
        ("ko", "토요일에 배송하나요?", &["토요일 배송", "배송은 언제"]),
        ("", "iPhone手机壳多少钱", &["手机壳", "iphone 手机"]),
    ] {
        let others = ["营业时间是什么？", "駐車場はありますか", "เปิดกี่โมง", "영업시간", "Opening hours"];
        let zoe = asks(&tenant, "de", &others).await;
        tenant.faq(&zoe, asked, "").await;
        let mut requests = queries.iter().map(|text| query(&zoe, text)).collect::<Vec<_>>();
        let in_language = |request: &SearchCustomerFaqsRequest| SearchCustomerFaqsRequest {
            language: language.to_owned(),
            ..request.clone()
        };
        requests.extend(requests.clone().iter().map(in_language));
        for request in requests {
            let found = tenant.search_faqs(request.clone()).await.expect("an answer");
            assert_eq!(questions(&found).first(), Some(&asked), "{request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_with_and_without_accents() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for (language, asked, queries) in [
        ("de", "Wie sind die Öffnungszeiten?", ["offnungszeit", "OFFNUNGSZEITEN", "öffnungszeit"].as_slice()),
        ("fr", "Où sont les livraisons fermées ?", &["livraison fermee", "FERMÉ", "fermées"]),
        ("es", "¿Hacen envíos a España?", &["envio", "envíos espana"]),
        ("pl", "Czy jest zniżka w Łodzi?", &["znizka lodzi", "ZNIŻKA"]),
        ("da", "Hvad koster smørrebrød?", &["smorrebrod", "SMØRREBRØD"]),
        ("el", "Πού είναι ο δρόμος;", &["δρομοσ", "ΔΡΌΜΟΣ"]),
    ] {
        let zoe = asks(&tenant, language, &[asked, "Parking?"]).await;
        for text in queries {
            assert_eq!(questions(&found(&tenant, &zoe, text).await), [asked], "{text}");
        }
    }
}
