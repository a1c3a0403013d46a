//! How large a resource may be as a whole.
//!
//! Each field has its own limit. But a resource can be written part by part, so the limits of one request do not
//! bound its final size. The measured size is that of the encoded message, as clients get it.

use prost::Message;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The maximum bytes of a whole resource, encoded. It is also the default limit of a request, so that a resource that
/// was read can be sent back. Some resources of this size fit into an answer of 4 MiB, which gRPC clients accept by
/// default.
pub const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// Refuses a change that makes a resource larger than [`MAX_RESOURCE_BYTES`]. A resource that is larger already may
/// become smaller.
///
/// # Errors
///
/// `RESOURCE_TOO_LARGE`, with the limit and the size.
pub fn check<M: Message>(kind: &'static str, before: Option<&M>, after: &M) -> Result<()> {
    let size = after.encoded_len();
    if size <= MAX_RESOURCE_BYTES || before.is_some_and(|before| before.encoded_len() > size) {
        return Ok(());
    }
    Err(too_large(kind, size))
}

/// The error for a resource that would have this many bytes.
pub(crate) fn too_large(kind: &'static str, size: usize) -> Error {
    Error::invalid_because(
        ErrorReason::ResourceTooLarge,
        kind,
        "resource.max_bytes",
        format!(
            "must have at most {MAX_RESOURCE_BYTES} bytes as a whole, encoded; it would have {size}: shorten or \
             remove some of its texts"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize) -> prost_types::Any {
        // Two bytes fewer would change the length of the length.
        let any = prost_types::Any { value: vec![0; size - 4], ..Default::default() };
        assert_eq!(any.encoded_len(), size);
        any
    }

    #[test]
    fn a_resource_may_have_so_many_bytes_and_one_that_has_more_may_shrink() {
        let (most, more) = (of(MAX_RESOURCE_BYTES), of(MAX_RESOURCE_BYTES + 1));
        let larger = of(MAX_RESOURCE_BYTES + 2);
        assert!(check("customer", None, &most).is_ok());
        for before in [None, Some(&most), Some(&more)] {
            let error = check("customer", before, &more).expect_err("too large");
            assert_eq!(error.reason(), ErrorReason::ResourceTooLarge);
            let told = error.to_string();
            assert!(told.contains("1048576") && told.contains("1048577"), "{told}");
        }
        assert!(check("customer", Some(&larger), &more).is_ok());
    }
}
