//! HTTP requests to an authority.

use std::{path::PathBuf, pin::Pin};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{
    aws::describe,
    outbound::{Address, Service},
};

/// The longest wait that an authority may demand, in seconds.
const LONGEST_RETRY: u64 = 86_400;

/// Sends each request on a separate connection.
pub(super) struct Client {
    /// The certificates to trust, instead of this machine's.
    pub(super) ca_file: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let ca_file = self.ca_file.clone();
        Box::pin(async move {
            send(ca_file, request).await.map_err(|error| Error::Other(describe(&*error).into()))
        })
    }
}

async fn send(
    ca_file: Option<PathBuf>,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Failure> {
    let (parts, body) = request.into_parts();
    let content = body.collect().await?.to_bytes();
    let scheme = parts.uri.scheme_str().unwrap_or_default();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let address = Address::from_url(&format!("{scheme}://{authority}"))?;
    let service = Service::at(address, "acme", "", ca_file.as_deref())?;
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let answer = service.call(None, (parts.method, target), parts.headers, content).await?;
    let (status, mut fields, content) = (answer.status, answer.fields, answer.content);
    // instant-acme adds it to the time, which panics if it is too long.
    let seconds = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = fields.get(RETRY_AFTER).and_then(seconds) {
        fields.insert(RETRY_AFTER, seconds.min(LONGEST_RETRY).into());
    }
    let mut response = Response::new(Full::new(content));
    (*response.status_mut(), *response.headers_mut()) = (status, fields);
    Ok(BytesResponse::from(response))
}
