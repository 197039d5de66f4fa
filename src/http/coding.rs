//! Content codings (RFC 9110 §8.4.1, §12.5.3).

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue, header};

/// A content coding that objects can be compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// All codings; if a viewer weighs several equally, the first is used.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// A set of codings that a policy distinguishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    /// `gzip`.
    pub gzip: bool,
    /// `br`.
    pub brotli: bool,
    /// `zstd`, which CloudFront lacks.
    pub zstd: bool,
}

impl Codings {
    /// None of them.
    pub const NONE: Self = Self { gzip: false, brotli: false, zstd: false };

    const fn has(self, coding: Coding) -> bool {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        }
    }

    /// The codings of this set that the request accepts, as CloudFront writes them: `br,gzip`, `br`,
    /// `gzip`, or none; with `zstd` in between if the set includes it.
    #[must_use]
    pub fn accepted(self, fields: &HeaderMap) -> Option<HeaderValue> {
        const LISTS: [&str; 8] =
            ["", "gzip", "zstd", "zstd,gzip", "br", "br,gzip", "br,zstd", "br,zstd,gzip"];
        let weights = Weights::of(fields)?;
        let accepts =
            |coding| self.has(coding) && weights.of_coding(coding).is_some_and(|weight| weight > 0);
        let list =
            Coding::ALL.iter().fold(0, |list, coding| list << 1 | usize::from(accepts(*coding)));
        (list > 0).then(|| HeaderValue::from_static(LISTS[list]))
    }

    /// The coding of the response: the one in this set that the request prefers, unless it prefers
    /// no coding at all.
    #[must_use]
    pub fn preferred(self, fields: &HeaderMap) -> Option<Coding> {
        let weights = Weights::of(fields)?;
        // RFC 9110 §12.5.3: without being named, `identity` is acceptable; naming it gives it a weight.
        let least = weights.identity.unwrap_or(0).max(1);
        let weighed = Coding::ALL.into_iter().filter(|coding| self.has(*coding));
        let weighed = weighed.filter_map(|coding| Some((weights.of_coding(coding)?, coding)));
        let acceptable = weighed.filter(|(weight, _)| *weight >= least);
        // `max_by_key` returns the last of equal ones, so reverse the order.
        acceptable.rev().max_by_key(|(weight, _)| *weight).map(|(_, coding)| coding)
    }
}

/// The longest field that is kept in [`LAST`].
const MAX_KEPT: usize = 128;

thread_local! {
    /// The last field that was read, and its weights: browsers send the same few.
    static LAST: RefCell<(Vec<u8>, Weights)> = RefCell::default();
}

/// The weights in `Accept-Encoding`, in thousandths. If a member is repeated, the first one counts.
#[derive(Clone, Copy, Default)]
struct Weights {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    /// The weight of `*`, which matches every coding that is not listed (RFC 9110 §12.5.3).
    any: Option<u16>,
}

impl Weights {
    /// Reads the field; `None` if the request has none.
    fn of(fields: &HeaderMap) -> Option<Self> {
        let all = fields.get_all(header::ACCEPT_ENCODING);
        let mut lines = all.iter();
        let first = lines.next()?.as_bytes();
        if lines.next().is_some() || first.len() > MAX_KEPT {
            return Some(Self::read(all.iter()));
        }
        Some(LAST.with_borrow_mut(|(line, weights)| {
            if line != first {
                *weights = Self::read(all.iter());
                first.clone_into(line);
            }
            *weights
        }))
    }

    fn read<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let mut weights = Self::default();
        for member in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
            let end = member.iter().position(|byte| *byte == b';').unwrap_or(member.len());
            let (name, parameters) = member.split_at(end);
            if let Some(weight) = weights.place(name.trim_ascii()) {
                let parameters = std::str::from_utf8(parameters).unwrap_or_default();
                weight.get_or_insert_with(|| thousandths(parameters));
            }
        }
        weights
    }

    /// The place for the weight of a member.
    fn place(&mut self, name: &[u8]) -> Option<&mut Option<u16>> {
        if name == b"*" {
            return Some(&mut self.any);
        }
        if name.eq_ignore_ascii_case(b"identity") {
            return Some(&mut self.identity);
        }
        let is_named = |coding: &Coding| name.eq_ignore_ascii_case(coding.name().as_bytes());
        let place = Coding::ALL.iter().position(is_named)?;
        Some(&mut self.codings[place])
    }

    fn of_coding(&self, coding: Coding) -> Option<u16> {
        self.codings[coding as usize].or(self.any)
    }
}

/// RFC 9110 §12.4.2: `q=0` to `q=1` with up to three decimals; a malformed weight counts as one.
fn thousandths(parameters: &str) -> u16 {
    let weight = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    weight.map_or(1000, in_thousandths)
}

/// The value of a weight in thousandths; one that does not begin with `0` counts as one.
pub(crate) fn in_thousandths(weight: &str) -> u16 {
    let Some(decimals) = weight.strip_prefix('0') else { return 1000 };
    let decimals = decimals.strip_prefix('.').unwrap_or(decimals);
    let digit = |place: usize| match decimals.as_bytes().get(place) {
        Some(digit @ b'0'..=b'9') => u16::from(digit - b'0'),
        _ => 0,
    };
    digit(0) * 100 + digit(1) * 10 + digit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Codings = Codings { gzip: true, brotli: true, zstd: false };
    const ALL: Codings = Codings { zstd: true, ..BOTH };

    fn accept(line: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(line))])
    }

    #[test]
    fn requests_fall_into_few_buckets() {
        let gzip = Codings { brotli: false, ..BOTH };
        for (line, codings, expected) in [
            ("gzip, deflate, br, zstd", BOTH, Some("br,gzip")),
            ("gzip, deflate, br, zstd", ALL, Some("br,zstd,gzip")),
            ("GZIP", BOTH, Some("gzip")),
            ("br;q=1.0, gzip;q=0", BOTH, Some("br")),
            ("gzip;q=0.001", BOTH, Some("gzip")),
            ("gzip;q=0.000", BOTH, None),
            ("*", BOTH, Some("br,gzip")),
            ("*;q=0, br", BOTH, Some("br")),
            ("gzip;q=0, *", BOTH, Some("br")),
            ("identity", BOTH, None),
            ("", BOTH, None),
            ("br, gzip", gzip, Some("gzip")),
            ("br, gzip", Codings::NONE, None),
        ] {
            let accepted = codings.accepted(&accept(line));
            assert_eq!(accepted.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes));
        }
        assert_eq!(BOTH.accepted(&HeaderMap::new()), None);
    }

    #[test]
    fn the_coding_liked_most_is_preferred() {
        use Coding::{Brotli, Gzip, Zstd};
        for (line, codings, expected) in [
            ("gzip, deflate, br, zstd", ALL, Some(Brotli)),
            ("gzip, deflate, br, zstd", BOTH, Some(Brotli)),
            ("gzip, zstd", ALL, Some(Zstd)),
            ("gzip, zstd", BOTH, Some(Gzip)),
            ("gzip;q=0.9, br;q=0.8", ALL, Some(Gzip)),
            ("gzip;q=0.5, br;q=0.50", ALL, Some(Brotli)),
            ("identity;q=1, gzip;q=0.5", ALL, None),
            ("identity;q=0.5, gzip;q=0.5", ALL, Some(Gzip)),
            ("identity;q=0, gzip;q=0.001", ALL, Some(Gzip)),
            ("identity;q=0", ALL, None),
            ("*;q=0", ALL, None),
            ("*", ALL, Some(Brotli)),
            ("br;q=0, *;q=0.1", ALL, Some(Zstd)),
            ("br;q=0", ALL, None),
            ("br;q=x", ALL, Some(Brotli)),
            ("", ALL, None),
            ("gzip", Codings::NONE, None),
        ] {
            assert_eq!(codings.preferred(&accept(line)), expected, "{line}");
        }
        assert_eq!(ALL.preferred(&HeaderMap::new()), None);
    }
}
