//! Delivers the finished files of the access log to a bucket, as CloudFront does.
//!
//! The access log's writer leaves finished files in its directory. A task uploads them, the oldest first, and removes each
//! once S3 has it. What is not delivered stays for the next attempt, and for the next process.

mod deliverer;
mod empty_directories;
mod options;

pub(crate) use deliverer::Deliverer;
pub(crate) use options::DeliveryOptions;
