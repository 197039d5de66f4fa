//! Forebay: a self-hosted CDN edge for private S3 buckets.
//!
//! It stands where CloudFront would stand: viewers ask it for media, it answers from memory, and
//! what it lacks it fetches from a private bucket with SigV4-signed requests.
//!
//! Modules in order; each may use only those before it. ARCHITECTURE.md tells how a request
//! lives in them.

pub mod clock;
pub mod instance;
pub mod log;
pub mod metrics;

pub mod text;

pub mod body;

pub mod pages;

pub mod semantics;

pub mod encode;

pub mod key;

pub mod policy;

pub mod signed;

pub mod restrict;

pub mod access_log;

pub mod behavior;

pub mod store;

pub mod origin;

pub mod edge;

pub mod front;

pub mod admin;

pub mod config;

pub mod app;

pub mod import;

pub mod setup;

pub mod doctor;

pub mod load;

#[cfg(feature = "demo")]
pub mod demo;

pub mod cli;
