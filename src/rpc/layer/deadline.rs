//! `grpc-timeout`, as the gRPC over HTTP/2 protocol writes it: up to 8 digits and a unit.

use std::time::Duration;

use http::HeaderMap;

/// The header.
const HEADER: &str = "grpc-timeout";

/// What the protocol allows.
const MAX_DIGITS: usize = 8;

/// How much earlier than the client's own limit we answer. tonic has a timer for the same header,
/// which fires after this one and would say CANCELLED.
const HEAD_START: Duration = Duration::from_millis(1);

/// How long the client waits; `None` when it does not say. What is not understood is not said, as
/// tonic has it.
pub(crate) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// When we answer for a client that waits for `allowed`.
pub(super) fn ours(allowed: Duration) -> Duration {
    allowed.saturating_sub(HEAD_START)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(text: &'static str) -> Option<Duration> {
        of(&HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), HeaderValue::from_static(text))]))
    }

    #[test]
    fn all_units() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn nonsense_is_no_deadline() {
        for text in ["", "1", "S", "-1S", "1.5S", "999999999S", "1s ", "1d"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
