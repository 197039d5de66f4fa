//! A request before the cache: its connection, viewer, route and admission, or why it is rejected.

pub(crate) mod admission;
pub(crate) mod applied_rules;
pub(crate) mod connection;
pub(crate) mod custom_error;
pub(crate) mod distribution;
pub(crate) mod exchange_tracker;
pub(crate) mod headers_policy;
pub(crate) mod hint_log;
pub(crate) mod hints;
pub(crate) mod hosts;
pub(crate) mod incoming;
pub(crate) mod interim;
pub(crate) mod not_admitted;
pub(crate) mod preflight;
pub(crate) mod rejection;
pub(crate) mod restrictions;
pub(crate) mod routing;
pub(crate) mod staging;
pub(crate) mod steps;
pub(crate) mod variant_slot;
pub(crate) mod viewer;
