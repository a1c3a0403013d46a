//! Limits of the doors.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct WebLimits {
    /// The largest request in bytes, as gRPC has it.
    pub request_bytes: usize,
    /// How long a stream of events is silent at most.
    pub keep_alive: Duration,
}
