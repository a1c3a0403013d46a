//! The trace that a call is part of, as its client says in the metadata `traceparent` (W3C Trace Context).

use std::fmt;

use http::HeaderMap;

const TRACEPARENT: &str = "traceparent";

/// Bytes of a `traceparent` of the only version that there is. Later ones may go on after a dash.
const LENGTH: usize = 55;

/// The id of a trace: 32 hexadecimal digits, and nothing else that a client could send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(u128);

impl TraceId {
    /// The id, where there is one and it is valid. A call is as good without.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let text = values.next()?.to_str().ok()?;
        // Of two, nobody knows which is meant.
        values.next().is_none().then(|| Self::parse(text))?
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_of = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_form = is_of(version, 2) && is_of(trace, 32) && is_of(parent, 16) && is_of(flags, 2);
        let is_rest = rest.is_empty() || (version != "00" && rest.starts_with('-'));
        if !is_form || !is_rest || parts.next().is_some() || version == "ff" || parent == "0".repeat(16) {
            return None;
        }
        u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_id_of_a_valid_traceparent_is_taken() {
        let later = format!("01{}-more", GOOD.get(2..).expect("ascii"));
        for text in [GOOD, &later] {
            let id = TraceId::parse(text).map(|id| id.to_string());
            assert_eq!(id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"), "{text}");
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
            assert_eq!(TraceId::parse(&text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceId::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceId::of(&headers), None, "nobody knows which is meant");
    }
}
