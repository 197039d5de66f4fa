//! Access control: `allow`, `deny`, `geo_restriction`, `rate_limit`, `referers`, `trusted_proxies`.

use std::{num::NonZeroU32, time::Duration};

use super::section::{Section, parse_each};
use crate::{
    access::restrict::{Addresses, Countries, Networks, Rate, Rates},
    behavior::{OriginPattern, Referers},
};

/// A list of networks.
pub(super) fn networks(section: &Section<'_>, key: &'static str) -> Networks {
    let parsed = parse_each(section, key, Networks::parse, |text| {
        let help = "for example: \"10.0.0.0/8\", \"2001:db8::/32\" or a single address".to_owned();
        (format!("`{text}` is not an IP network"), "expected an IP address or a CIDR block", help)
    });
    parsed.into_iter().collect()
}

/// `allow` and `deny`.
pub(super) fn addresses(section: &Section<'_>) -> Addresses {
    Addresses {
        allow: section.has("allow").then(|| networks(section, "allow")),
        deny: networks(section, "deny"),
    }
}

/// `geo_restriction = { whitelist = ["DE"] }`, or with `blacklist`.
pub(super) fn countries(section: &Section<'_>, has_database: bool) -> Option<Countries> {
    const KEY: &str = "geo_restriction";
    let table = section.table(KEY)?;
    if !has_database {
        let help =
            "add at the top level:\n\n[geo]\ndatabase = \"GeoLite2-Country.mmdb\"".to_owned();
        let message = "`geo_restriction` needs a geography database";
        section.fault(table.span(), message, "`[geo]` is missing", help);
    }
    let codes = |key| {
        parse_each(&table, key, country, |text| {
            let help = "use two capital letters (ISO 3166-1), such as \"DE\"".to_owned();
            (format!("`{text}` is not a country code"), "not a country code", help)
        })
    };
    let lists = (table.has("whitelist"), table.has("blacklist"));
    let countries = match lists {
        (true, false) => Some(Countries::Only(codes("whitelist"))),
        (false, true) => Some(Countries::Except(codes("blacklist"))),
        _ => {
            let message = "expected either `whitelist` or `blacklist`";
            table.fault(table.span(), message, "in this table", None);
            None
        }
    };
    table.unknown();
    countries
}

pub(super) fn country(text: &str) -> Option<String> {
    let is_code = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    is_code.then(|| text.to_owned())
}

/// `[distribution.rate_limit]`.
pub(super) fn rates(section: &Section<'_>) -> Option<Rates> {
    let table = section.table("rate_limit")?;
    let rates = Rates { per_client: rate(&table, "per_client"), total: rate(&table, "total") };
    if !table.has("per_client") && !table.has("total") {
        let help = "add `per_client = { requests = 100, per = \"1s\", burst = 200 }`".to_owned();
        table.fault(
            table.span(),
            "this rate limit has no effect",
            "neither per_client nor total",
            help,
        );
    }
    table.unknown();
    Some(rates)
}

fn rate(section: &Section<'_>, key: &'static str) -> Option<Rate> {
    let table = section.table(key)?;
    let number = |key| {
        let number = table.number(key, 1..1_000_000_001)?;
        NonZeroU32::new(u32::try_from(number).ok()?)
    };
    let requests = number("requests");
    if !table.has("requests") {
        let help = "for example: { requests = 100, per = \"1s\" }".to_owned();
        table.fault(table.span(), "`requests` is missing", "in this table", help);
    }
    let per = table.duration("per").map_or(Duration::from_secs(1), |per| per.value);
    let burst = number("burst");
    if let Some(requests) = requests
        && (per / requests.get()).is_zero()
    {
        table.fault(
            table.span(),
            "this rate is too high",
            "allow fewer requests, or set a longer `per`",
            None,
        );
    }
    table.unknown();
    Some(Rate { requests: requests?, per, burst: burst.or(requests)? })
}

/// `referers = { allow = ["example.com"], allow_none = true }`.
pub(super) fn referers(section: &Section<'_>) -> Option<Referers> {
    let table = section.table("referers")?;
    let allow = sites(&table, "allow");
    let allow_none = table.boolean("allow_none").is_none_or(|flag| flag.value);
    table.unknown();
    Some(Referers { allow, allow_none })
}

/// A list of sites.
pub(super) fn sites(section: &Section<'_>, key: &'static str) -> Vec<OriginPattern> {
    let sites = parse_each(section, key, OriginPattern::parse, |text| {
        let help = "write \"*\", \"https://example.com\", \"https://*.example.com\" or \"http://example.com:*\"";
        (format!("`{text}` is not a valid web origin"), "not a web origin", help.to_owned())
    });
    if sites.is_empty() {
        let help = format!("add `{key} = [\"https://example.com\"]`, or `[\"*\"]`");
        let message = format!("`{key}` is empty");
        section.fault(section.span(), message, "in this table", help);
    }
    sites
}
