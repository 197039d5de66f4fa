//! The three actors.

pub(crate) mod bucket;
pub(crate) mod edge;
pub(crate) mod script;
pub(crate) mod viewer;
