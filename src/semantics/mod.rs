//! HTTP semantics as types (RFC 9110, RFC 9111 field syntax, RFC 9211): no I/O, no clock.

pub mod cache_control;
pub mod cache_status;
pub mod coding;
pub mod conditional;
pub mod date;
pub mod entity_tag;
pub mod field_table;
pub mod fields;
pub mod framing;
pub mod range;
