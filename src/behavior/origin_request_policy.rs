//! CloudFront's managed origin request policies
//! (Amazon CloudFront Developer Guide, "Use managed origin request policies").

use http::{HeaderName, header};

use crate::cache::key::{ForwardSpec, HeaderSpec, NameSpec};

/// The names of the managed policies that Forebay supports.
pub(crate) const MANAGED_ORIGIN_REQUEST_POLICIES: [&str; 8] = [
    "AllViewer",
    "AllViewerAndCloudFrontHeaders-2022-06",
    "AllViewerExceptHostHeader",
    "CORS-CustomOrigin",
    "CORS-S3Origin",
    "Elemental-MediaTailor-PersonalizedManifests",
    "HostHeaderOnly",
    "UserAgentRefererHeaders",
];

/// CloudFront's header fields about the viewer
/// (Amazon CloudFront Developer Guide, "Add CloudFront request headers").
pub(crate) const ABOUT_VIEWERS: [&str; 23] = [
    "cloudfront-forwarded-proto",
    "cloudfront-is-android-viewer",
    "cloudfront-is-desktop-viewer",
    "cloudfront-is-ios-viewer",
    "cloudfront-is-mobile-viewer",
    "cloudfront-is-smarttv-viewer",
    "cloudfront-is-tablet-viewer",
    "cloudfront-viewer-address",
    "cloudfront-viewer-asn",
    "cloudfront-viewer-city",
    "cloudfront-viewer-country",
    "cloudfront-viewer-country-name",
    "cloudfront-viewer-country-region",
    "cloudfront-viewer-country-region-name",
    "cloudfront-viewer-header-count",
    "cloudfront-viewer-header-order",
    "cloudfront-viewer-http-version",
    "cloudfront-viewer-latitude",
    "cloudfront-viewer-longitude",
    "cloudfront-viewer-metro-code",
    "cloudfront-viewer-postal-code",
    "cloudfront-viewer-time-zone",
    "cloudfront-viewer-tls",
];

/// Header fields that CloudFront added after the managed policy of June 2022.
const LATER: [&str; 2] = ["cloudfront-viewer-header-count", "cloudfront-viewer-header-order"];

/// The managed policy with this name: the fields that it adds to those of the cache key.
#[must_use]
pub(crate) fn managed_origin_request_policy(name: &str) -> Option<ForwardSpec> {
    let only = |names: Vec<HeaderName>| ForwardSpec {
        headers: HeaderSpec::Only(names),
        ..ForwardSpec::default()
    };
    let all_except = |names: Vec<HeaderName>, added: Vec<HeaderName>| ForwardSpec {
        query: NameSpec::All,
        headers: HeaderSpec::Except { names, added },
        cookies: NameSpec::All,
        ..ForwardSpec::default()
    };
    Some(match name {
        "AllViewer" => all_except(Vec::new(), Vec::new()),
        "AllViewerAndCloudFrontHeaders-2022-06" => {
            let added = ABOUT_VIEWERS.into_iter().filter(|name| !LATER.contains(name));
            all_except(Vec::new(), added.map(HeaderName::from_static).collect())
        }
        "AllViewerExceptHostHeader" => all_except(vec![header::HOST], Vec::new()),
        "CORS-CustomOrigin" => only(vec![header::ORIGIN]),
        "CORS-S3Origin" => only(vec![
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            header::ACCESS_CONTROL_REQUEST_METHOD,
        ]),
        "Elemental-MediaTailor-PersonalizedManifests" => ForwardSpec {
            query: NameSpec::All,
            ..only(vec![
                header::ORIGIN,
                header::ACCESS_CONTROL_REQUEST_HEADERS,
                header::ACCESS_CONTROL_REQUEST_METHOD,
                header::USER_AGENT,
                HeaderName::from_static("x-forwarded-for"),
            ])
        },
        "HostHeaderOnly" => only(vec![header::HOST]),
        "UserAgentRefererHeaders" => only(vec![header::USER_AGENT, header::REFERER]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_managed_name_is_known() {
        for name in MANAGED_ORIGIN_REQUEST_POLICIES {
            assert!(managed_origin_request_policy(name).is_some(), "{name}");
        }
        assert_eq!(managed_origin_request_policy("allviewer"), None);
    }
}
