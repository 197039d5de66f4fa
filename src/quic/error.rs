//! quinn's errors as the HTTP/3 library takes them, and codes as QUIC sends them.

use std::sync::Arc;

use h3::{
    error::Code,
    quic::{ConnectionErrorIncoming, StreamErrorIncoming},
};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

/// A code of HTTP/3.
pub(crate) fn application_code(code: Code) -> VarInt {
    number(code.value())
}

/// A code by its number. The library has only numbers that QUIC can send.
pub(super) fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

pub(super) fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

pub(super) fn of_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: of_connection(error) }
}

/// An error that ends the connection, in words.
pub(super) fn fault(words: String) -> StreamErrorIncoming {
    let connection_error = ConnectionErrorIncoming::InternalError(words);
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

pub(super) fn of_read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        ReadError::ConnectionLost(error) => of_stream(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

pub(super) fn of_write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        WriteError::ConnectionLost(error) => of_stream(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
