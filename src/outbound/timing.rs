//! The times of an exchange with an origin.

use std::time::Duration;

/// Durations of the parts of an exchange with an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Name resolution; zero on a reused connection.
    pub dns: Duration,
    /// Connecting, including TLS; zero as above.
    pub connect: Duration,
    /// From the request to the first byte of the response.
    pub first_byte: Duration,
}
