//! A response before it is sent: its status, fields and content, and how its head is written.

pub(crate) mod error_page;
pub(crate) mod field_value;
pub(crate) mod head_sink;
pub(crate) mod identity;
pub(crate) mod multipart;
pub(crate) mod proxy_response;
