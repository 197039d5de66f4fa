//! The cache: keys, caching rules, stored responses.

mod digest;
pub mod disk;
pub mod key;
pub mod memfd;
pub mod policy;
pub mod store;
mod table;
