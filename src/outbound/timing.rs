//! The times of an exchange with an origin.

use std::time::Duration;

/// How long the parts of an exchange with an origin took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Resolving its name; zero on a connection that was open already.
    pub dns: Duration,
    /// Connecting, TLS among it; zero as above.
    pub connect: Duration,
    /// From the request to the first byte of the answer.
    pub first_byte: Duration,
}
