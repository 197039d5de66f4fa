//! The request pipeline. `decision` routes, admits and looks up. `service` and `fast_path` answer hits; `service`
//! answers all other requests with `fetch` and `respond`. `exchange` logs the exchange.

mod cache_plan;
mod compressor;
mod context;
mod decision;
mod exchange;
mod explain;
mod explain_rejection;
mod explain_rules;
mod explain_stored;
mod explanation;
mod fast_path;
mod fetch;
mod frames;
mod logged;
mod marks;
mod pass;
mod peer_service;
mod prepared;
mod request;
mod respond;
mod response;
mod service;
mod switched;

pub use context::Edge;
pub(crate) use decision::Decided;
pub(crate) use explanation::{Explanation, OriginError, StoredSummary};
pub(crate) use fast_path::FastHit;
pub(crate) use request::distribution::{STAGED, staged_id};
pub use request::{
    connection::{Cipher, Connection},
    custom_error::{ErrorPage, REPLACEABLE},
    exchange_tracker::ExchangeTracker,
    routing::{Distribution, Hosts, Rules, Settings},
    staging::{Staging, StagingOptions, Stickiness},
    steps::{Counter, Steps},
};
pub(crate) use response::identity::Identity;
pub(crate) use switched::{Ends, Switched};
