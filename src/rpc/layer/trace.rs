//! The trace that a call is part of, as its client says in the metadata `traceparent` and `tracestate` (W3C Trace
//! Context).

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of the only existing version. Later versions may continue after a dash.
const LENGTH: usize = 55;

/// The longest `tracestate` that is kept: every span of the call carries it. The standard requires that this many
/// bytes are passed on.
const MAX_STATE: usize = 512;

/// Returns the client's span, if it sends a valid one. A call does not need one.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let text = values.next()?.to_str().ok()?;
    // If there are two, it is unknown which one is meant.
    values.next().is_none().then(|| parse(text))?
}

/// Returns the same span with its vendors' state, if that is valid and short.
pub(super) fn with_state(parent: &SpanContext, headers: &HeaderMap) -> SpanContext {
    let values: Vec<_> = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let state = values.join(",");
    let state = if state.len() > MAX_STATE { TraceState::NONE } else { state.parse().unwrap_or_default() };
    SpanContext::new(parent.trace_id(), parent.span_id(), parent.trace_flags(), true, state)
}

/// Parses a span: 32 and 16 hexadecimal digits, and nothing else that a client could send.
fn parse(text: &str) -> Option<SpanContext> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_of = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_form = is_of(version, 2) && is_of(trace, 32) && is_of(parent, 16) && is_of(flags, 2);
    let is_rest = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    if !is_form || !is_rest || parts.next().is_some() || version == "ff" {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_traceparent_is_taken() {
        let later = format!("01{}-more", GOOD.get(2..).expect("ascii"));
        for text in [GOOD, &later] {
            let parent = parse(text).expect(text);
            assert_eq!(parent.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c", "{text}");
            assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331", "{text}");
            assert!(parent.is_sampled() && parent.is_remote(), "{text}");
        }
    }

    #[test]
    fn what_is_not_valid_is_passed_over() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned();
        let orphan = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned();
        let bad = [
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            format!("{GOOD}-more"),
            format!("ff{}", GOOD.get(2..).expect("ascii")),
            GOOD.get(..54).expect("ascii").to_owned(),
            GOOD.replace("0af7", "zoë"),
            zeros,
            orphan,
            String::new(),
        ];
        for text in bad {
            assert_eq!(parse(&text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(parent(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(parent(&headers), None, "nobody knows which is meant");
    }

    #[test]
    fn the_flag_says_whether_the_call_is_sampled() {
        let unsampled = format!("{}00", GOOD.get(..53).expect("ascii"));
        assert!(parse(&unsampled).is_some_and(|parent| !parent.is_sampled()));
    }

    #[test]
    fn a_tracestate_is_taken_where_it_is_valid_and_short() {
        let stated = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACESTATE, HeaderValue::from_str(value).expect("a value"));
            }
            with_state(&parse(GOOD).expect("a parent"), &headers).trace_state().header()
        };
        assert_eq!(stated(&["a=1,b=2"]), "a=1,b=2");
        assert_eq!(stated(&["a=1", "b=2"]), "a=1,b=2");
        assert_eq!(stated(&[]), "");
        assert_eq!(stated(&["no pair"]), "");
        assert_eq!(stated(&[&format!("a={}", "x".repeat(MAX_STATE))]), "");
    }
}
