//! The cache: keys, caching rules, stored responses.

pub mod key;
pub mod memfd;
pub mod policy;
pub mod store;
