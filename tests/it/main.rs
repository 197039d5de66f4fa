//! Integration tests: a scripted bucket that verifies signatures, the edge on free ports with a
//! manual clock, and viewers that speak HTTP over real sockets.

mod answers;
mod caching;
mod collapsing;
mod collecting;
mod commands;
mod compression;
mod config_files;
mod deciding;
mod disk;
mod doctoring;
mod errors;
mod explaining;
mod fast_path;
mod front;
mod groups;
mod heads;
mod hostile;
mod http3;
mod identity;
mod importing;
mod loading;
mod logging;
mod parameters;
mod paths;
mod plain_origin;
mod preflights;
mod process;
mod purging;
mod restrictions;
mod retries;
mod serving;
mod sharing;
mod signing;
mod support;
mod troubles;
