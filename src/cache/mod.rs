//! The cache: keys, caching rules, stored responses.

mod digest;
pub mod disk;
pub mod key;
pub mod memfd;
pub mod policy;
mod prefetch;
pub mod store;
mod table;
