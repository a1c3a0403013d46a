//! How large a resource may be as a whole.
//!
//! Each field has a limit of its own, but a resource can be written part by part, so that their sum says
//! nothing of what it may grow to. What is measured is what clients get: the encoded message.

use prost::Message;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// Bytes of a resource as a whole, encoded. It is also the most that a request may have by default, so that what
/// was read can be sent back; and some of them fit into an answer of 4 MiB, which is what gRPC clients take
/// by default.
pub const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// Refuses what makes a resource larger than [`MAX_RESOURCE_BYTES`]. One that is larger already may become
/// smaller.
///
/// # Errors
///
/// `RESOURCE_TOO_LARGE`, which tells the limit and the size.
pub fn check<M: Message>(kind: &'static str, before: Option<&M>, after: &M) -> Result<()> {
    let size = after.encoded_len();
    if size <= MAX_RESOURCE_BYTES || before.is_some_and(|before| before.encoded_len() > size) {
        return Ok(());
    }
    Err(too_large(kind, size))
}

/// The resource would have so many bytes.
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
        // Two bytes less would change the length of the length.
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
