//! The channel between the running process and the one that replaces it.

mod channel;
mod message;

pub(crate) use channel::{Channel, Received, unexpected};
pub(crate) use message::{Hello, Message, PROTOCOL};
