//! `[admin.prices]`.

use super::section::Section;
use crate::control::Prices;

/// The most characters of a currency's name, which the dashboard shows beside amounts.
const LONGEST: usize = 5;

/// `[admin.prices]`, in `[admin]`.
pub(super) fn prices(admin: &Section<'_>) -> Prices {
    let mut prices = Prices::default();
    let Some(section) = admin.table("prices") else { return prices };
    for (key, price) in [
        ("per_gigabyte", &mut prices.per_gigabyte),
        ("per_1000_requests", &mut prices.per_1000_requests),
    ] {
        *price = section.price(key).unwrap_or(*price);
    }
    if let Some(currency) = section.string("currency") {
        if (1..=LONGEST).contains(&currency.value.chars().count()) {
            currency.value.clone_into(&mut prices.currency);
        } else {
            let message = "`admin.prices.currency` is not a currency";
            let help = "write a code such as \"EUR\", or a sign such as \"€\"".to_owned();
            section.fault(currency.span, message, "expected 1 to 5 characters", help);
        }
    }
    section.unknown();
    prices
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn compiled(lines: &str) -> Result<Prices, String> {
        let site = "[[distribution]]\nid = \"a\"\naliases = \"*\"\n[[distribution.origin]]\nid = \"o\"\nurl = \"http://o\"\n[distribution.default_behavior]\norigin = \"o\"\ncache_policy = \"CachingOptimized\"\n";
        let config = Config::compile(
            "test",
            &format!("[listen]\nhttp = \"127.0.0.1:80\"\n[admin.prices]\n{lines}\n{site}"),
            Path::new("."),
        );
        config.map(|config| config.admin_options.prices).map_err(|faults| format!("{faults:?}"))
    }

    #[test]
    fn prices_are_read_and_checked() {
        let prices =
            Prices { per_gigabyte: 0.0, per_1000_requests: 0.5, currency: "€".to_owned() };
        assert_eq!(
            compiled("per_gigabyte = 0\nper_1000_requests = 0.5\ncurrency = \"€\""),
            Ok(prices)
        );
        assert_eq!(compiled(""), Ok(Prices::default()));
        for (line, part) in [
            ("per_gigabyte = -1", "`admin.prices.per_gigabyte` is not a price"),
            ("per_gigabyte = inf", "`admin.prices.per_gigabyte` is not a price"),
            ("per_1000_requests = \"1\"", "`admin.prices.per_1000_requests` is not a price"),
            ("currency = \"\"", "is not a currency"),
            ("terabyte = 1", "terabyte"),
        ] {
            let faults = compiled(line).expect_err(line);
            assert!(faults.contains(part), "{faults}");
        }
    }
}
