//! What agents are told when a tool does not do it, and that tenants are apart.

use crm_backend::pb::AccessScope;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::credentials::with_keys;
use crate::support::mcp::Agent;
use crate::support::{Crm, Tenant};

/// A call of each tool that is about this tenant's things.
async fn calls_about(tenant: &Tenant) -> Vec<(&'static str, Value)> {
    let customer = tenant.customer("Café Zoë").await;
    let conversation = tenant.talk_of(&customer.id).await;
    let question = tenant.question(&customer.id, "How many seats?").await.id;
    let (slug, customer) = (customer.slug, customer.id);
    vec![
        ("get_customer_context", json!({"customer": customer})),
        ("get_customer_context", json!({"customer": slug})),
        ("read_conversation", json!({"conversation_id": conversation})),
        ("search_faqs", json!({"customer": customer, "query": "open"})),
        ("next_questions", json!({"customer": customer})),
        ("save_customer", json!({"customer": customer, "city": "Berlin"})),
        ("save_customer", json!({"customer": slug, "add_tags": ["a"]})),
        ("start_conversation", json!({"customer": customer})),
        ("add_message", json!({"conversation_id": conversation, "role": "user", "text": "hello"})),
        (
            "add_message",
            json!({"conversation_id": conversation, "role": "user", "text": "hello", "key": "k"}),
        ),
        ("record_answer", json!({"question_id": question, "answer": "ten"})),
        ("record_answer", json!({"question_id": question, "declined": true})),
        ("record_faq", json!({"customer": customer, "question": "Open?"})),
        ("end_conversation", json!({"conversation_id": conversation})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_tenant_has_is_not_found() {
    let crm = Crm::start().await;
    let calls = calls_about(&crm.tenant()).await;
    let stranger = crm.agent(&crm.tenant());
    for (tool, arguments) in calls {
        let trouble = stranger.trouble(tool, arguments.clone()).await;
        assert!(trouble.contains("_NOT_FOUND)"), "{tool} {arguments}: {trouble}");
    }
    assert!(stranger.told("find_customers", json!({})).await.starts_with("No customer was found."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_and_may_call_the_tools_of_its_scopes() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, all) = crm.key(&tenant, [AccessScope::Read, AccessScope::Write], None).await;
    let calls = calls_about(&tenant.with(&all)).await;
    let reading =
        ["find_customers", "get_customer_context", "read_conversation", "search_faqs", "next_questions"];
    let (_, read) = crm.key(&tenant, [AccessScope::Read], None).await;
    let (_, write) = crm.key(&tenant, [AccessScope::Write], None).await;
    let (reader, writer) = (crm.agent_by(&tenant, &read), crm.agent_by(&tenant, &write));
    assert_eq!(reader.tools().await, reading);
    assert_eq!(writer.tools().await.len(), 6);
    assert_eq!(crm.agent_by(&tenant, &all).tools().await.len(), 11);
    for (tool, arguments) in calls {
        if reading.contains(&tool) {
            reader.told(tool, arguments).await;
        } else {
            let trouble = reader.trouble(tool, arguments).await;
            assert!(trouble.contains("SCOPE_NOT_GRANTED"), "{tool}: {trouble}");
        }
    }
    let elsewhere = crm.agent_by(&crm.tenant(), &read);
    let trouble = elsewhere.trouble("find_customers", json!({})).await;
    assert!(trouble.contains("TENANT_NOT_GRANTED"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_only_write_adds_messages_with_keys_of_its_own() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, all) = crm.key(&tenant, [AccessScope::Read, AccessScope::Write], None).await;
    let tenant = tenant.with(&all);
    let id = tenant.conversation().await.id;
    let (_, write) = crm.key(&tenant, [AccessScope::Write], None).await;
    let writer = crm.agent_by(&tenant, &write);
    let mut said = json!({"conversation_id": id, "role": "user", "text": "hello"});
    let trouble = writer.trouble("add_message", said.clone()).await;
    assert!(trouble.contains("a key of your own"), "{trouble}");
    said["key"] = "one".into();
    assert!(writer.told("add_message", said.clone()).await.starts_with("Added as message 1 "));
    assert!(writer.told("add_message", said).await.starts_with("Nothing was added: it is message 1 "));
}

/// The error of a tool has these parts.
async fn fails(agent: &Agent, tool: &'static str, arguments: Value, parts: &[&str]) {
    let trouble = agent.trouble(tool, arguments).await;
    for part in parts {
        assert!(trouble.contains(part), "{tool}: {part:?} is not in: {trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do_instead() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);
    let customer = tenant.customer("Café Zoë").await.id;
    let nobody = Uuid::new_v4();
    let context = "get_customer_context";
    fails(&agent, context, json!({"customer": nobody}), &["CUSTOMER_NOT_FOUND", "find_customers"]).await;
    fails(&agent, context, json!({"customer": "no-such"}), &["CUSTOMER_NOT_FOUND", "find_customers"]).await;
    fails(&agent, context, json!({"custmer": "a"}), &["did you mean customer?", "customer is missing"]).await;
    fails(&agent, context, json!({"customer": customer, "max_tokens": 20_001}), &["from 500 to 20000"]).await;
    fails(&agent, "save_customer", json!({}), &["business_name, an email or a phone"]).await;
    fails(&agent, "save_customer", json!({"customer": customer}), &["no field was given"]).await;
    let wrong = json!({"business_name": "a", "email": "b", "country_code": "germany"});
    fails(&agent, "save_customer", wrong, &["FIELD_INVALID", "customer.email", "customer.country_code"])
        .await;
    let no_uuid = json!({"conversation_id": "nonsense"});
    fails(&agent, "read_conversation", no_uuid, &["FIELD_INVALID"]).await;
    fails(&agent, "record_answer", json!({"question_id": nobody}), &["declined: true"]).await;
    let answer = json!({"question_id": nobody, "answer": "a"});
    fails(&agent, "record_answer", answer, &["PENDING_QUESTION_NOT_FOUND", "next_questions"]).await;
    fails(&agent, "record_faq", json!({"customer": customer}), &["used_faq_id"]).await;
    fails(&agent, "find_customers", json!({"cursor": "abc"}), &["PAGE_TOKEN_INVALID", "Leave cursor out"])
        .await;
    let conversation = tenant.talk_of(&customer).await;
    let due = json!({"conversation_id": conversation, "follow_up_due": "tomorrow"});
    fails(&agent, "end_conversation", due, &["2026-12-24T09:00:00Z"]).await;
    tenant.finish(&conversation).await;
    let late = json!({"conversation_id": conversation, "role": "user", "text": "hello"});
    fails(&agent, "add_message", late, &["CONVERSATION_ENDED", "start_conversation"]).await;
    let answered = agent.ask("tools/call", json!({"name": "find_customer", "arguments": {}})).await;
    assert!(answered.error().contains("did you mean find_customers?"), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_tenant_is_told_to_name_one() {
    let crm = Crm::start().await;
    let agent = crm.agent_with(&[]);
    fails(&agent, "find_customers", json!({}), &["x-tenant-id", "TENANT_REQUIRED"]).await;
    assert_eq!(agent.tools().await.len(), 11, "the list is the same for all tenants");
}
