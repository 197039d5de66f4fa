//! Custom policies with valid signatures and arbitrary content: none panics. None is accepted that another JSON
//! parser would not read as valid now.

#![no_main]

mod common;

use common::{NOW, judge, signed};
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], bool)| {
    let (policy, by_cookies) = input;
    let query = signed(policy);
    let judged = if by_cookies {
        let cookies = query.replace('&', "; CloudFront-");
        let value = HeaderValue::try_from(format!("CloudFront-{cookies}")).expect("ASCII");
        judge("/a/b.jpg", None, &HeaderMap::from_iter([(header::COOKIE, value)]))
    } else {
        judge("/a/b.jpg", Some(&query), &HeaderMap::new())
    };
    if judged.is_ok() {
        let document: serde_json::Value = serde_json::from_slice(policy).expect("JSON");
        let statement = &document["Statement"];
        let statement = statement.get(0).unwrap_or(statement);
        let expires = statement["Condition"]["DateLessThan"]["AWS:EpochTime"].as_u64();
        assert!(expires.expect("a time") > NOW, "{document}");
    }
});
