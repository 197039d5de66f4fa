//! Forebay: a self-hosted CDN edge for private S3 buckets.
//!
//! Viewers request media from Forebay. It serves them from memory, and fetches what it does not have from a private
//! bucket with requests signed by SigV4.
//!
//! The rooms in order; each uses only those before it. ARCHITECTURE.md follows a request through them.

pub mod base;

pub mod tls;

pub mod http;

pub(crate) mod quic;

pub mod cache;

pub(crate) mod handover;

pub mod access;

pub mod access_log;

pub(crate) mod simulate;
pub(crate) mod statistics;

pub mod behavior;

pub(crate) mod cluster;

pub mod aws;

pub(crate) mod outbound;

pub(crate) mod traces;

pub(crate) mod log_delivery;

pub mod acme;

pub mod origin;

pub(crate) mod peers;

pub mod proxy;

pub mod server;

pub(crate) mod control;

pub mod config;

pub mod app;

pub mod import;

pub(crate) mod setup;

pub(crate) mod doctor;

pub mod load;

pub(crate) mod diff;

#[cfg(feature = "demo")]
pub(crate) mod demo;

pub mod cli;
