//! The identity of this process.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

/// The id of this process: sixteen hexadecimal digits, different on each start.
#[must_use]
pub fn id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| format!("{:016x}", fastrand::u64(..)));
    &ID
}

/// The name of this machine, up to the first dot.
#[must_use]
pub fn machine() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        name.split('.').next().unwrap_or_default().to_owned()
    });
    &NAME
}

/// This process in `Via` (RFC 9110 §7.6.3). A request that names it has already passed through here.
#[must_use]
pub fn pseudonym() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("forebay-{}", id()));
    &NAME
}

/// The number of this thread, counted from zero.
#[must_use]
pub fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}
