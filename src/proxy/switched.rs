//! A response that switches protocols (101).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, header};
use parking_lot::Mutex;

use crate::{
    http::body::{Body, Observer},
    origin::Tunnel,
};

/// The connection to the origin after a 101 response, and the exchange, which ends with the connection. The response has
/// it as an extension.
#[derive(Clone)]
pub(crate) struct Switched(Arc<Mutex<Option<Ends>>>);

/// The connection to the origin, and who is informed when the viewer's connection ends.
pub(crate) type Ends = (Box<Tunnel>, Box<dyn Observer>);

impl Switched {
    /// The response for a viewer, with the other headers in `fields`.
    pub(super) fn response(
        tunnel: Box<Tunnel>,
        exchange: Box<dyn Observer>,
        mut fields: HeaderMap,
    ) -> Response<Body> {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, tunnel.protocol.clone());
        // RFC 9110 §8.6.
        fields.remove(header::CONTENT_LENGTH);
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = fields;
        response.extensions_mut().insert(Self(Arc::new(Mutex::new(Some((tunnel, exchange))))));
        response
    }

    /// Takes the ends of the connection out of a response, if it switches protocols.
    pub(crate) fn take_from(response: &mut Response<Body>) -> Option<Ends> {
        response.extensions_mut().remove::<Self>()?.0.lock().take()
    }
}
