//! Query strings and cookies without a valid signature: none panics, and none grants access.

#![no_main]

#[allow(dead_code, reason = "the other target signs")]
mod common;

use common::judge;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (path, query, cookies) = input;
    let mut fields = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(cookies) {
        fields.insert(header::COOKIE, value);
    }
    assert!(judge(path, Some(query), &fields).is_err());
    assert!(judge(path, None, &fields).is_err());
});
