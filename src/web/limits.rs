//! Limits of the doors.

use std::time::Duration;

use tonic::Status;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct WebLimits {
    /// The largest request in bytes, as gRPC has it.
    pub request_bytes: usize,
    /// How long a stream of events is silent at most.
    pub keep_alive: Duration,
}

/// Returns the error of a body with more than `limit` bytes. The layer of calls reads the limit in it, and says what to do.
pub(super) fn too_large(limit: usize) -> Status {
    Status::out_of_range(format!("the body is too large, the limit is: {limit} bytes"))
}
