//! Traces in OpenTelemetry's format: which requests are traced, their spans, and their export.
//!
//! A traced request has a span for its exchange with the viewer, and one for each attempt of an origin request and each
//! request to another node of the cluster, which adds its own. Spans are made when they end, and wait in a bounded queue. A
//! task sends them over HTTP (OTLP/HTTP, protobuf).

mod attributes;
mod client_span;
mod context;
mod exporter;
mod ids;
mod options;
mod otlp;
mod peer_span;
mod span_queue;
mod target;
mod timed;
mod trace;
mod tracer;

pub(crate) use client_span::ClientSpan;
pub(crate) use exporter::Exporter;
pub(crate) use options::{Parents, TraceOptions};
pub(crate) use peer_span::PeerSpan;
pub(crate) use target::RequestTarget;
pub(crate) use trace::Trace;
pub(crate) use tracer::Tracer;
