//! Forebay: a self-hosted CDN edge for private S3 buckets.
//!
//! Viewers request media from Forebay. It serves them from memory, and fetches what it does not have from a private
//! bucket with requests signed by SigV4.
//!
//! The rooms in order; each uses only those before it. ARCHITECTURE.md follows a request through them.

pub mod base;

pub mod http;

pub mod cache;

pub mod access;

pub mod access_log;

pub mod behavior;

pub mod aws;

pub mod outbound;

pub mod origin;

pub mod proxy;

pub mod server;

pub mod control;

pub mod config;

pub mod app;

pub mod import;

pub mod setup;

pub mod doctor;

pub mod load;

#[cfg(feature = "demo")]
pub mod demo;

pub mod cli;
