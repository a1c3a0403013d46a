//! The list that gave a page token accepts it, for every row at which a page may end.

use crm_backend::pb::{Campaign, CampaignEventKind, ContactChannel, Conversation, Customer};
use prost_reflect::{FieldDescriptor, MethodDescriptor, Value};

use crate::support::campaigns::{event, event_at, planned};
use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::engagement::{back, bought, viewed};
use crate::support::faqs::asked;
use crate::support::raw::{CONTRACT, call, rpcs};
use crate::support::samples::{About, analysis, whole_list};
use crate::support::{Crm, Tenant};

/// The maximum length of a token.
const LIMIT: usize = 1_024;

/// Names whose folded forms are as long as possible, take the most room as JSON, or are cut within a character.
fn names() -> [String; 5] {
    let long = |character: char| String::from(character).repeat(256);
    [
        long('\u{fdfa}'),
        long('"'),
        long('\u{337f}'),
        long('\u{1f600}'),
        format!("a{}", long('\u{4e2d}').split_at(255 * 3).0),
    ]
}

/// Creates several rows for every list, with values of maximum size and distance.
async fn extremes(tenant: &Tenant) -> About {
    let mut customers = Vec::new();
    for name in names() {
        let request = Customer { business_name: name, ..Default::default() };
        customers.push(tenant.create(request).await.expect("a customer").id);
        // A name with the same folding comes before or after it by its id.
        customers.push(tenant.create(named(&names()[0])).await.expect("a customer").id);
    }
    let customer = customers[0].clone();
    let channel = ContactChannel::Email.into();
    let request = Campaign { channel, ..planned(&"\u{1f600}".repeat(100)) };
    let campaign = tenant.plan(request).await.expect("a campaign").id;
    let ids: Vec<&str> = customers.iter().map(String::as_str).collect();
    tenant.assign(&campaign, &ids).await.expect("assigned");
    let mut conversation = String::new();
    for (index, time) in
        ["1970-01-01T00:00:00.000001Z", "2001-09-09T01:46:40.999999Z", "2020-01-01T00:00:00Z"]
            .into_iter()
            .enumerate()
    {
        let time = crate::support::campaigns::at(time);
        let request = Conversation {
            customer_id: customer.clone(),
            session_id: format!("{}{index}", "\u{1f600}".repeat(120)),
            start_time: Some(prost_types::Timestamp { seconds: time.seconds.max(1), ..time }),
            ..Default::default()
        };
        conversation = tenant.open(request).await.expect("a conversation").id;
        let key = format!("{}{index}", "\u{1f600}".repeat(120));
        tenant.question(&customer, &key).await;
        tenant.faq(&customer, &key, &key).await;
        tenant.campaign(&key[..100 * 4]).await;
        let mut event = event_at(&key, &customer, CampaignEventKind::Sent, "2020-01-01T00:00:00Z");
        event.occur_time = Some(prost_types::Timestamp { seconds: 1, nanos: 999_999_999 });
        tenant.record(&campaign, &[event]).await.expect("recorded");
        tenant.show(&customer, &[viewed(&key, &"\u{fdfa}".repeat(100), 1)]).await;
        tenant.buy(bought(&customer, 1)).await.expect("bought");
    }
    for customer in &customers[1..4] {
        let said = event(customer, customer, CampaignEventKind::OptedOut);
        tenant.record(&campaign, &[said]).await.expect("recorded");
    }
    for key in ["a", "b", "c"] {
        tenant.add(&conversation, message(key, "Hello")).await.expect("added");
        tenant.analyse(analysis(&conversation)).await.expect("recorded");
    }
    let purchase = tenant.buy(bought(&customer, 9)).await.expect("bought");
    for _ in 0..3 {
        tenant.refund(back(&purchase, Some(1))).await.expect("refunded");
    }
    let mut faq = String::new();
    for _ in 0..3 {
        faq = tenant.observe(asked(&customer, "Open?", "Yes.")).await.expect("observed").0.id;
    }
    About { customer, conversation, campaign, faq, purchase: purchase.id, ..About::nothing() }
}

/// Returns the orders that a list accepts.
fn orders(rpc: &MethodDescriptor) -> Vec<String> {
    let Some(field) = rpc.input().get_field_by_name("order_by") else { return vec![String::new()] };
    let text = rule(&field);
    let text = text.as_message().expect("rules");
    let orders = text.get_field_by_name("in").expect("a list").into_owned();
    let orders =
        orders.as_list().expect("a list").iter().map(|order| order.as_str().expect("text").to_owned());
    let orders: Vec<_> = orders.collect();
    assert!(orders.len() > 1, "{}", rpc.name());
    orders
}

/// Returns the rules of a text field in the contract.
fn rule(field: &FieldDescriptor) -> Value {
    let rules = CONTRACT.get_extension_by_name("buf.validate.field").expect("the rules");
    let options = field.options();
    let rules = options.get_extension(&rules);
    rules.as_message().expect("rules").get_field_by_name("string").expect("of a text").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_takes_its_own_tokens_in_every_order() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = extremes(&tenant).await;
    let lists: Vec<_> =
        rpcs().into_iter().filter(|rpc| rpc.input().get_field_by_name("page_token").is_some()).collect();
    assert!(lists.len() >= 12, "the contract has lists");
    for rpc in lists {
        let token = rpc.input().get_field_by_name("page_token").expect("a token");
        let limit = rule(&token);
        let limit =
            limit.as_message().expect("rules").get_field_by_name("max_len").expect("a limit").into_owned();
        assert_eq!(limit, Value::U64(LIMIT as u64), "{}", rpc.name());
        for order in orders(&rpc) {
            let mut request = whole_list(&rpc, &about);
            request.set_field_by_name("page_size", Value::I32(1));
            if !order.is_empty() {
                request.set_field_by_name("order_by", Value::String(order.clone()));
            }
            let mut pages = 0;
            loop {
                let answer = call(&tenant, &request, &rpc).await;
                let answer = answer.unwrap_or_else(|error| panic!("{} by {order}: {error:?}", rpc.name()));
                pages += 1;
                let next = answer.get_field_by_name("next_page_token").expect("a token").into_owned();
                let length = next.as_str().expect("text").len();
                assert!(length <= LIMIT, "{} by {order}: a token of {length}", rpc.name());
                if length == 0 {
                    break;
                }
                request.set_field_by_name("page_token", next);
            }
            assert!(pages > 2, "{} by {order}: {pages} pages", rpc.name());
        }
    }
}
