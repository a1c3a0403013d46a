//! Gzip of requests and of answers. (Messages of gRPC itself are for tonic and `rpc::layer::compression`.)

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

use super::limits::too_large;
use crate::error::Error;
use crate::pb::ErrorReason;

/// The only coding beside none.
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// How the bytes of a request are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// They are as they are.
    Identity,
    /// They are in gzip.
    Gzip,
}

impl Coding {
    /// Returns the coding that a header names, which is none without it; `None` if it is not known here, or if there are
    /// several.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Some(Self::Identity) };
        match values.next() {
            None => Self::named(value.to_str().ok()?),
            Some(_) => None,
        }
    }

    /// Returns the coding with this name; `None` if it is not known here.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// Returns bytes as they were before they were coded. Nothing at all is not coded.
    ///
    /// # Errors
    ///
    /// If they are not in this coding, or are more than `limit` then. No more than that is ever in memory.
    pub(super) fn decode(self, bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Status> {
        if self == Self::Identity || bytes.is_empty() {
            return Ok(Cow::Borrowed(bytes));
        }
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes).take(most).read_to_end(&mut plain).map_err(|_| invalid())?;
        match plain.len() > limit {
            true => Err(too_large(limit)),
            false => Ok(Cow::Owned(plain)),
        }
    }
}

fn invalid() -> Status {
    let description = "must be gzip, as its header says, and whole";
    Error::invalid_because(ErrorReason::RequestMalformed, "body", "gzip", description).into()
}

/// Whether the client takes answers in gzip (`Accept-Encoding`): by name, or by `*` if it says nothing else of gzip.
pub(super) fn is_accepted(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let items: Vec<_> = lists.flat_map(|list| list.split(',')).map(quality).collect();
    let of = |wanted: &[&str]| items.iter().find(|(name, _)| wanted.contains(name)).map(|(_, takes)| *takes);
    of(&["gzip", "x-gzip"]).or_else(|| of(&["*"])).unwrap_or(false)
}

/// Returns the name of a coding, and whether the client takes it: `gzip;q=0.5`, `gzip;q=0`.
fn quality(item: &str) -> (&str, bool) {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let quality = parameters.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
    (name.trim(), quality.is_none_or(|quality| quality > 0.0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_client_says_what_it_takes() {
        for (list, takes) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("x-gzip", true),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0, *", false),
            ("*;q=0", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(list))]);
            assert_eq!(is_accepted(&headers), takes, "{list}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn bytes_are_inflated_up_to_the_limit() {
        let bytes = [7; 1000];
        let decode = |bytes: &[u8], limit| Coding::Gzip.decode(bytes, limit).map(Cow::into_owned);
        assert_eq!(decode(&gzip(&bytes), 1000).expect("gzip"), bytes);
        // Two files one after the other are one.
        let twice = [gzip(&bytes), gzip(&bytes)].concat();
        assert_eq!(decode(&twice, 2000).expect("gzip").len(), 2000);
        for (bytes, limit) in [(gzip(&bytes), 999), (twice, 1999)] {
            let error = decode(&bytes, limit).expect_err("more than there may be");
            assert_eq!(error.code(), tonic::Code::OutOfRange);
        }
        let whole = gzip(&bytes);
        for broken in [&whole[..whole.len() - 1], &bytes, b"{}"] {
            let error = decode(broken, 1000).expect_err("no gzip");
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
        }
        assert_eq!(decode(b"", 10).expect("nothing"), b"");
    }
}
