//! Responses from stored responses: ranges, conditions, compression, custom error responses.

pub(crate) mod compress;
pub(crate) mod custom_error_response;
pub(crate) mod select;
