//! Tests of how a path is found.

use super::*;

/// Returns the name of the RPC that is found, and the values of its path.
fn found(verb: Verb, path: &str) -> (&'static str, Vec<(&'static str, String)>) {
    match find(verb, path) {
        Match::Found(Found { route, fields }) => {
            assert_eq!(route.verb, verb);
            (route.rpc.rsplit('/').next().expect("a name"), fields)
        }
        other => panic!("{path}: {other:?}"),
    }
}

#[track_caller]
fn is(verb: Verb, path: &str, rpc: &str, fields: &[(&'static str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    assert_eq!(found(verb, path), (rpc, fields), "{path}");
}

#[test]
fn the_routes_of_the_former_system_are_there() {
    use Verb::{Delete, Get, Patch, Post, Put};
    is(Get, "/api/v1/customers", "ListCustomers", &[]);
    is(Post, "/api/v1/customers", "CreateCustomer", &[]);
    is(Get, "/api/v1/customers/7", "GetCustomer", &[("id", "7")]);
    is(Put, "/api/v1/customers/7", "UpdateCustomer", &[("customer.id", "7")]);
    is(Patch, "/api/v1/customers/7", "UpdateCustomer", &[("customer.id", "7")]);
    is(Delete, "/api/v1/customers/7", "DeleteCustomer", &[("id", "7")]);
    is(Get, "/api/v1/customers/slug/zoe", "GetCustomerBySlug", &[("slug", "zoe")]);
    for verb in [Put, Patch] {
        let path = "/api/v1/customers/7/business-context";
        is(verb, path, "UpdateBusinessContext", &[("customer_id", "7")]);
    }
    is(Get, "/api/v1/customers/7/ai-context", "GetAiContext", &[("customer_id", "7")]);
    is(Get, "/api/v1/conversations", "ListConversations", &[]);
    is(Post, "/api/v1/conversations", "CreateConversation", &[]);
    is(Get, "/api/v1/conversations/7", "GetConversation", &[("id", "7")]);
    is(Put, "/api/v1/conversations/7", "UpdateConversation", &[("conversation.id", "7")]);
    is(Patch, "/api/v1/conversations/7", "UpdateConversation", &[("conversation.id", "7")]);
    is(Post, "/api/v1/conversations/7/end", "EndConversation", &[("id", "7")]);
    is(Get, "/api/v1/conversations/7/messages", "ListMessages", &[("conversation_id", "7")]);
    is(Post, "/api/v1/conversations/7/messages", "CreateMessage", &[("conversation_id", "7")]);
}

#[test]
fn streams_have_a_route() {
    is(Verb::Get, "/api/v1/conversations/7/events", "WatchConversation", &[("conversation_id", "7")]);
    is(Verb::Post, "/api/v1/messages:stream", "AddMessage", &[]);
    is(Verb::Post, "/api/v1/conversations/7/messages:stream", "AddMessage", &[("conversation_id", "7")]);
    let streaming = |verb, path| match find(verb, path) {
        Match::Found(found) => found.route.streaming,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(streaming(Verb::Get, "/api/v1/conversations/7/events"), Streaming::Server);
    assert_eq!(streaming(Verb::Post, "/api/v1/messages:stream"), Streaming::Bidi);
    assert_eq!(streaming(Verb::Get, "/api/v1/customers"), Streaming::Unary);
}

#[test]
fn a_literal_wins_over_a_field() {
    is(Verb::Get, "/api/v1/customers/slug/ai-context", "GetCustomerBySlug", &[("slug", "ai-context")]);
    is(Verb::Post, "/api/v1/customers/slug/ai-context", "GetAiContext", &[("customer_id", "slug")]);
}

#[test]
fn a_suffix_belongs_to_the_path() {
    is(Verb::Post, "/api/v1/customers/7:undelete", "UndeleteCustomer", &[("id", "7")]);
    is(Verb::Post, "/api/v1/conversations:search", "ListConversations", &[]);
    is(Verb::Get, "/api/v1/customers/a:b", "GetCustomer", &[("id", "a:b")]);
    is(Verb::Get, "/api/v1/customers/7%3Aundelete", "GetCustomer", &[("id", "7:undelete")]);
    assert_eq!(find(Verb::Get, "/api/v1/customers/7:undelete"), Match::WrongVerb(vec![Verb::Post]));
    is(Verb::Get, "/api/v1/customers/:undelete", "GetCustomer", &[("id", ":undelete")]);
}

#[test]
fn values_are_decoded() {
    is(Verb::Get, "/api/v1/customers/slug/caf%C3%A9%2Fbar", "GetCustomerBySlug", &[("slug", "café/bar")]);
    is(Verb::Get, "/api/v1/customers/slug/a+b", "GetCustomerBySlug", &[("slug", "a+b")]);
    is(Verb::Get, "/api/v1/customers/slug/100%", "GetCustomerBySlug", &[("slug", "100%")]);
    assert_eq!(find(Verb::Get, "/api/v1/customers/slug/%FF"), Match::NotUtf8("slug"));
}

#[test]
fn another_verb_is_told_the_verbs_of_the_path() {
    let verbs = [Verb::Get, Verb::Put, Verb::Delete, Verb::Patch];
    assert_eq!(find(Verb::Post, "/api/v1/customers/7"), Match::WrongVerb(verbs.to_vec()));
    assert_eq!(find(Verb::Delete, "/api/v1/customers"), Match::WrongVerb(vec![Verb::Get, Verb::Post]));
}

#[test]
fn a_path_that_is_none_is_not_found() {
    for path in [
        "",
        "/",
        "*",
        "api/v1/customers",
        "/api/v1",
        "/api/v1/customer",
        "/api/v1/customers/",
        "//api/v1/customers",
        "/api/v1/Customers",
        "/api/v1/customers//ai-context",
        "/api/v1/customers/7/ai-context/8/9/10/11/12/13",
    ] {
        assert_eq!(find(Verb::Get, path), Match::NoPath, "{path}");
    }
}

#[test]
fn every_route_finds_itself() {
    for route in all() {
        let value = |segment: &Segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Field(_) => "/7".to_owned(),
        };
        let path: String = route.path.iter().map(value).collect();
        let path = route.suffix.map_or(path.clone(), |suffix| format!("{path}:{suffix}"));
        match find(route.verb, &path) {
            Match::Found(found) => assert_eq!(found.route, route),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn verbs_are_found_by_their_names() {
    for verb in Verb::ALL {
        assert_eq!(Verb::from_name(verb.name()), Some(verb));
    }
    assert!(Verb::ALL.is_sorted());
    assert_eq!(Verb::from_name("HEAD"), None);
    assert_eq!(Verb::from_name("get"), None);
}
