//! What a request asks for, by its line and its headers alone.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, request};
use prost_reflect::MessageDescriptor;
use tonic::body::Body;

use super::headers::{self, Fields};
use super::plan::Plan;
use crate::identity::TENANT_HEADER;
use crate::pb::CONTRACT;
use crate::web::gzip::{self, Coding};
use crate::web::metadata;
use crate::web::refusal::Refusal;
use crate::web::routes::{self, Found, Match, RequestBody, Streaming, Verb};

/// A request that means an RPC.
pub(super) struct RestRequest {
    /// The head of the call.
    pub(super) head: request::Parts,
    /// How its body is coded.
    pub(super) coding: Coding,
    /// How its message is made.
    pub(super) plan: Plan,
    /// How it is answered.
    pub(super) options: AnswerOptions,
}

/// How a request wants to be answered.
pub(super) struct AnswerOptions {
    /// The type of the answer.
    pub(super) output: MessageDescriptor,
    /// Whether the call depends on an etag.
    pub(super) if_match: bool,
    /// The etags of what the client has.
    pub(super) if_none_match: Option<HeaderValue>,
    /// Whether the client reads lines of JSON, and not events.
    pub(super) lines: bool,
    /// Whether the client takes an answer in gzip.
    pub(super) takes_gzip: bool,
}

impl RestRequest {
    /// Finds what a request asks for.
    ///
    /// # Errors
    ///
    /// The answer to a request that means nothing: no such path, or no such verb there, or a body of another type.
    pub(super) fn of(mut head: request::Parts, body: &Body) -> Result<Self, Box<Response<Body>>> {
        let found = find(&head.method, head.uri.path())?;
        let route = found.route;
        let mut coding = Coding::Identity;
        if route.body != RequestBody::None {
            check_type(&head.headers, body, route.streaming)?;
            coding = self::coding(&head.headers, route.streaming)?;
        }
        let (Some(input), Some(output)) =
            (CONTRACT.get_message_by_name(route.input), CONTRACT.get_message_by_name(route.output))
        else {
            return Err(Box::new(unknown()));
        };
        let Fields { fields, wrong } = headers::fields(&head.headers, &input, route.body);
        let options = AnswerOptions {
            output,
            if_match: head.headers.contains_key(IF_MATCH),
            if_none_match: head.headers.get(IF_NONE_MATCH).filter(|_| route.verb == Verb::Get).cloned(),
            lines: route.streaming == Streaming::Bidi || accepts_lines(&head.headers),
            takes_gzip: gzip::is_accepted(&head.headers),
        };
        let mut query = head.uri.query().unwrap_or_default().to_owned();
        if route.streaming == Streaming::Server {
            query = take_tenant(&query, &mut head.headers);
        }
        metadata::become_call(&mut head, Uri::from_static(route.rpc));
        let plan = Plan::new(found, input, query, fields, wrong);
        Ok(Self { head, coding, plan, options })
    }
}

/// Finds the route of a request.
fn find(method: &Method, path: &str) -> Result<Found, Box<Response<Body>>> {
    let verb = if *method == Method::HEAD { Some(Verb::Get) } else { Verb::from_name(method.as_str()) };
    match routes::find(verb.unwrap_or(Verb::Get), path) {
        Match::NoPath => Err(Box::new(unknown())),
        Match::Found(found) if verb.is_some() => Ok(found),
        Match::NotUtf8(field) => {
            let text = format!("the {field} in the path is not UTF-8");
            Err(Box::new(Refusal::malformed(StatusCode::BAD_REQUEST, &text).into_response()))
        }
        Match::Found(_) | Match::WrongVerb(_) => Err(Box::new(wrong_verb(method, path))),
    }
}

fn unknown() -> Response<Body> {
    let text = "there is no such path; /openapi.json lists all paths, and /docs shows them";
    Refusal::unknown(StatusCode::NOT_FOUND, text).into_response()
}

/// Answers a verb that the path does not have with those that it has. OPTIONS asks for just that.
fn wrong_verb(method: &Method, path: &str) -> Response<Body> {
    let has = |verb: &Verb| !matches!(routes::find(*verb, path), Match::NoPath | Match::WrongVerb(_));
    let mut verbs: Vec<_> = Verb::ALL.into_iter().filter(has).map(Verb::name).collect();
    if verbs.contains(&Verb::Get.name()) {
        verbs.push(Method::HEAD.as_str());
    }
    let verbs = verbs.join(", ");
    let mut response = if *method == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        let text = format!("this path does not have this method; it has {verbs}");
        Refusal::unknown(StatusCode::METHOD_NOT_ALLOWED, &text).into_response()
    };
    if let Ok(verbs) = HeaderValue::from_str(&verbs) {
        response.headers_mut().insert(ALLOW, verbs);
    }
    response
}

/// Refuses a body that does not say that it is JSON. A page of another site can make a browser send others without
/// asking, and so it can send no body at all: what comes from a page says what it sends.
fn check_type(headers: &HeaderMap, body: &Body, streaming: Streaming) -> Result<(), Box<Response<Body>>> {
    let streams = is_of_lines(streaming);
    let is_taken = |kind: &str| {
        let is_json =
            kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
        is_json
            || (streams && matches!(kind, "application/x-ndjson" | "application/jsonl" | "text/event-stream"))
    };
    let empty = http_body::Body::is_end_stream(body) && !headers.contains_key(ORIGIN);
    match headers.get(CONTENT_TYPE).map(media_type) {
        None if empty => Ok(()),
        Some(kind) if is_taken(&kind) => Ok(()),
        _ => {
            let kinds = if streams { "application/x-ndjson" } else { "application/json" };
            let text = format!("the body must be JSON, and say so: send the header content-type: {kinds}");
            Err(Box::new(Refusal::malformed(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text).into_response()))
        }
    }
}

/// Returns how a body is coded. A stream of lines is not: its lines would wait for each other within the code.
fn coding(headers: &HeaderMap, streaming: Streaming) -> Result<Coding, Box<Response<Body>>> {
    let known = if is_of_lines(streaming) { "identity" } else { "gzip" };
    match Coding::of(headers, &CONTENT_ENCODING) {
        Some(Coding::Gzip) if is_of_lines(streaming) => {}
        Some(coding) => return Ok(coding),
        None => {}
    }
    let text = format!("the content-encoding of this body is not taken: send {known}, or no such header");
    let mut response = Refusal::malformed(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text).into_response();
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(known));
    Err(Box::new(response))
}

/// Whether a request has a message in each line.
fn is_of_lines(streaming: Streaming) -> bool {
    matches!(streaming, Streaming::Client | Streaming::Bidi)
}

/// Returns the media type of a header, in lower case and without what is after it.
fn media_type(value: &HeaderValue) -> String {
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn accepts_lines(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|kinds| kinds.contains("application/x-ndjson") || kinds.contains("application/jsonl"))
}

/// Takes the tenant out of a query, for browsers: their `EventSource` cannot send headers.
fn take_tenant(query: &str, headers: &mut HeaderMap) -> String {
    let is_tenant =
        |pair: &&str| pair.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case(TENANT_HEADER));
    let (tenants, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_tenant);
    for tenant in tenants {
        let value = tenant.split_once('=').and_then(|(_, value)| HeaderValue::from_str(value).ok());
        if let Some(value) = value {
            headers.append(HeaderName::from_static(TENANT_HEADER), value);
        }
    }
    rest.join("&")
}
