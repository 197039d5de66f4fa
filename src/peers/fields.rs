//! The header fields between nodes. Their names begin with `forebay-peer-`. Those that viewers and origins send
//! are removed.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::PeerRules;
use crate::{
    cache::{
        key::PathForm,
        store::{CacheTags, Tag},
    },
    cluster::Applied,
    http::{body::Body, fields::remove_all},
    origin::OriginRequest,
};

const PREFIX: &str = "forebay-peer-";
const DISTRIBUTION: HeaderName = HeaderName::from_static("forebay-peer-distribution");
const CONFIGURATION: HeaderName = HeaderName::from_static("forebay-peer-configuration");
const APPLIED: HeaderName = HeaderName::from_static("forebay-peer-applied");
const KEY: HeaderName = HeaderName::from_static("forebay-peer-key");
const RULES: HeaderName = HeaderName::from_static("forebay-peer-rules");
const REQUEST_ID: HeaderName = HeaderName::from_static("forebay-peer-request-id");
const ANSWER: HeaderName = HeaderName::from_static("forebay-peer-answer");
const FRESH_FOR: HeaderName = HeaderName::from_static("forebay-peer-fresh-for");
const TAGS: HeaderName = HeaderName::from_static("forebay-peer-tags");

/// What a request to a peer says besides the viewer's request.
#[derive(Clone, Debug)]
pub(crate) struct PeerRequest {
    /// The id of the distribution.
    pub(crate) distribution: String,
    /// The digest of the asking node's configuration.
    pub(crate) configuration: String,
    /// The purges that the peer must have applied.
    pub(crate) applied: Applied,
    /// The digest of the cache key.
    pub(crate) key: String,
    /// The id of the viewer's request.
    pub(crate) id: Option<HeaderValue>,
    /// The rules of the behavior that apply.
    pub(crate) rules: Option<PeerRules>,
}

impl PeerRequest {
    /// The message for a request that would go to the origin. `None` if it is not valid HTTP.
    pub(super) fn write(self, host: &str, request: &OriginRequest<'_>) -> Option<Request<Body>> {
        let projection = request.projection;
        let mut fields = request.fields.clone();
        for (name, value) in projection.headers.iter().filter(|(name, _)| *name != header::HOST) {
            fields.append(name, value.clone());
        }
        if let Some(cookies) = &projection.cookies {
            fields.insert(header::COOKIE, HeaderValue::from_bytes(cookies).ok()?);
        }
        remove_own(&mut fields);
        fields.insert(DISTRIBUTION, self.distribution.try_into().ok()?);
        fields.insert(CONFIGURATION, self.configuration.try_into().ok()?);
        fields.insert(APPLIED, self.applied.to_string().try_into().ok()?);
        fields.insert(KEY, self.key.try_into().ok()?);
        fields.extend(self.id.map(|id| (REQUEST_ID, id)));
        if let Some(rules) = self.rules {
            fields.insert(RULES, rules.to_string().try_into().ok()?);
        }
        let mut target = String::new();
        match request.path.form() {
            PathForm::Key => request.path.encode_for_bucket(&mut target),
            PathForm::Uri => request.path.encode_for_server(&mut target),
        }
        if let Some(query) = &projection.query {
            target.push('?');
            target.push_str(query);
        }
        let uri = Uri::builder().scheme("https").authority(host).path_and_query(target);
        let mut message = Request::new(Body::empty());
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = uri.build().ok()?;
        *message.headers_mut() = fields;
        Some(message)
    }

    /// Takes the fields out of a peer's request. `None` if one is missing.
    pub(crate) fn take(fields: &mut HeaderMap) -> Option<Self> {
        let text = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let read = Self {
            distribution: text(&DISTRIBUTION)?.to_owned(),
            configuration: text(&CONFIGURATION)?.to_owned(),
            applied: text(&APPLIED)?.parse().ok()?,
            key: text(&KEY)?.to_owned(),
            id: fields.get(REQUEST_ID).cloned(),
            rules: text(&RULES).map(str::parse).transpose().ok()?,
        };
        remove_own(fields);
        Some(read)
    }
}

/// What an answer to a peer says besides the response.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The response of the origin, or a stored one.
    Response {
        /// Whether it was in the cache.
        is_hit: bool,
        /// How long it stays fresh, if it is stored.
        fresh_for: Option<Duration>,
        /// Whether it is from a bucket.
        is_bucket: bool,
        /// Its cache tags.
        tags: CacheTags,
    },
    /// The origin did not answer.
    Failed,
    /// The node that asks must ask the origin.
    Refused,
}

impl Answer {
    /// Adds the fields to an answer, whose other fields of these names are removed.
    pub(crate) fn write(&self, fields: &mut HeaderMap) {
        remove_own(fields);
        let answer = match self {
            Self::Response { is_hit, fresh_for, is_bucket, tags } => {
                fields.extend(fresh_for.map(|left| (FRESH_FOR, left.as_secs().into())));
                let tags: Vec<String> = tags.iter().map(|tag| tag.number().to_string()).collect();
                let tags = HeaderValue::try_from(tags.join(",")).ok();
                fields.extend(tags.filter(|tags| !tags.is_empty()).map(|tags| (TAGS, tags)));
                match (is_hit, is_bucket) {
                    (true, true) => "hit bucket",
                    (true, false) => "hit",
                    (false, true) => "miss bucket",
                    (false, false) => "miss",
                }
            }
            Self::Failed => "failed",
            Self::Refused => "refused",
        };
        fields.insert(ANSWER, HeaderValue::from_static(answer));
    }

    /// Takes the fields out of an answer. `None` if they are missing.
    pub(super) fn take(fields: &mut HeaderMap) -> Option<Self> {
        let answer = fields.get(ANSWER)?.to_str().ok()?.to_owned();
        let tags = fields.get(TAGS).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
        let tags = tags.split(',').filter_map(|tag| tag.parse().ok().map(Tag::from_number));
        let tags: CacheTags = tags.collect();
        let fresh_for = fields.get(FRESH_FOR).and_then(|left| left.to_str().ok()?.parse().ok());
        let fresh_for = fresh_for.map(Duration::from_secs);
        remove_own(fields);
        let response =
            |is_hit, is_bucket| Some(Self::Response { is_hit, fresh_for, is_bucket, tags });
        match &*answer {
            "hit bucket" => response(true, true),
            "hit" => response(true, false),
            "miss bucket" => response(false, true),
            "miss" => response(false, false),
            "failed" => Some(Self::Failed),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

/// Removes the fields between nodes.
fn remove_own(fields: &mut HeaderMap) {
    remove_all(fields, |name| name.as_str().starts_with(PREFIX));
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{
        behavior::RuleMatches,
        cache::key::{CanonicalPath, Projection},
    };

    #[test]
    fn a_viewer_cannot_add_fields_between_nodes() {
        let own = |name: &'static str| HeaderName::from_static(name);
        let from_viewer = vec![
            (own("accept"), HeaderValue::from_static("image/webp")),
            (own("forebay-peer-distribution"), HeaderValue::from_static("other")),
            (own("forebay-peer-request-id"), HeaderValue::from_static("forged")),
        ];
        let projection = Projection {
            query: Some("v=1".into()),
            headers: from_viewer,
            cookies: Some(b"a=1; b=2".to_vec()),
            preflight: false,
        };
        let range = (header::RANGE, HeaderValue::from_static("bytes=0-9"));
        let request = OriginRequest {
            method: Method::GET,
            path: &CanonicalPath::of_key("a b/ü?.png"),
            projection: &projection,
            fields: HeaderMap::from_iter([range]),
            client: None,
            id: None,
            on_interim: None,
            trace: None,
        };
        let applied: Applied = "7 FOREBAY_c 1 0000000000000000".parse().expect("a position");
        let rules = PeerRules { behavior: "/a/*".into(), matches: RuleMatches::from_number(17) };
        let asked = PeerRequest {
            distribution: "media".into(),
            configuration: "c".into(),
            applied: applied.clone(),
            key: "k".into(),
            id: None,
            rules: Some(rules.clone()),
        };
        let mut message = asked.write("media.example.com", &request).expect("a message");
        assert_eq!(message.uri(), "https://media.example.com/a%20b/%C3%BC%3F.png?v=1");
        let read = PeerRequest::take(message.headers_mut()).expect("all fields");
        assert_eq!((&*read.distribution, read.applied, read.id), ("media", applied, None));
        assert_eq!(read.rules, Some(rules));
        let fields = message.headers();
        assert_eq!(fields.len(), 3, "{fields:?}");
        assert_eq!(fields[header::COOKIE], "a=1; b=2");
        assert_eq!(fields[header::RANGE], "bytes=0-9");
    }

    #[test]
    fn an_origin_cannot_answer_as_a_node() {
        let mut fields = HeaderMap::new();
        fields.insert(ANSWER, HeaderValue::from_static("hit"));
        fields.insert(TAGS, HeaderValue::from_static("1"));
        // It is for all caches of this product, and stays.
        let targeted = HeaderName::from_static("forebay-cache-control");
        fields.insert(&targeted, HeaderValue::from_static("private"));
        let tags: CacheTags = [Tag::new("a"), Tag::new("b")].into_iter().collect();
        let fresh_for = Some(Duration::from_secs(9));
        let answer =
            Answer::Response { is_hit: false, fresh_for, is_bucket: true, tags: tags.clone() };
        answer.write(&mut fields);
        let Some(Answer::Response { is_hit: false, fresh_for: read, is_bucket: true, tags: found }) =
            Answer::take(&mut fields)
        else {
            panic!("{fields:?}")
        };
        assert_eq!((read, &*found), (fresh_for, &*tags));
        assert_eq!(fields.keys().collect::<Vec<_>>(), [&targeted]);
        assert!(Answer::take(&mut fields).is_none());
    }
}
