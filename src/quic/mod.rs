//! The transport of HTTP/3: quinn's connections, as the HTTP/3 library uses them.
//!
//! The library trusts its peer more than a client deserves. It keeps a frame of any length in memory until it is
//! complete, and all that follows a frame whose content is too short. It reads ahead of what it uses. It takes the end of
//! a stream for the end of the content even within a frame, and an empty frame for the end. So a [`FrameFilter`] gives it
//! one valid frame at a time, and content in small pieces.

mod bidi_stream;
mod connection;
mod error;
mod frame_filter;
mod opener;
mod recv_stream;
mod send_stream;

pub(crate) use bidi_stream::BidiStream;
pub(crate) use connection::Connection;
pub(crate) use error::application_code;
use frame_filter::FrameFilter;
pub(crate) use opener::Opener;
pub(crate) use recv_stream::RecvStream;
pub(crate) use send_stream::SendStream;
