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
/// RFC 9110 §5.6.7 encourages recipients to be robust: names are case-insensitive, and the day's name may be wrong. In any
/// other respect, a date must be in one of the formats: an invalid `Expires` has passed (RFC 9111 §5.3).
#[must_use]
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (day_name, [day, month, year, time]) = match text.split_once(", ") {
        Some((day_name, rest)) => (day_name, fields(rest)?),
        None => asctime_fields(text)?,
    };
    let is_day = |name: &str| {
        name.eq_ignore_ascii_case(day_name) || name[..3].eq_ignore_ascii_case(day_name)
    };
    if !DAYS.iter().any(|name| is_day(name)) {
        return None;
    }
    let year = match number(year, 2..=4)? {
        // RFC 850 has two digits.
        short @ 0..70 if year.len() == 2 => 2000 + short,
        short @ 70..100 if year.len() == 2 => 1900 + short,
        long if year.len() == 4 => long,
        _ => return None,
    };
    let mut units = time.split(':');
    let mut unit = |most: u64| number(units.next()?, 2..=2).filter(|value| *value <= most);
    let (hour, minute, second) = (unit(23)?, unit(59)?, unit(60)?);
    if units.next().is_some() {
        return None;
    }
    let day = u8::try_from(number(day, 1..=2)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, self::month(month)?, day);
    // The sixtieth second is a leap second.
    let minute = date.ok()?.with_hms(u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, 0);
    let seconds = u64::try_from(minute.ok()?.assume_utc().unix_timestamp()).ok()?;
    Some(Timestamp::from_secs(seconds + second))
}

/// Day, month, year and time of `06 Nov 1994 08:49:37 GMT`, or of `06-Nov-94 08:49:37 GMT` (RFC 850).
fn fields(text: &str) -> Option<[&str; 4]> {
    let parts: Vec<&str> = text.split(' ').collect();
    let (day, month, year, time, zone) = match *parts {
        [day, month, year, time, zone] if year.len() == 4 => (day, month, year, time, zone),
        [date, time, zone] => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-').filter(|(_, year)| year.len() == 2)?;
            (day, month, year, time, zone)
        }
        _ => return None,
    };
    (day.len() == 2 && zone.eq_ignore_ascii_case("GMT")).then_some([day, month, year, time])
}

/// The day's name, and day, month, year and time of `Sun Nov  6 08:49:37 1994` (asctime).
fn asctime_fields(text: &str) -> Option<(&str, [&str; 4])> {
    let parts: Vec<&str> = text.split(' ').collect();
    let (day_name, month, day, time, year) = match *parts {
        [day_name, month, day, time, year] if day.len() == 2 => (day_name, month, day, time, year),
        [day_name, month, "", day, time, year] if day.len() == 1 => {
            (day_name, month, day, time, year)
        }
        _ => return None,
    };
    (year.len() == 4).then_some((day_name, [day, month, year, time]))
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
            "Sun Nov  6 08:49:37 1994 ",
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
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun,06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun Nov   6 08:49:37 1994",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
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
