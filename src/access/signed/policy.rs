//! Custom policies: one statement in JSON, with conditions.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::base::clock::Timestamp;

/// A custom policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// The URL pattern that the policy covers; `None` covers everything.
    pub(super) resource: Option<String>,
    pub(super) expires: Timestamp,
    /// The policy is valid only after this time.
    pub(super) after: Option<Timestamp>,
    pub(super) addresses: Option<IpNet>,
}

// An unknown key might restrict access, so it is rejected.

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    statement: Statements,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statements {
    One(Statement),
    List([Statement; 1]),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Statement {
    #[serde(default, deserialize_with = "present")]
    resource: Option<String>,
    condition: Condition,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Condition {
    date_less_than: EpochTime,
    #[serde(default, deserialize_with = "present")]
    date_greater_than: Option<EpochTime>,
    #[serde(default, deserialize_with = "present")]
    ip_address: Option<SourceIp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochTime {
    #[serde(rename = "AWS:EpochTime")]
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceIp {
    #[serde(rename = "AWS:SourceIp")]
    network: String,
}

/// Deserializes a value that must not be `null`. A missing value is different from `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Policy {
    /// Parses a policy; `None` if CloudFront would not accept it.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(json).ok()?;
        let (Statements::One(statement) | Statements::List([statement])) = document.statement;
        let Condition { date_less_than, date_greater_than, ip_address } = statement.condition;
        let addresses = match ip_address {
            Some(SourceIp { network }) => Some(parse_network(&network)?),
            None => None,
        };
        Some(Self {
            resource: statement.resource,
            expires: Timestamp::from_secs(date_less_than.seconds),
            after: date_greater_than.map(|time| Timestamp::from_secs(time.seconds)),
            addresses,
        })
    }

    /// Whether the policy allows the viewer's address, if known. `0.0.0.0/0` allows
    /// every address.
    pub(super) fn allows(&self, client: Option<IpAddr>) -> bool {
        let contains = |network: IpNet| client.is_some_and(|client| network.contains(&client));
        self.addresses.is_none_or(|network| network.prefix_len() == 0 || contains(network))
    }
}

/// One address, or a network such as `192.0.2.0/24`.
fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().map(|address: IpAddr| address.into()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_one_statement_with_known_words() {
        let time = r#""DateLessThan":{"AWS:EpochTime":100}"#;
        let parse = |text: &str| Policy::parse(text.as_bytes());
        let whole = parse(
            r#"{"Statement": [{"Resource":"https://h/*","Condition":{"DateLessThan":{"AWS:EpochTime":100},
            "DateGreaterThan":{"AWS:EpochTime":50},"IpAddress":{"AWS:SourceIp":"192.0.2.7/24"}}}]}"#,
        )
        .expect("a policy");
        assert_eq!(whole.resource.as_deref(), Some("https://h/*"));
        assert_eq!(whole.expires, Timestamp::from_secs(100));
        assert_eq!(whole.after, Some(Timestamp::from_secs(50)));
        for (address, allowed) in [("192.0.2.200", true), ("192.0.3.1", false), ("::1", false)] {
            assert_eq!(whole.allows(address.parse().ok()), allowed, "{address}");
        }
        assert!(!whole.allows(None));
        assert!(parse(&format!(r#"{{"Statement":{{"Condition":{{{time}}}}}}}"#)).is_some());
        let any = format!(
            r#"{{"Statement":{{"Condition":{{{time},"IpAddress":{{"AWS:SourceIp":"0.0.0.0/0"}}}}}}}}"#
        );
        assert!(parse(&any).expect("a policy").allows("2001:db8::1".parse().ok()));
        for bad in [
            "",
            "[]",
            r#"{"Statement":[]}"#,
            r#"{"Statement":[{"Condition":{}}]}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":"100"}}}}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":-1}}}}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":1},"DateLessThan":{"AWS:EpochTime":9}}}}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":1},"IpAddress":{"AWS:SourceIp":"x"}}}}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":1},"NotIpAddress":{"AWS:SourceIp":"::/0"}}}}"#,
            r#"{"Statement":{"Resource":null,"Condition":{"DateLessThan":{"AWS:EpochTime":1}}}}"#,
            r#"{"Statement":{"Condition":{"DateLessThan":{"AWS:EpochTime":1},"IpAddress":null}}}"#,
            r#"{"Statement":{"NotResource":"x","Condition":{"DateLessThan":{"AWS:EpochTime":1}}}}"#,
            r#"{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1}}},{"Condition":{"DateLessThan":{"AWS:EpochTime":1}}}]}"#,
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
