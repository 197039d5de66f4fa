//! ListDistributions, GetDistribution, GetDistributionConfig: read-only views of the configuration in CloudFront's XML.

use std::{fmt::Write as _, sync::Arc};

use http::request::Parts;
use quick_xml::escape::escape;
use sha2::{Digest, Sha256};

use super::{
    State,
    api::{ApiError, ApiResponse, PageRequest},
    xml::{self, NAMESPACE, document, moment, quantity_and_items},
};
use crate::{
    access::restrict::Countries,
    behavior::{AllowedMethods, Behavior, PathPattern, SecurityPolicy, ViewerProtocol},
    http::coding::Codings,
    origin::{Group, Origin, Protocol},
    proxy::{Distribution, ErrorPage},
};

/// Lists distributions in configuration order.
pub(super) fn list(state: &State, request: &Parts) -> Result<ApiResponse, ApiError> {
    let wanted = PageRequest::read(request)?;
    let rules = state.edge.rules();
    let mut all = rules.hosts.with_aliases();
    let is_marker = |known: &Distribution| *known.settings.id == *wanted.marker;
    if !wanted.marker.is_empty() && !all.any(|(known, _)| is_marker(known)) {
        return Err(ApiError::invalid_argument("the Marker is unknown"));
    }
    let page: Vec<_> = all.by_ref().take(wanted.most).collect();
    let next = page.last().filter(|_| all.next().is_some()).map(|(last, _)| &*last.settings.id);
    let summary = |(distribution, aliases): &(&Arc<Distribution>, &[String])| {
        format!(
            "<DistributionSummary>{}{}<Staging>false</Staging></DistributionSummary>",
            identity(distribution, aliases, state.started),
            common_content(distribution, aliases)
        )
    };
    let document = xml::page("DistributionList", &wanted, next, page.iter().map(summary));
    Ok(ApiResponse::found(document))
}

/// Returns one distribution.
pub(super) fn get(state: &State, id: &str) -> Result<ApiResponse, ApiError> {
    with(state, id, |distribution, aliases, config| {
        format!(
            "<Distribution xmlns=\"{NAMESPACE}\">{}<InProgressInvalidationBatches>0</InProgressInvalidationBatches>\
             <DistributionConfig>{config}</DistributionConfig></Distribution>",
            identity(distribution, aliases, state.started)
        )
    })
}

/// Returns the configuration of one distribution.
pub(super) fn config(state: &State, id: &str) -> Result<ApiResponse, ApiError> {
    with(state, id, |_, _, config| {
        format!("<DistributionConfig xmlns=\"{NAMESPACE}\">{config}</DistributionConfig>")
    })
}

/// Returns an empty list: Forebay has no streaming distributions.
pub(super) fn no_streaming(request: &Parts) -> Result<ApiResponse, ApiError> {
    let wanted = PageRequest::read(request)?;
    let document = xml::page("StreamingDistributionList", &wanted, None, std::iter::empty());
    Ok(ApiResponse::found(document))
}

/// Builds a document about one distribution from its aliases and configuration. The configuration's digest is the ETag.
fn with(
    state: &State,
    id: &str,
    write: impl FnOnce(&Distribution, &[String], &str) -> String,
) -> Result<ApiResponse, ApiError> {
    let rules = state.edge.rules();
    let mut all = rules.hosts.with_aliases();
    let (distribution, aliases) = all
        .find(|(distribution, _)| &*distribution.settings.id == id)
        .ok_or_else(|| ApiError::no_distribution(id))?;
    let config = config_content(distribution, aliases);
    let etag = Sha256::digest(&config).iter().take(7).fold(String::from("E"), |mut etag, byte| {
        let _ = write!(etag, "{byte:02X}");
        etag
    });
    let document = document(&write(distribution, aliases, &config));
    Ok(ApiResponse { etag: Some(etag), ..ApiResponse::found(document) })
}

/// The first alias without a wildcard, or `localhost`.
pub(super) fn domain_name(aliases: &[String]) -> &str {
    aliases.iter().find(|alias| !alias.contains('*')).map_or("localhost", String::as_str)
}

fn identity(distribution: &Distribution, aliases: &[String], started: u64) -> String {
    let id = escape(&*distribution.settings.id);
    format!(
        "<Id>{id}</Id><ARN>arn:aws:cloudfront::000000000000:distribution/{id}</ARN><Status>Deployed</Status>\
         <LastModifiedTime>{}</LastModifiedTime><DomainName>{}</DomainName>",
        moment(started),
        escape(domain_name(aliases))
    )
}

/// The elements that a summary and a configuration share.
fn common_content(distribution: &Distribution, aliases: &[String]) -> String {
    let settings = &distribution.settings;
    let behaviors = &settings.behaviors;
    let alias = |alias: &String| format!("<CNAME>{}</CNAME>", escape(&**alias));
    let (groups, singles): (Vec<_>, Vec<_>) =
        distribution.origins.iter().partition(|group| group.members().count() > 1);
    let origins = singles.iter().flat_map(|group| group.members());
    let ordered = |(pattern, known): &(PathPattern, Arc<Behavior>)| {
        let pattern = format!("<PathPattern>{}</PathPattern>", escape(pattern.to_string()));
        format!("<CacheBehavior>{pattern}{}</CacheBehavior>", behavior(distribution, known))
    };
    let page = |page: &ErrorPage| {
        format!(
            "<CustomErrorResponse><ErrorCode>{}</ErrorCode><ResponsePagePath>{}</ResponsePagePath>\
             <ResponseCode>{}</ResponseCode></CustomErrorResponse>",
            page.error.as_u16(),
            escape(&*page.path),
            page.response_code.as_u16()
        )
    };
    format!(
        "<Aliases>{}</Aliases><Origins>{}</Origins><OriginGroups>{}</OriginGroups>\
         <DefaultCacheBehavior>{}</DefaultCacheBehavior><CacheBehaviors>{}</CacheBehaviors>\
         <CustomErrorResponses>{}</CustomErrorResponses><Comment></Comment><PriceClass>PriceClass_All</PriceClass>\
         <Enabled>true</Enabled><ViewerCertificate><CloudFrontDefaultCertificate>false</CloudFrontDefaultCertificate>\
         <MinimumProtocolVersion>{}</MinimumProtocolVersion></ViewerCertificate><Restrictions>{}</Restrictions>\
         <WebACLId></WebACLId><HttpVersion>http2</HttpVersion><IsIPV6Enabled>true</IsIPV6Enabled>",
        quantity_and_items(aliases.iter().map(alias)),
        quantity_and_items(origins.map(|known| origin(known))),
        quantity_and_items(groups.iter().map(|known| group(known))),
        behavior(distribution, &behaviors.default),
        quantity_and_items(behaviors.ordered.iter().map(ordered)),
        quantity_and_items(settings.error_pages.iter().map(page)),
        name_of(&SecurityPolicy::NAMES, settings.security),
        countries(settings.countries.as_ref())
    )
}

fn config_content(distribution: &Distribution, aliases: &[String]) -> String {
    let settings = &distribution.settings;
    let root = settings.default_root_object.as_deref().unwrap_or_default();
    format!(
        "<CallerReference>{}</CallerReference><DefaultRootObject>{}</DefaultRootObject>{}\
         <Logging><Enabled>false</Enabled><IncludeCookies>false</IncludeCookies><Bucket></Bucket><Prefix></Prefix></Logging>",
        escape(&*settings.id),
        escape(root),
        common_content(distribution, aliases)
    )
}

/// CloudFront's name for a setting.
fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], setting: T) -> &'static str {
    names.iter().find(|(_, known)| *known == setting).map_or("", |(name, _)| *name)
}

fn origin(origin: &Origin) -> String {
    let options = origin.options();
    let address = &options.address;
    let domain = match &options.protocol {
        Protocol::S3 { bucket, .. } if !address.base_path.is_empty() => {
            format!("{bucket}.{}", address.host)
        }
        _ => address.host.clone(),
    };
    let kind = if origin.is_s3() {
        "<S3OriginConfig><OriginAccessIdentity></OriginAccessIdentity></S3OriginConfig>".to_owned()
    } else {
        let policy = if address.tls { "https-only" } else { "http-only" };
        let (http, https) = if address.tls { (80, address.port) } else { (address.port, 443) };
        let seconds = options.response_timeout.as_secs();
        format!(
            "<CustomOriginConfig><HTTPPort>{http}</HTTPPort><HTTPSPort>{https}</HTTPSPort>\
             <OriginProtocolPolicy>{policy}</OriginProtocolPolicy>\
             <OriginReadTimeout>{seconds}</OriginReadTimeout></CustomOriginConfig>"
        )
    };
    format!(
        "<Origin><Id>{}</Id><DomainName>{}</DomainName><OriginPath>{}</OriginPath>\
         <CustomHeaders><Quantity>0</Quantity></CustomHeaders>{kind}\
         <ConnectionAttempts>{}</ConnectionAttempts><ConnectionTimeout>{}</ConnectionTimeout></Origin>",
        escape(&*options.id),
        escape(&*domain),
        escape(&*options.origin_path),
        options.connect_attempts,
        options.connect_timeout.as_secs()
    )
}

/// The id of an origin group: its member ids, as `primary+secondary`.
fn group_id(group: &Group) -> String {
    let ids: Vec<&str> = group.members().map(|origin| origin.options().id.as_str()).collect();
    ids.join("+")
}

fn group(group: &Group) -> String {
    let members = group.members().map(|origin| {
        let id = escape(&*origin.options().id);
        format!("<OriginGroupMember><OriginId>{id}</OriginId></OriginGroupMember>")
    });
    format!(
        "<OriginGroup><Id>{}</Id><FailoverCriteria><StatusCodes><Quantity>0</Quantity></StatusCodes></FailoverCriteria>\
         <Members>{}</Members></OriginGroup>",
        escape(&*group_id(group)),
        quantity_and_items(members)
    )
}

fn behavior(distribution: &Distribution, behavior: &Behavior) -> String {
    let target = group_id(&distribution.origins[behavior.origin]);
    let methods = |methods: &[&str]| {
        quantity_and_items(methods.iter().map(|method| format!("<Method>{method}</Method>")))
    };
    let allowed: &[&str] = match behavior.allowed_methods {
        AllowedMethods::Read => &["HEAD", "GET"],
        AllowedMethods::ReadAndOptions => &["HEAD", "GET", "OPTIONS"],
        AllowedMethods::All | AllowedMethods::Any => {
            &["HEAD", "DELETE", "POST", "GET", "OPTIONS", "PUT", "PATCH"]
        }
    };
    let cached: &[&str] =
        if behavior.cache_preflights { &["HEAD", "GET", "OPTIONS"] } else { &["HEAD", "GET"] };
    let ttl = behavior.cache_policy.caching.ttl;
    format!(
        "<TargetOriginId>{}</TargetOriginId><TrustedSigners><Enabled>false</Enabled><Quantity>0</Quantity></TrustedSigners>\
         <TrustedKeyGroups><Enabled>{}</Enabled><Quantity>0</Quantity></TrustedKeyGroups>\
         <ViewerProtocolPolicy>{}</ViewerProtocolPolicy>\
         <AllowedMethods>{}<CachedMethods>{}</CachedMethods></AllowedMethods>\
         <SmoothStreaming>false</SmoothStreaming><Compress>{}</Compress>\
         <LambdaFunctionAssociations><Quantity>0</Quantity></LambdaFunctionAssociations>\
         <FieldLevelEncryptionId></FieldLevelEncryptionId>\
         <MinTTL>{}</MinTTL><DefaultTTL>{}</DefaultTTL><MaxTTL>{}</MaxTTL>",
        escape(&*target),
        behavior.trusted.is_some(),
        name_of(&ViewerProtocol::NAMES, behavior.viewer_protocol),
        methods(allowed),
        methods(cached),
        behavior.compress != Codings::NONE,
        ttl.min.as_secs(),
        ttl.default.as_secs(),
        ttl.max.as_secs()
    )
}

fn countries(countries: Option<&Countries>) -> String {
    let (kind, codes): (_, &[String]) = match countries {
        None => ("none", &[]),
        Some(Countries::Only(codes)) => ("whitelist", codes),
        Some(Countries::Except(codes)) => ("blacklist", codes),
    };
    let locations = codes.iter().map(|code| format!("<Location>{}</Location>", escape(&**code)));
    format!(
        "<GeoRestriction><RestrictionType>{kind}</RestrictionType>{}</GeoRestriction>",
        quantity_and_items(locations)
    )
}
