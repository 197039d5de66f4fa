//! The three actors.

pub mod bucket;
pub mod edge;
pub mod viewer;
