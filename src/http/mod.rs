//! HTTP as types: field syntax (RFC 9110, RFC 9111, RFC 9211), content coding, bodies. No I/O, no clock.

pub mod authority;
pub mod body;
pub mod cache_control;
pub mod cache_status;
pub mod coding;
pub mod compression;
pub mod conditional;
pub(crate) mod cookies;
pub mod date;
pub mod entity_tag;
pub mod field_table;
pub mod fields;
pub mod framing;
pub(crate) mod pasted_url;
pub mod query;
pub mod range;
pub mod upgrade;
