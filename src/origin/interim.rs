//! Interim responses of an origin, such as 103 (Early Hints).

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Request, StatusCode, header};

use crate::http::body::Body;

/// The fields that browsers use in a 103 (RFC 8297, HTML's "early hints"). No others reach viewers: the policies for a
/// response do not apply to interim ones.
const SHOWN: [HeaderName; 2] = [header::LINK, header::CONTENT_SECURITY_POLICY];

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
            let fields = response.headers().iter().filter(|(name, _)| SHOWN.contains(name));
            receive(status, &fields.map(|(name, value)| (name.clone(), value.clone())).collect());
        });
    }
}
