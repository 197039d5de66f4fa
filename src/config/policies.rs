//! The policies and key groups of a configuration.

use super::{
    key_group::{self, KeyGroups},
    origin_request::{self, OriginRequestPolicies},
    policy::{self, CachePolicies},
    response_headers::{self, ResponseHeadersPolicies},
    section::Section,
};

/// Custom policies and key groups that behaviors refer to.
pub(super) struct Policies {
    pub(super) cache: CachePolicies,
    pub(super) origin_request: OriginRequestPolicies,
    pub(super) response_headers: ResponseHeadersPolicies,
    pub(super) key_groups: KeyGroups,
}

impl Policies {
    pub(super) fn read(root: &Section<'_>) -> Self {
        Self {
            cache: policy::own_policies(root),
            origin_request: origin_request::own_policies(root),
            response_headers: response_headers::own_policies(root),
            key_groups: key_group::key_groups(root),
        }
    }
}
