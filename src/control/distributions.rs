//! ListDistributions, GetDistribution, GetDistributionConfig: the configuration in CloudFront's shapes, to read.

use std::fmt::Write as _;

use http::{StatusCode, request::Parts};
use quick_xml::escape::escape;
use sha2::{Digest, Sha256};

use super::{
    State,
    api::{ApiError, ApiResponse},
    xml::{NAMESPACE, document, moment},
};
use crate::{
    access::restrict::Countries,
    behavior::{AllowedMethods, Behavior, SecurityPolicy, ViewerProtocol},
    http::{coding::Codings, query},
    origin::{Group, Origin, Protocol},
    proxy::Distribution,
};

/// Distributions on a page unless the caller wants fewer, and at most.
const PAGE: usize = 100;

/// A list of distributions, in the order of the configuration.
pub(super) fn list(state: &State, request: &Parts) -> Result<ApiResponse, ApiError> {
    let (mut marker, mut most) = (String::new(), PAGE);
    for (name, value) in
        query::pairs(request.uri.query().unwrap_or_default()).map(query::name_and_value)
    {
        let value = value.unwrap_or_default();
        match name {
            "Marker" => value.clone_into(&mut marker),
            "MaxItems" => {
                most = value.parse().ok().filter(|most| (1..=PAGE).contains(most)).ok_or_else(
                    || {
                        let message = format!("MaxItems is a number from 1 to {PAGE}");
                        ApiError::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
                    },
                )?;
            }
            _ => {}
        }
    }
    let rules = state.edge.rules();
    let mut all = rules.hosts.with_aliases();
    if !marker.is_empty() && !all.any(|(known, _)| *known.settings.id == *marker) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "the Marker is unknown",
        ));
    }
    let mut items = String::new();
    let (mut count, mut last) = (0, "");
    for (distribution, aliases) in all.by_ref().take(most) {
        let started = state.started;
        let _ = write!(
            items,
            "<DistributionSummary>{}{}<Staging>false</Staging></DistributionSummary>",
            identity(distribution, aliases, started),
            config_content(distribution, aliases)
        );
        count += 1;
        last = &distribution.settings.id;
    }
    let more = all.next().is_some();
    let next =
        if more { format!("<NextMarker>{}</NextMarker>", escape(last)) } else { String::new() };
    let items = if count == 0 { items } else { format!("<Items>{items}</Items>") };
    Ok(ApiResponse::found(document(&format!(
        "<DistributionList xmlns=\"{NAMESPACE}\"><Marker>{}</Marker>{next}<MaxItems>{most}</MaxItems>\
         <IsTruncated>{more}</IsTruncated><Quantity>{count}</Quantity>{items}</DistributionList>",
        escape(&marker)
    ))))
}

/// One distribution.
pub(super) fn get(state: &State, id: &str) -> Result<ApiResponse, ApiError> {
    with(state, id, |distribution, aliases| {
        format!(
            "<Distribution xmlns=\"{NAMESPACE}\">{}<InProgressInvalidationBatches>0</InProgressInvalidationBatches>\
             <DistributionConfig>{}</DistributionConfig></Distribution>",
            identity(distribution, aliases, state.started),
            full_config(distribution, aliases)
        )
    })
}

/// The configuration of one distribution.
pub(super) fn config(state: &State, id: &str) -> Result<ApiResponse, ApiError> {
    with(state, id, |distribution, aliases| {
        format!(
            "<DistributionConfig xmlns=\"{NAMESPACE}\">{}</DistributionConfig>",
            full_config(distribution, aliases)
        )
    })
}

/// Forebay has no streaming distributions.
pub(super) fn no_streaming() -> ApiResponse {
    ApiResponse::found(document(&format!(
        "<StreamingDistributionList xmlns=\"{NAMESPACE}\"><Marker></Marker><MaxItems>{PAGE}</MaxItems>\
         <IsTruncated>false</IsTruncated><Quantity>0</Quantity></StreamingDistributionList>"
    )))
}

fn with(
    state: &State,
    id: &str,
    write: impl FnOnce(&Distribution, &[String]) -> String,
) -> Result<ApiResponse, ApiError> {
    let rules = state.edge.rules();
    let mut all = rules.hosts.with_aliases();
    let (distribution, aliases) = all
        .find(|(distribution, _)| &*distribution.settings.id == id)
        .ok_or_else(|| ApiError::no_distribution(id))?;
    let digest = Sha256::digest(full_config(distribution, aliases));
    let etag = digest.iter().take(7).fold(String::from("E"), |mut etag, byte| {
        let _ = write!(etag, "{byte:02X}");
        etag
    });
    let document = document(&write(distribution, aliases));
    Ok(ApiResponse { etag: Some(etag), ..ApiResponse::found(document) })
}

/// The name by which viewers reach it, if it has one of its own.
fn domain_name(aliases: &[String]) -> &str {
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

/// What a summary and a configuration have in common.
fn config_content(distribution: &Distribution, aliases: &[String]) -> String {
    let settings = &distribution.settings;
    let behaviors = &settings.behaviors;
    let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
    let singles = distribution.origins.iter().filter(|group| group.members().count() == 1);
    let origins = singles.filter_map(|group| group.members().next());
    let origins: Vec<String> = origins.map(|known| origin(known)).collect();
    let groups = distribution.origins.iter().filter(|group| group.members().count() > 1);
    let groups: Vec<String> = groups.map(|known| group(known)).collect();
    let ordered = behaviors.ordered.iter().map(|(pattern, known)| {
        let pattern = format!("<PathPattern>{}</PathPattern>", escape(pattern.to_string()));
        format!("<CacheBehavior>{pattern}{}</CacheBehavior>", behavior(distribution, known))
    });
    let ordered: Vec<String> = ordered.collect();
    let pages = settings.error_pages.iter().map(|page| {
        format!(
            "<CustomErrorResponse><ErrorCode>{}</ErrorCode><ResponsePagePath>{}</ResponsePagePath>\
             <ResponseCode>{}</ResponseCode></CustomErrorResponse>",
            page.error.as_u16(),
            escape(&*page.path),
            page.response_code.as_u16()
        )
    });
    let pages: Vec<String> = pages.collect();
    let aliases: Vec<String> =
        aliases.iter().map(|alias| format!("<CNAME>{}</CNAME>", escape(*alias))).collect();
    format!(
        "<Aliases>{}</Aliases><Origins>{}</Origins><OriginGroups>{}</OriginGroups>\
         <DefaultCacheBehavior>{}</DefaultCacheBehavior><CacheBehaviors>{}</CacheBehaviors>\
         <CustomErrorResponses>{}</CustomErrorResponses><Comment></Comment><PriceClass>PriceClass_All</PriceClass>\
         <Enabled>true</Enabled><ViewerCertificate><CloudFrontDefaultCertificate>false</CloudFrontDefaultCertificate>\
         <MinimumProtocolVersion>{}</MinimumProtocolVersion></ViewerCertificate><Restrictions>{}</Restrictions>\
         <WebACLId></WebACLId><HttpVersion>http2</HttpVersion><IsIPV6Enabled>true</IsIPV6Enabled>",
        items(&aliases),
        items(&origins),
        items(&groups),
        behavior(distribution, &behaviors.default),
        items(&ordered),
        items(&pages),
        security(settings.security),
        countries(settings.countries.as_ref())
    )
}

fn full_config(distribution: &Distribution, aliases: &[String]) -> String {
    let settings = &distribution.settings;
    let root = settings.default_root_object.as_deref().unwrap_or_default();
    format!(
        "<CallerReference>{}</CallerReference><DefaultRootObject>{}</DefaultRootObject>{}\
         <Logging><Enabled>false</Enabled><IncludeCookies>false</IncludeCookies><Bucket></Bucket><Prefix></Prefix></Logging>",
        escape(&*settings.id),
        escape(root),
        config_content(distribution, aliases)
    )
}

/// A list in CloudFront's form.
fn items(items: &[String]) -> String {
    let quantity = format!("<Quantity>{}</Quantity>", items.len());
    if items.is_empty() { quantity } else { format!("{quantity}<Items>{}</Items>", items.concat()) }
}

fn origin(origin: &Origin) -> String {
    let options = origin.options();
    let address = &options.address;
    let (domain, kind) = match &options.protocol {
        Protocol::S3 { bucket, .. } if !address.base_path.is_empty() => {
            (format!("{bucket}.{}", address.host), s3_kind())
        }
        Protocol::S3 { .. } => (address.host.clone(), s3_kind()),
        Protocol::Plain => {
            let policy = if address.tls { "https-only" } else { "http-only" };
            let (http, https) = if address.tls { (80, address.port) } else { (address.port, 443) };
            let seconds = options.response_timeout.as_secs();
            let kind = format!(
                "<CustomOriginConfig><HTTPPort>{http}</HTTPPort><HTTPSPort>{https}</HTTPSPort>\
                 <OriginProtocolPolicy>{policy}</OriginProtocolPolicy>\
                 <OriginReadTimeout>{seconds}</OriginReadTimeout></CustomOriginConfig>"
            );
            (address.host.clone(), kind)
        }
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

fn s3_kind() -> String {
    "<S3OriginConfig><OriginAccessIdentity></OriginAccessIdentity></S3OriginConfig>".to_owned()
}

/// A group is named by its members, as `primary+secondary`.
fn group_id(group: &Group) -> String {
    let ids: Vec<&str> = group.members().map(|origin| origin.options().id.as_str()).collect();
    ids.join("+")
}

fn group(group: &Group) -> String {
    let members: Vec<String> = group
        .members()
        .map(|origin| {
            let id = escape(&*origin.options().id);
            format!("<OriginGroupMember><OriginId>{id}</OriginId></OriginGroupMember>")
        })
        .collect();
    format!(
        "<OriginGroup><Id>{}</Id><FailoverCriteria><StatusCodes><Quantity>0</Quantity></StatusCodes></FailoverCriteria>\
         <Members>{}</Members></OriginGroup>",
        escape(&*group_id(group)),
        items(&members)
    )
}

fn behavior(distribution: &Distribution, behavior: &Behavior) -> String {
    let target = group_id(&distribution.origins[behavior.origin]);
    let name = |names: &[(&'static str, ViewerProtocol)]| {
        let found = names.iter().find(|(_, known)| *known == behavior.viewer_protocol);
        found.map_or("allow-all", |(name, _)| *name)
    };
    let methods = |methods: &[&str]| {
        let methods: Vec<String> =
            methods.iter().map(|method| format!("<Method>{method}</Method>")).collect();
        items(&methods)
    };
    let allowed: &[&str] = match behavior.allowed_methods {
        AllowedMethods::Read => &["HEAD", "GET"],
        AllowedMethods::ReadAndOptions => &["HEAD", "GET", "OPTIONS"],
        AllowedMethods::All | AllowedMethods::Any => {
            &["HEAD", "DELETE", "POST", "GET", "OPTIONS", "PUT", "PATCH"]
        }
    };
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
        name(&ViewerProtocol::NAMES),
        methods(allowed),
        methods(&["HEAD", "GET"]),
        behavior.compress != Codings::NONE,
        ttl.min.as_secs(),
        ttl.default.as_secs(),
        ttl.max.as_secs()
    )
}

fn security(policy: SecurityPolicy) -> &'static str {
    let found = SecurityPolicy::NAMES.iter().find(|(_, known)| *known == policy);
    found.map_or("TLSv1.2_2021", |(name, _)| *name)
}

fn countries(countries: Option<&Countries>) -> String {
    let (kind, codes): (_, &[String]) = match countries {
        None => ("none", &[]),
        Some(Countries::Only(codes)) => ("whitelist", codes),
        Some(Countries::Except(codes)) => ("blacklist", codes),
    };
    let codes: Vec<String> =
        codes.iter().map(|code| format!("<Location>{}</Location>", escape(&**code))).collect();
    format!(
        "<GeoRestriction><RestrictionType>{kind}</RestrictionType>{}</GeoRestriction>",
        items(&codes)
    )
}
