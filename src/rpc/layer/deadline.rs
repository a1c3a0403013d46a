//! Parses `grpc-timeout`, as the gRPC over HTTP/2 protocol defines it: up to 8 digits and a unit.

use std::time::Duration;

use http::HeaderMap;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The header.
const HEADER: &str = "grpc-timeout";

/// The maximum number of digits in the protocol.
const MAX_DIGITS: usize = 8;

/// How much earlier than the client's own limit the service answers. Most clients have a timer for the same limit.
/// The answer comes before it, with all details of the error.
const HEAD_START: Duration = Duration::from_millis(1);

/// Returns how long the client waits; `None` if it sets no limit.
///
/// # Errors
///
/// For an invalid value: a client that asks for a limit would not expect to get none.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let Some(limit) = value.to_str().ok().and_then(parse) else {
        return Err(Error::invalid_because(
            ErrorReason::RequestMalformed,
            HEADER,
            "grpc-timeout",
            "must be 1 to 8 digits and a unit: H, M, S, m, u or n",
        ));
    };
    Ok(Some(limit))
}

/// Returns when the service answers a client that waits for `allowed`.
pub(super) fn ours(allowed: Duration) -> Duration {
    allowed.saturating_sub(HEAD_START)
}

fn parse(text: &str) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn all_units() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
    }

    #[test]
    fn nonsense_is_refused_and_silence_is_not() {
        for text in ["", "1", "S", "-1S", "+1S", "1.5S", "999999999S", "1s ", "1d", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let headers = |text| {
            HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), HeaderValue::from_static(text))])
        };
        assert_eq!(of(&headers("1S")).ok(), Some(Some(Duration::from_secs(1))));
        assert!(of(&headers("soon")).is_err());
        assert_eq!(of(&HeaderMap::new()).ok(), Some(None));
    }
}
