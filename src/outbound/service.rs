//! Single requests, each on a separate connection: to inspect a bucket, and to other AWS services.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Limited};

use super::{
    Address, AddressError, Error, HeadLimits, TrustError, connect::Connector, timing::Timing,
    whole_answer::WholeAnswer,
};
use crate::{
    aws::{Installed, Scope, sign_for_s3, sign_for_service},
    base::clock::{Clock, Stopwatch},
    http::body::Body,
    outbound::USER_AGENT,
};

/// The most bytes read of a response.
const MAX_CONTENT: usize = 4 << 20;

/// Longest time for a connection, and for a response: long polling of a queue takes 20 seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// The fewest bytes of content that are sent in a second.
const SLOWEST: u64 = 64 << 10;

/// A service that receives single requests, signed if it requires that.
pub(crate) struct Service {
    address: Address,
    connector: Connector,
    name: &'static str,
    region: String,
}

/// The reason why a service cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The service's address is invalid.
    #[error("`{0}` is not a valid endpoint: {1}")]
    Address(String, AddressError),
    /// There are no trusted certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Service {
    /// A service at an address; `ca_file` holds the certificates to trust instead of this machine's.
    ///
    /// # Errors
    /// When there are no certificates to trust.
    pub(crate) fn at(
        address: Address,
        name: &'static str,
        region: &str,
        ca_file: Option<&Path>,
    ) -> Result<Self, TrustError> {
        let connector =
            Connector::new(address.clone(), ca_file, CONNECT_TIMEOUT, 1, HeadLimits::default())?;
        Ok(Self { address, connector, name, region: region.to_owned() })
    }

    /// An AWS service in a region, or at the address in `AWS_ENDPOINT_URL_…` or `AWS_ENDPOINT_URL`
    /// (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
    ///
    /// # Errors
    /// When its address is invalid.
    pub(crate) fn of_aws(name: &'static str, region: &str) -> Result<Self, ServiceError> {
        let variable = |name: String| std::env::var(name).ok().filter(|url| !url.is_empty());
        let own = variable(format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase()));
        let url = own.or_else(|| variable("AWS_ENDPOINT_URL".into()));
        // CloudFront is a global service, though its signatures name a region.
        let host = if name == "cloudfront" { name.to_owned() } else { format!("{name}.{region}") };
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let url = url.unwrap_or_else(|| format!("https://{host}.amazonaws.com{suffix}"));
        let address = Address::from_url(&url).map_err(|error| ServiceError::Address(url, error))?;
        Ok(Self::at(address, name, region, None)?)
    }

    /// The service's URL, such as `https://sns.eu-central-1.amazonaws.com`.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        self.address.server_url()
    }

    /// Sends a request, signed if there are credentials, and reads the whole response.
    ///
    /// # Errors
    /// When there is no response. A response of any status is no error.
    pub(crate) async fn call(
        &self,
        credentials: Option<&Installed>,
        (method, target): (Method, &str),
        mut fields: HeaderMap,
        content: Bytes,
    ) -> Result<WholeAnswer, Error> {
        let length = content.len() as u64;
        let host = HeaderValue::from_str(&self.address.authority).map_err(http::Error::from)?;
        fields.insert(header::HOST, host);
        if let Some(keys) = credentials {
            let url = format!("{}{target}", self.url());
            let now = Clock::system().now().into();
            let request = (method.as_str(), url.as_str(), &content[..]);
            if self.name == "s3" {
                sign_for_s3(&keys.identity, &self.region, now, request, &mut fields)?;
            } else {
                let scope = Scope { service: self.name, region: &self.region };
                sign_for_service(&keys.identity, scope, now, request, &mut fields)?;
            }
        }
        fields.insert(header::USER_AGENT, USER_AGENT);
        let mut request = Request::new(Body::full(content));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(http::Error::from)?;
        *request.headers_mut() = fields;
        let longest = ANSWER_TIMEOUT + Duration::from_secs(length / SLOWEST);
        let (mut sender, timing) = self.connector.connect(|| false).await?;
        let watch = Stopwatch::start();
        let answer = async {
            let response = sender.send_request(request).await?;
            let first_byte = watch.elapsed();
            let (parts, body) = response.into_parts();
            let content =
                Limited::new(body, MAX_CONTENT).collect().await.map_err(Error::Content)?;
            let content = content.to_bytes();
            let timing = Timing { first_byte, ..timing };
            Ok(WholeAnswer { status: parts.status, fields: parts.headers, content, timing })
        };
        tokio::time::timeout(longest, answer).await.map_err(|_| Error::ResponseTimeout)?
    }
}
