//! Reads numbers.

use std::ops::{Range, RangeInclusive};

use toml::de::DeValue;

use super::Section;

impl Section<'_> {
    /// A whole number within `range`.
    pub(in crate::config) fn number(&self, key: &'static str, range: Range<u64>) -> Option<u64> {
        self.note(key, "whole number");
        let value = self.get(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            let last = range.end - 1;
            self.fault(
                value.span(),
                format!("`{}` is out of range", self.path(key)),
                format!("expected {} to {last}", range.start),
                None,
            );
        }
        fits
    }

    /// A share of a whole, at most `max`.
    pub(in crate::config) fn share(&self, key: &'static str, max: f64) -> Option<f64> {
        let expected = format!("expected a number from 0 to {max}");
        self.decimal(key, 0.0..=max, ("share from 0 to 1", "a possible share", &expected))
    }

    /// A number from 0 to 100.
    pub(in crate::config) fn percent(&self, key: &'static str) -> Option<f64> {
        self.decimal(
            key,
            0.0..=100.0,
            ("number from 0 to 100", "a percentage", "expected 0 to 100"),
        )
    }

    /// A price, without its currency.
    pub(in crate::config) fn price(&self, key: &'static str) -> Option<f64> {
        self.decimal(key, 0.0..=1e9, ("price", "a price", "expected a number such as 0.09"))
    }

    fn decimal(
        &self,
        key: &'static str,
        range: RangeInclusive<f64>,
        (kind, name, expected): (&'static str, &str, &str),
    ) -> Option<f64> {
        self.note(key, kind);
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{}` is not {name}", self.path(key));
            self.fault(value.span(), message, expected, None);
        }
        number
    }
}
