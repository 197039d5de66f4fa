//! What the commands that send requests as viewers share.

use super::UserError;
use crate::load::{Server, ServerError};

/// The error if a URL names no server.
pub(super) fn no_url(error: &ServerError) -> UserError {
    UserError {
        message: error.to_string(),
        help: "write, for example, http://127.0.0.1:8080/images/harbour.jpg".into(),
    }
}

/// The server of a URL that has no path.
pub(super) fn server_of(url: &str) -> Result<Server, UserError> {
    let (server, path) = Server::of(url).map_err(|error| no_url(&error))?;
    if path == "/" {
        return Ok(server);
    }
    let message = format!("`{url}` names a path, but only the server is needed");
    let help = format!("write {}, and the paths into a file for --urls", server.base);
    Err(UserError { message, help })
}

/// The error if neither a list nor logs nor objects of a bucket are named.
pub(super) fn nothing_to_request() -> UserError {
    UserError {
        message: "nothing to request".into(),
        help: "name a list with --urls, logs with --access-log, or objects of the bucket with --prefix".into(),
    }
}
