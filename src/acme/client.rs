//! HTTP requests to an authority.

use std::{path::PathBuf, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::outbound::{Address, Service};

/// Sends each request on a connection of its own.
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
        Box::pin(async move { send(ca_file, request).await.map_err(Error::Other) })
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
    let mut response = Response::new(Full::new(answer.content));
    (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.fields);
    Ok(BytesResponse::from(response))
}
