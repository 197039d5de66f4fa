//! HTTP dates (RFC 9110 §5.6.7).

use std::{io::Write, time::SystemTime};

use httpdate::HttpDate;
use time::{Date, Month};

use crate::base::clock::Timestamp;

/// Length of an IMF-fixdate.
pub const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Parses any of the three HTTP date formats; `None` for anything else.
///
/// RFC 9110 §5.6.7 encourages recipients to be robust: names are case-insensitive, and the day's name may be wrong.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (day_name, rest) = text.split_once([',', ' '])?;
    let is_day = |name: &str| {
        name.eq_ignore_ascii_case(day_name) || name[..3].eq_ignore_ascii_case(day_name)
    };
    if !DAYS.iter().any(|name| is_day(name)) {
        return None;
    }
    let mut parts = rest.split([' ', '-']).filter(|part| !part.is_empty());
    let [one, two, three, four] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let zone = parts.next();
    if parts.next().is_some() {
        return None;
    }
    // `Nov 6 08:49:37 1994` (asctime), `06 Nov 1994 08:49:37 GMT`, or `06-Nov-94 08:49:37 GMT` (RFC 850).
    let (day, month, year, time) = match (month(one), zone) {
        (Some(month), None) => (number(two, 1..=2)?, month, number(four, 4..=4)?, three),
        (None, Some(zone)) if zone.eq_ignore_ascii_case("GMT") => {
            let year = match number(three, 2..=4)? {
                // RFC 850 has two digits.
                year @ 0..70 if three.len() == 2 => 2000 + year,
                year @ 70..100 if three.len() == 2 => 1900 + year,
                year if three.len() == 4 => year,
                _ => return None,
            };
            (number(one, 1..=2)?, self::month(two)?, year, four)
        }
        _ => return None,
    };
    let mut units = time.split(':');
    let mut unit = |most: u64| number(units.next()?, 2..=2).filter(|value| *value <= most);
    let (hour, minute, second) = (unit(23)?, unit(59)?, unit(60)?);
    if units.next().is_some() {
        return None;
    }
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?);
    // The sixtieth second is a leap second.
    let minute = date.ok()?.with_hms(u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, 0);
    let seconds = u64::try_from(minute.ok()?.assume_utc().unix_timestamp()).ok()?;
    Some(Timestamp::from_secs(seconds + second))
}

fn month(name: &str) -> Option<Month> {
    let place = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    Month::try_from(u8::try_from(place + 1).ok()?).ok()
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Writes `timestamp` as an IMF-fixdate.
#[must_use]
pub fn format(timestamp: Timestamp) -> [u8; LENGTH] {
    let mut text = [b' '; LENGTH];
    // It fits: no year here has more than four digits.
    let _ = write!(&mut text[..], "{}", HttpDate::from(SystemTime::from(timestamp)));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_three_formats_name_the_same_moment() {
        let moment = Some(Timestamp::from_secs(784_111_777));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Thu Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), moment, "{text}");
        }
        assert_eq!(&format(Timestamp::from_secs(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Foo, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 194 08:49:37 GMT",
            "Thu, 01 Jan 1969 00:00:00 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0_u64..253_402_300_800) {
            let moment = Timestamp::from_secs(seconds);
            prop_assert_eq!(parse(&format(moment)), Some(moment));
        }
    }
}
