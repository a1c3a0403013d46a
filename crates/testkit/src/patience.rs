//! How long a test waits.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longer than any working step takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The time between two checks: long enough to cost nothing, short enough not to be noticed.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` is true, and fails if it is not within [`LIMIT`].
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(LIMIT, condition), "{what}: not after {} s", LIMIT.as_secs());
}

/// Whether `condition` becomes true.
#[expect(clippy::disallowed_methods, reason = "the thread of a test, which is no worker of a runtime")]
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Returns the result of `future`, and fails if there is none within [`LIMIT`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("an answer in time")
}
