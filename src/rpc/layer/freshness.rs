//! How old the data that a call reads may be, as its metadata says.

use std::time::Duration;

use http::HeaderMap;

use crate::db::standby::{Freshness, Position};
use crate::error::{Error, Result};

/// The key of the maximum age in milliseconds.
pub(super) const MAX_STALENESS: &str = "x-max-staleness-ms";

/// The key of a position from an earlier answer: all writes up to it must be visible.
pub(in crate::rpc) const POSITION: &str = "x-read-position";

/// The longest age that a caller can allow: a standby that is a day behind is not meant to be read.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns what the metadata allows; `None` if the call must read the newest data.
///
/// # Errors
///
/// `FIELD_INVALID` for an invalid number or position.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Freshness>> {
    let text = |key| headers.get(key).map(|value| value.to_str().unwrap_or_default().trim());
    let position = match text(POSITION) {
        None => None,
        Some(text) => Some(text.parse::<Position>().map_err(|()| {
            Error::invalid(
                POSITION,
                "position",
                "must be the x-read-position of an answer, such as 16/B374D848",
            )
        })?),
    };
    let Some(staleness) = text(MAX_STALENESS) else { return Ok(None) };
    let longest = LONGEST.as_millis();
    let milliseconds = staleness.parse::<u64>().ok().filter(|staleness| u128::from(*staleness) <= longest);
    let max_staleness = milliseconds.map(Duration::from_millis).ok_or_else(|| {
        let description = format!("must be a number of milliseconds from 0 to {longest}");
        Error::invalid(MAX_STALENESS, "int", description)
    })?;
    Ok(Some(Freshness { max_staleness, position }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn freshness(metadata: &[(&'static str, &'static str)]) -> Result<Option<Freshness>> {
        let pairs = metadata
            .iter()
            .map(|(key, value)| (HeaderName::from_static(key), HeaderValue::from_static(value)));
        of(&pairs.collect())
    }

    #[test]
    fn a_call_says_how_old_what_it_reads_may_be() {
        assert_eq!(freshness(&[]).expect("in order"), None);
        assert_eq!(freshness(&[(POSITION, "0/1")]).expect("in order"), None);
        let stale = Freshness { max_staleness: Duration::from_millis(250), position: None };
        assert_eq!(freshness(&[(MAX_STALENESS, "250")]).expect("in order"), Some(stale));
        let position = "1/A".parse().ok();
        let both = freshness(&[(MAX_STALENESS, "250"), (POSITION, "1/A")]).expect("in order");
        assert_eq!(both, Some(Freshness { position, ..stale }));
        for wrong in ["", "-1", "1.5", "1s", "86400001", "99999999999999999999"] {
            freshness(&[(MAX_STALENESS, wrong)]).expect_err(wrong);
        }
        freshness(&[(POSITION, "later")]).expect_err("no position");
    }
}
