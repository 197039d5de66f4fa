//! SigV4 signatures as S3 computes them.

use std::time::SystemTime;

use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the request could not be signed")]
pub struct SignError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The service and region that a signature is valid for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The service, such as `s3` or `cloudfront`.
    pub service: &'a str,
    /// The region, such as `eu-central-1`.
    pub region: &'a str,
}

/// Signs an S3 request and its content: adds the signature's header fields to `fields`. `Host` and `x-amz-*`
/// are signed.
///
/// S3 encodes a path once and does not normalise it, so `path` must already be in canonical
/// spelling. The payload hash has its own header field (AWS: "Signature Version 4 for S3").
///
/// # Errors
/// If the signer rejects the request.
pub(crate) fn sign_for_s3(
    identity: &Identity,
    region: &str,
    time: SystemTime,
    request: (&str, &str, &[u8]),
    fields: &mut HeaderMap,
) -> Result<(), SignError> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    add_signature(identity, Scope { service: "s3", region }, settings, time, request, fields)
}

/// Signs a request to another AWS service, including its content.
///
/// # Errors
/// If the signer rejects the request.
pub(crate) fn sign_for_service(
    identity: &Identity,
    scope: Scope<'_>,
    time: SystemTime,
    (method, url, content): (&str, &str, &[u8]),
    fields: &mut HeaderMap,
) -> Result<(), SignError> {
    let settings = SigningSettings::default();
    add_signature(identity, scope, settings, time, (method, url, content), fields)
}

fn add_signature(
    identity: &Identity,
    scope: Scope<'_>,
    settings: SigningSettings,
    time: SystemTime,
    (method, url, content): (&str, &str, &[u8]),
    fields: &mut HeaderMap,
) -> Result<(), SignError> {
    let params = v4::SigningParams::builder()
        .identity(identity)
        .region(scope.region)
        .name(scope.service)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| SignError(error.into()))?
        .into();
    let is_signed =
        |name: &HeaderName| *name == http::header::HOST || name.as_str().starts_with("x-amz-");
    let signed_fields = fields
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| Ok((name.as_str(), value.to_str()?)))
        .collect::<Result<Vec<_>, http::header::ToStrError>>()
        .map_err(|error| SignError(error.into()))?;
    let content = SignableBody::Bytes(content);
    let request = SignableRequest::new(method, url, signed_fields.into_iter(), content)
        .map_err(|error| SignError(error.into()))?;
    let signed = sign(request, &params).map_err(|error| SignError(error.into()))?;
    let (instructions, _) = signed.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| SignError(e.into()))?;
        let mut value = HeaderValue::from_str(value).map_err(|e| SignError(e.into()))?;
        value.set_sensitive(true);
        fields.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_credential_types::Credentials;

    use super::*;

    /// The keys are from the examples in the Amazon S3 User Guide. The signature was computed by
    /// botocore's `S3SigV4Auth` for the same request at the same time.
    #[test]
    fn signature_agrees_with_botocore() {
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        );
        let time = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let mut fields = HeaderMap::new();
        fields.insert("host", HeaderValue::from_static("examplebucket.s3.amazonaws.com"));
        let url = "https://examplebucket.s3.amazonaws.com/it%27s%281%29%21%2A~/%C3%A9%20%2B%25.txt";
        sign_for_s3(&credentials.into(), "us-east-1", time, ("GET", url, &[]), &mut fields)
            .expect("signed");
        assert_eq!(
            fields["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=6d77b2c13f2f42b134a66a31546a9240f38da3b2f23e618e31a0c2c1adb2df9d"
        );
    }
}
