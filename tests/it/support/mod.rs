//! The bucket or plain origin, the edge and viewers.

pub(crate) mod bucket;
pub(crate) mod edge;
pub(crate) mod script;
pub(crate) mod time;
pub(crate) mod viewer;
pub(crate) mod wire;
