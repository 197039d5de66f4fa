//! Interim responses of an origin, such as 103 (Early Hints).

use std::{fmt, sync::Arc};

use http::{HeaderMap, Request, StatusCode, header};

use super::answer::plain_fields;
use crate::http::body::Body;

type Receive = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

/// Receives the interim responses to a request.
#[derive(Clone)]
pub(crate) struct OnInterim(Arc<Receive>);

impl fmt::Debug for OnInterim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnInterim")
    }
}

impl OnInterim {
    /// Calls `receive` with the status and the fields for the viewer.
    pub(crate) fn new(receive: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Receives those to `message`, except for 100, which concerns only this connection (RFC 9110 §10.1.1).
    pub(super) fn attach(&self, message: &mut Request<Body>) {
        let Self(receive) = self.clone();
        hyper::ext::on_informational(message, move |response| {
            let status = response.status();
            if status == StatusCode::CONTINUE {
                return;
            }
            let mut fields = plain_fields(status, response.headers().clone());
            // Whether a viewer may have the cookies, and what the content is like, only the final response says.
            for name in [header::SET_COOKIE, header::CONTENT_LENGTH] {
                fields.remove(name);
            }
            receive(status, &fields);
        });
    }
}
