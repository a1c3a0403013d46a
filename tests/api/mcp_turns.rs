//! What agents do with the tools: turns with customers, and calls that are repeated.

use crm_backend::pb;
use serde_json::json;

use crate::support::mcp::id_after;
use crate::support::questions::about;
use crate::support::{Crm, at_once, faqs};

/// The tokens of a text, as agents count them.
fn tokens(text: &str) -> usize {
    tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_a_whole_turn_with_a_customer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);

    let saved = agent
        .told("save_customer", json!({"business_name": "Café Zoë", "status": "lead", "add_tags": ["vip"]}))
        .await;
    assert!(saved.contains("`cafe-zoe`: Café Zoë · lead · tags: vip"), "{saved}");
    let id = id_after("Id:", &saved);
    tenant.create_question(about(&id, "email")).await.expect("a question");
    tenant.faq(&id, "When do you open?", "At nine.").await;

    let found = agent.told("find_customers", json!({"query": "zoe"})).await;
    assert_eq!(found, "- `cafe-zoe`: Café Zoë · lead · tags: vip");
    let started = agent.told("start_conversation", json!({"customer": "cafe-zoe", "channel": "web"})).await;
    let conversation = id_after("Conversation", &started);
    let context = agent.told("get_customer_context", json!({"customer": "cafe-zoe"})).await;
    assert!(
        context.contains("Café Zoë") && context.contains(&format!("Conversation: {conversation}")),
        "{context}"
    );
    let question = id_after("Q1 is", &context);

    let next = agent.told("next_questions", json!({"customer": "cafe-zoe"})).await;
    assert!(next.contains("What is your email?") && next.contains(&question), "{next}");
    let user = json!({"conversation_id": conversation, "role": "user", "text": "When do you open?"});
    assert!(agent.told("add_message", user).await.starts_with("Added as message 1 "));
    let faqs = agent.told("search_faqs", json!({"customer": &id, "query": "When do you open?"})).await;
    assert!(faqs.starts_with("**When do you open?**\n> At nine."), "{faqs}");
    let reply = json!({"conversation_id": conversation, "role": "assistant", "author": "Ada",
                       "text": "At nine. What is your e-mail?", "asks": [question]});
    assert!(agent.told("add_message", reply).await.starts_with("Added as message 2 "));
    let asked = tenant.read_question(&question).await.expect("the question");
    assert_eq!(asked.status(), pb::PendingQuestionStatus::Asked);

    let answer = json!({"question_id": question, "answer": "zoe@example.com",
                        "conversation_id": conversation, "write_to_customer": true});
    let recorded = agent.told("record_answer", answer).await;
    assert_eq!(recorded, "The answer is recorded. The customer's email has it.");
    assert_eq!(tenant.get(&id).await.expect("the customer").email, "zoe@example.com");
    let asked = json!({"customer": "cafe-zoe", "question": "Do you have WiFi?", "answer": "Yes.",
                       "conversation_id": conversation});
    assert!(agent.told("record_faq", asked).await.starts_with("Recorded: it was asked 1 time."));

    let read = agent.told("read_conversation", json!({"conversation_id": conversation})).await;
    let places = ["open, web", "**#1 user**", "When do you open?", "**#2 assistant (Ada)**"]
        .map(|part| read.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{read}");
    let end = json!({"conversation_id": conversation, "outcome": "information_given", "notes": "All said.",
                     "summary": "Zoë asked when we open.", "topics": ["opening hours"],
                     "follow_up": "Send the menu", "follow_up_due": "2036-12-24T09:00:00Z"});
    let ended = agent.told("end_conversation", end).await;
    assert!(
        ended.contains("outcome information_given") && ended.contains("Its summary is recorded."),
        "{ended}"
    );
    let stored = tenant.read(&conversation).await.expect("the conversation");
    assert_eq!(stored.status(), pb::ConversationStatus::Ended);
    assert_eq!(stored.latest_analysis.expect("an analysis").summary, "Zoë asked when we open.");
    assert_eq!(stored.follow_up.expect("a follow-up").notes, "Send the menu");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_repeated_is_added_once_and_one_that_is_said_again_twice() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);
    let id = tenant.conversation().await.id;
    let said = |role: &str, text: &str| json!({"conversation_id": id, "role": role, "text": text});
    for (role, text, answer) in [
        ("user", "yes", "Added as message 1 "),
        ("user", "yes", "Nothing was added: it is message 1 "),
        ("assistant", "Really?", "Added as message 2 "),
        ("user", "yes", "Added as message 3 "),
        ("user", "yes", "Nothing was added: it is message 3 "),
        ("assistant", "yes", "Added as message 4 "),
    ] {
        let told = agent.told("add_message", said(role, text)).await;
        assert!(told.starts_with(answer), "{role} {text}: {told}");
    }
    let mut keyed = said("user", "yes");
    for (key, answer) in [
        ("a", "Added as message 5 "),
        ("b", "Added as message 6 "),
        ("a", "Nothing was added: it is message 5 "),
    ] {
        keyed["key"] = key.into();
        let told = agent.told("add_message", keyed.clone()).await;
        assert!(told.starts_with(answer), "{key}: {told}");
    }
    keyed["text"] = "no".into();
    let trouble = agent.trouble("add_message", keyed).await;
    assert!(trouble.contains("IDEMPOTENCY_KEY_REUSED") && trouble.contains("use another key"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_many_times_at_once_is_added_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.conversation().await.id;
    let calls = (0..8).map(|_| {
        let (agent, id) = (crm.agent(&tenant), id.clone());
        async move {
            agent.told("add_message", json!({"conversation_id": id, "role": "user", "text": "hello"})).await
        }
    });
    let told = at_once(calls).await;
    assert_eq!(told.iter().filter(|told| told.starts_with("Added")).count(), 1, "{told:?}");
    assert_eq!(tenant.messages(&id, 50).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_repeated_changes_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);
    let create = || json!({"business_name": "Café Zoë", "phone": "030 901820"});
    let one = agent.told("save_customer", create()).await;
    assert_eq!(agent.told("save_customer", create()).await, one);
    let id = id_after("Id:", &one);
    assert_eq!(tenant.list_all(Default::default()).await.len(), 1);

    let start = || json!({"customer": "cafe-zoe", "channel": "email"});
    let conversation = id_after("Conversation", &agent.told("start_conversation", start()).await);
    let again = agent.told("start_conversation", start()).await;
    assert!(again.contains("was open already") && again.contains(&conversation), "{again}");
    let other =
        agent.told("start_conversation", json!({"customer": "cafe-zoe", "session_id": "other"})).await;
    assert_ne!(id_after("Conversation", &other), conversation);

    let faq = || json!({"customer": "cafe-zoe", "question": "Open?", "conversation_id": conversation});
    assert!(agent.told("record_faq", faq()).await.starts_with("Recorded: it was asked 1 time."));
    agent.told("record_faq", faq()).await;
    let known = tenant.all_faqs(pb::ListCustomerFaqsRequest::default()).await;
    assert_eq!(known.iter().map(|faq| faq.observation_count).collect::<Vec<_>>(), [1]);
    let used = agent.told("record_faq", json!({"customer": "cafe-zoe", "used_faq_id": known[0].id})).await;
    assert!(used.starts_with("Recorded: the FAQ was used 1 time."), "{used}");

    let end = || json!({"conversation_id": conversation, "outcome": "resolved", "summary": "Done."});
    agent.told("end_conversation", end()).await;
    assert!(agent.told("end_conversation", end()).await.starts_with("The conversation has ended already"));
    assert_eq!(tenant.read(&conversation).await.expect("it").latest_analysis.expect("one").version, 1);
    let anew = agent.told("start_conversation", start()).await;
    assert_ne!(id_after("Conversation", &anew), conversation, "an ended one is not gone on with");

    let change = |city: &str| json!({"customer": &id, "city": city, "add_tags": ["a"]});
    for city in ["Berlin", "Hamburg", "Berlin"] {
        let told = agent.told("save_customer", change(city)).await;
        assert!(told.contains(city) && told.contains("tags: a"), "a value may be set again: {told}");
    }
    assert!(!agent.told("save_customer", json!({"customer": &id, "city": ""})).await.contains("Berlin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_keeps_its_budget_and_says_how_to_read_on() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);
    let customer = tenant.customer("Café Zoë").await;
    for number in 0..40 {
        let question =
            faqs::question(&customer.id, &format!("Question {number} about opening?"), &"word ".repeat(80));
        tenant.create_faq(question).await.expect("a FAQ");
        agent
            .told("save_customer", json!({"business_name": format!("Customer {number} of the long list")}))
            .await;
    }
    let conversation = tenant.talk_of(&customer.id).await;
    for number in 0..40 {
        let said = json!({"conversation_id": conversation, "role": "user", "text": format!("{number} {}", "word ".repeat(50))});
        agent.told("add_message", said).await;
    }
    for (tool, mut arguments) in [
        ("find_customers", json!({})),
        ("get_customer_context", json!({"customer": "cafe-zoe", "query": "opening"})),
        ("read_conversation", json!({"conversation_id": conversation})),
        ("search_faqs", json!({"customer": "cafe-zoe", "query": "opening"})),
        ("next_questions", json!({"customer": "cafe-zoe"})),
    ] {
        for budget in [500, 1_000] {
            arguments["max_tokens"] = budget.into();
            let told = agent.told(tool, arguments.clone()).await;
            assert!(tokens(&told) <= budget, "{tool}: {} of {budget}", tokens(&told));
        }
    }

    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut arguments = json!({"max_tokens": 500});
    loop {
        let page = agent.told("find_customers", arguments.clone()).await;
        seen.extend(page.lines().filter(|line| line.starts_with("- ")).map(str::to_owned));
        pages += 1;
        let Some((_, cursor)) = page.split_once("cursor ") else { break };
        arguments["cursor"] = cursor.into();
    }
    assert_eq!(seen.len(), 41, "each once: {seen:?}");
    seen.dedup();
    assert!(seen.len() == 41 && pages > 2, "{pages}");

    let (mut numbers, mut arguments) =
        (Vec::new(), json!({"conversation_id": conversation, "max_tokens": 700}));
    loop {
        let page = agent.told("read_conversation", arguments.clone()).await;
        let mut here: Vec<u32> = page
            .split("**#")
            .skip(1)
            .map(|part| part.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
            .collect();
        here.extend(numbers);
        numbers = here;
        let Some((_, before)) = page.split_once("before=") else { break };
        arguments["before"] = before.trim_end_matches('.').parse::<u32>().expect("a number").into();
    }
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
}
