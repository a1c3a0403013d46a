//! Finding customers by words.

use crm_backend::pb::{
    BusinessContext, Conversation, ConversationAnalysis, Customer, ListConversationsRequest,
    ListCustomersRequest,
};

use crate::support::customers::{named, names};
use crate::support::faqs::query;
use crate::support::{Crm, Refusal, Tenant, eventually};

fn of(query: &str) -> ListCustomersRequest {
    ListCustomersRequest {
        query: query.to_owned(),
        order_by: "business_name".to_owned(),
        page_size: 1,
        ..Default::default()
    }
}

async fn three(tenant: &Tenant) {
    let requests = [
        Customer {
            contact_name: "Jürgen Vogel".to_owned(),
            email: "info@cafe-zoe.example".to_owned(),
            tags: vec!["vip".to_owned(), "Berlin Mitte".to_owned()],
            business_context: Some(BusinessContext {
                description: "Specialty coffee\nand 北京烤鸭".to_owned(),
                ..Default::default()
            }),
            ..named("Café Zoë")
        },
        Customer { contact_name: "Ann O'Brien".to_owned(), ..named("Pub & Co. 100%") },
        Customer {
            email: "hello@zebra.example".to_owned(),
            tags: vec!["vip".to_owned()],
            ..named("Zebra_Print")
        },
    ];
    for request in requests {
        tenant.create(request).await.expect("a customer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_must_start_some_word_of_the_customer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    three(&crm.tenant()).await;
    let (zoe, publican, zebra) = ("Café Zoë", "Pub & Co. 100%", "Zebra_Print");
    let cases: [(&str, &[&str]); 31] = [
        ("", &[zoe, publican, zebra]),
        ("café", &[zoe]),
        ("CAFE", &[zoe]),
        ("caf", &[zoe]),
        ("afe", &[]),
        ("zoë cafe", &[zoe]),
        ("cafe zebra", &[]),
        ("z", &[zoe, zebra]),
        ("jurgen", &[zoe]),
        ("Jürgen", &[zoe]),
        ("coffee spec", &[zoe]),
        ("北京", &[zoe]),
        ("烤鸭", &[zoe]),
        ("鸭", &[zoe]),
        ("北鸭", &[]),
        ("Ｃａｆｅ\u{301}", &[zoe]),
        ("vip", &[zoe, zebra]),
        ("vip print", &[zebra]),
        ("mitte", &[zoe]),
        ("info@cafe-zoe.example", &[zoe]),
        ("zebra.example", &[zebra]),
        ("example", &[zoe, zebra]),
        ("hello", &[zebra]),
        ("o'brien", &[publican]),
        ("brien", &[publican]),
        ("100", &[publican]),
        ("100%", &[publican]),
        ("and", &[zoe]),
        ("the", &[]),
        ("vip vip VIP", &[zoe, zebra]),
        ("nobody", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&tenant.list_all(of(query)).await), expected, "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_are_no_words_and_no_operators() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    let signs = [
        "%",
        "_",
        "\\",
        "'",
        "\"",
        "*",
        "' OR 1=1 --",
        " ",
        "& | ! ( ) <-> :*",
        "\\'",
        "😀",
        "$9",
        "\u{200b}",
    ];
    for query in signs {
        assert_eq!(names(&tenant.list_all(of(query)).await), [""; 0], "{query:?}");
    }
    for query in ["cafe & nobody", "cafe | nobody", "!nobody", "caf:* nobody", "cafe <-> nobody"] {
        assert_eq!(names(&tenant.list_all(of(query)).await), [""; 0], "{query:?}");
    }
    assert_eq!(names(&tenant.list_all(of("cafe & zoe")).await), ["Café Zoë"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_256_characters_at_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    three(&tenant).await;
    for query in ["x ".repeat(128), "'".repeat(256), "鸡".repeat(256), "x".repeat(256)] {
        assert_eq!(tenant.list_all(of(&query)).await, [], "{query:?}");
    }
    for query in ["x".repeat(257), "x ".repeat(5 * 1024)] {
        tenant.list(of(&query)).await.expect_err("too long").is_invalid(&["query"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_customer_is_found_by_its_new_words_only() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Café Zoë").await;
    let change =
        Customer { business_name: "Bistro Ana".to_owned(), tags: vec!["new".to_owned()], ..zoe.clone() };
    tenant.update(change, &["business_name", "tags"]).await.expect("updated");
    assert_eq!(tenant.list_all(of("zoe")).await, []);
    for query in ["ana", "bistro", "new"] {
        assert_eq!(names(&tenant.list_all(of(query)).await), ["Bistro Ana"], "{query}");
    }
    tenant.delete(&zoe.id).await.expect("deleted");
    assert_eq!(tenant.list_all(of("ana")).await, []);
    let shown = ListCustomersRequest { show_deleted: true, ..of("ana") };
    assert_eq!(names(&tenant.list_all(shown).await), ["Bistro Ana"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_as_people_write_them() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for (name, queries) in [
        ("Łódź Straße", ["lodz", "LODZ STRASSE", "łódź", "STRAẞE"].as_slice()),
        ("Ørsted & Æther", &["orsted", "ØRSTED", "aether", "Æ"]),
        ("Đặng Văn Œuvre", &["dang van", "oeuvre", "đặng"]),
        ("ΟΔΥΣΣΕΎΣ", &["οδυσσεύς", "οδυσσευσ"]),
        ("O’Neill–Smith", &["o'neill", "O´NEILL", "neill-smith"]),
        ("Zoe\u{308}s ﬁne Ｂａｒ", &["zoës", "fine", "bar"]),
        ("がっこう食堂", &["がっこう", "食堂", "堂"]),
        ("ร้านกาแฟดอยช้าง", &["กาแฟ", "ดอยช้าง"]),
        ("한빛배송센터", &["배송", "한빛"]),
        ("مكتبة مُحَمَّد", &["محمد", "مكتبه"]),
        ("İstanbul Kırtasiye", &["istanbul", "KIRTASİYE", "kirtasiye"]),
    ] {
        tenant.customer(name).await;
        for query in queries {
            assert_eq!(names(&tenant.list_all(of(query)).await), [name], "{query}");
        }
    }
    assert_eq!(tenant.list_all(of("かっこう")).await, [], "that is another word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_found_by_any_of_its_forms() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let with = |name: &str, phone: &str, country_code: &str| Customer {
        phone: phone.to_owned(),
        country_code: country_code.to_owned(),
        ..named(name)
    };
    for request in [
        with("Berlin", "+49 30 9018-2017 ext. 89", ""),
        with("Unplaced", "030 90182018", ""),
        with("Two", "030 90182019 / 0171 2345678", "DE"),
        with("Emergency", "112", "DE"),
        with("Year 90182", "", ""),
    ] {
        tenant.create(request).await.expect("a customer");
    }
    for (query, expected) in [
        ("+49 30 9018-2017", ["Berlin"].as_slice()),
        ("9018-2017", &["Berlin"]),
        ("00493090182017", &["Berlin"]),
        ("030/9018 2017", &["Berlin"]),
        ("+49 30 9018-2017 ext. 89", &["Berlin"]),
        ("tel:+49-30-90182017", &["Berlin"]),
        ("berlin 90182017", &["Berlin"]),
        ("two 90182017", &[]),
        ("+49 30 90182018", &["Unplaced"]),
        ("+49 171 2345678", &["Two"]),
        ("0171 2345678", &["Two"]),
        ("030 9018", &["Berlin", "Two", "Unplaced"]),
        ("90182", &["Year 90182"]),
        ("+43 30 90182017", &[]),
    ] {
        assert_eq!(names(&tenant.list_all(of(query)).await), expected, "{query}");
    }
    let exactly = |phone: &str| ListCustomersRequest { phone: phone.to_owned(), ..of("") };
    for (phone, expected) in [
        ("0049 30 90182017", ["Berlin"].as_slice()),
        ("030 9018-2017", &["Berlin"]),
        ("+49 (0)30 90182018", &["Unplaced"]),
        ("0171 2345678", &["Two"]),
        ("030 90182019; 0171 2345678", &["Two"]),
        ("112", &["Emergency"]),
        ("90182017", &[]),
        ("+49 30 9018", &[]),
    ] {
        assert_eq!(names(&tenant.list_all(exactly(phone)).await), expected, "{phone}");
    }
    tenant.list(exactly("none")).await.expect_err("no number").is_invalid(&["phone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_address_finds_itself_and_no_other() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let with = |name: &str, email: &str| Customer { email: email.to_owned(), ..named(name) };
    for request in [
        with("Firma", "Info@Firma.de"),
        with("Dentist", "info@firma.dental"),
        with("Jürgen", "jürgen@müller.example"),
        with("Other", "jurgen@muller.example"),
    ] {
        tenant.create(request).await.expect("a customer");
    }
    for (query, expected) in [
        ("info@firma.de", ["Firma"].as_slice()),
        ("<INFO@FIRMA.DE>", &["Firma"]),
        ("@firma.de", &["Firma"]),
        ("info@firma.den", &[]),
        ("info@firma", &["Dentist", "Firma"]),
        ("firma.de", &["Dentist", "Firma"]),
        ("dentist info@firma.de", &[]),
        ("JÜRGEN@xn--mller-kva.example", &["Jürgen"]),
        ("jurgen", &["Jürgen", "Other"]),
    ] {
        assert_eq!(names(&tenant.list_all(of(query)).await), expected, "{query}");
    }
    let exactly = |email: &str| ListCustomersRequest { email: email.to_owned(), ..of("") };
    for (email, expected) in [
        ("INFO@firma.de", ["Firma"].as_slice()),
        ("jürgen@müller.example", &["Jürgen"]),
        ("jurgen@muller.example", &["Other"]),
        ("info@firma", &[]),
    ] {
        assert_eq!(names(&tenant.list_all(exactly(email)).await), expected, "{email}");
    }
    tenant.list(exactly("firma.de")).await.expect_err("no address").is_invalid(&["email"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_earlier_version_are_found_once_the_service_has_started() {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let tenant = crm.tenant();
    let request =
        Customer { phone: "030 9018-2017".to_owned(), country_code: "DE".to_owned(), ..named("Łódź") };
    let zoe = tenant.create(request).await.expect("a customer");
    tenant.faq(&zoe.id, "Wo ist die Straße?", "In Łódź.").await;
    let request = Conversation { customer_id: zoe.id.clone(), ..Default::default() };
    let talk = tenant.open(request).await.expect("a conversation");
    let (conversation_id, begun) = (talk.id, talk.start_time.expect("a start"));
    let topics = vec!["Größe".to_owned()];
    tenant
        .analyse(ConversationAnalysis { conversation_id, topics, ..Default::default() })
        .await
        .expect("an analysis");
    let waiting = "SELECT count(*) FROM reindexing";
    assert_eq!(sql.number(waiting).await, 0, "there is nothing to do in a new database");
    sql.run(
        "UPDATE customers SET search_vector = '', sort_name = 'łódź', phone_e164 = '';
         UPDATE customer_faqs SET normalized_question = 'wo ist die strasse!';
         DELETE FROM customer_faq_terms;
         UPDATE conversations SET latest_analysis = latest_analysis - 'topic_keys' - 'question_keys';
         INSERT INTO reindexing SELECT DISTINCT tenant_id FROM customers",
    )
    .await;
    let by_topic = ListConversationsRequest {
        topic: "GROSSE".to_owned(),
        start_time_from: Some(begun),
        start_time_until: Some(prost_types::Timestamp { seconds: begun.seconds + 1, ..begun }),
        ..Default::default()
    };
    assert_eq!(tenant.list_all(of("lodz")).await, []);
    assert_eq!(tenant.all_conversations(by_topic.clone()).await.len(), 0);
    let mut replica = crm.replica().await;
    eventually("the rows are made anew", async || sql.number(waiting).await == 0).await;
    let found = tenant.list_all(of("lodz 90182017")).await;
    assert_eq!(found, std::slice::from_ref(&zoe), "with the number that can be dialled, and no other etag");
    let faqs = tenant.search_faqs(query(&zoe.id, "wo ist die strasse")).await.expect("found");
    assert!((faqs[0].score - 1.0).abs() < f64::EPSILON && faqs.len() == 1);
    assert_eq!(tenant.all_conversations(by_topic).await.len(), 1);
    replica.shut_down().await.expect("a clean end");
}
