//! HTTP dates (RFC 9110 §5.6.7).

use std::{io::Write, time::SystemTime};

use httpdate::HttpDate;

use crate::base::clock::Timestamp;

/// Length of an IMF-fixdate.
pub const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// Parses any of the three HTTP date formats; `None` when it is none of them.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    httpdate::parse_http_date(text.trim()).ok().map(Timestamp::from)
}

/// Writes `timestamp` as an IMF-fixdate.
#[must_use]
pub fn format(timestamp: Timestamp) -> [u8; LENGTH] {
    let mut text = [b' '; LENGTH];
    // It fits: no year has more than four digits here.
    let _ = write!(&mut text[..], "{}", HttpDate::from(SystemTime::from(timestamp)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_formats_name_the_same_moment() {
        let moment = Some(Timestamp::from_secs(784_111_777));
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GMT"), moment);
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), moment);
        assert_eq!(parse(b"Sun Nov  6 08:49:37 1994"), moment);
        assert_eq!(parse(b"0"), None);
        assert_eq!(&format(Timestamp::from_secs(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
