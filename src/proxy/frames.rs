//! The frames in which bodies are sent.

use http::Version;

use crate::http::body::Body;

/// Longest frame passed to HTTP/2. It accepts a whole frame if its window is open for the first byte, and an accepted
/// frame counts as sent.
pub(super) const FRAME: usize = 64 << 10;

/// The same for HTTP/3, where `listen.write_timeout` limits the time for a frame, and streams share the connection.
const HTTP3_FRAME: usize = 16 << 10;

/// The body in frames that the version of HTTP can take.
pub(super) fn in_frames(body: Body, version: Version) -> Body {
    match version {
        Version::HTTP_2 => body.in_frames(FRAME),
        Version::HTTP_3 => body.in_frames(HTTP3_FRAME),
        _ => body,
    }
}
