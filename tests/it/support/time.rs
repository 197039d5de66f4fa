//! Waiting in tests. Forebay's timeouts run on the real clock, so some tests must let time pass. No test fails because
//! the machine is slow.

use std::time::Duration;

use super::viewer::PATIENCE;

/// Waits until a condition holds.
pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never came to be");
}

/// Waits until a value no longer changes, and returns it.
pub(crate) async fn settled<T: PartialEq>(mut value: impl FnMut() -> T) -> T {
    let mut last = value();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = value();
        if now == last {
            return now;
        }
        last = now;
    }
}

/// Lets time pass, in a test of a timeout or of a slow peer.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Gives Forebay time to act on what it was sent, before more is sent. If the machine is slower than this, both arrive
/// together: the test then shows less, but does not fail.
pub(crate) async fn arrive() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
