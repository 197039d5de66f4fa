//! What must be set up around Forebay, as text: rights to read buckets.

mod iam;

pub use iam::reading_policy;
