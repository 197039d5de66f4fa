//! Facts about a refused signature, for the operator. Viewers never see them.

use super::{
    SignatureError, SignedRequest, TrustedKeys, encoding, parameters::Parameters, policy::Policy,
    signed_url,
};
use crate::base::clock::Timestamp;

/// The facts about a refused signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// The URL that the signature had to cover.
    pub(crate) url: String,
    /// The key that the request names.
    pub(crate) key_pair_id: Option<String>,
    /// The trusted keys.
    pub(crate) trusted: Vec<String>,
    /// The signed expiry.
    pub(crate) expires: Option<Timestamp>,
    /// The signed start of a custom policy.
    pub(crate) after: Option<Timestamp>,
    /// The resource of a custom policy.
    pub(crate) resource: Option<String>,
    /// The network of a custom policy.
    pub(crate) network: Option<String>,
    /// The scheme and authority for which the signature is right.
    pub(crate) signed_for: Option<(String, String)>,
}

impl TrustedKeys {
    /// Collects the facts about a refused signature. `sites` are schemes and authorities to try instead.
    #[must_use]
    pub(crate) fn diagnose(
        &self,
        request: &SignedRequest<'_>,
        sites: &[(&str, String)],
    ) -> Diagnosis {
        let trusted = self.keys.keys().cloned().collect();
        let Ok(parameters) = Parameters::read(request.query, request.fields) else {
            return Diagnosis { trusted, ..Diagnosis::default() };
        };
        let policy = parameters.policy.and_then(encoding::decode);
        let policy = policy.and_then(|json| Policy::parse(&json));
        let canned = parameters.expires.and_then(|expires| expires.parse().ok());
        Diagnosis {
            url: signed_url(request, parameters.place, |url| url.to_string()),
            key_pair_id: parameters.key_pair_id.map(str::to_owned),
            trusted,
            expires: policy.as_ref().map(|p| p.expires).or(canned.map(Timestamp::from_secs)),
            after: policy.as_ref().and_then(|policy| policy.after),
            network: policy.as_ref().and_then(|policy| Some(policy.addresses?.to_string())),
            resource: policy.and_then(|policy| policy.resource),
            signed_for: self.signed_for(request, sites),
        }
    }

    /// The first of these sites for which the request is signed, whether or not the signature has expired.
    #[must_use]
    pub(crate) fn signed_for(
        &self,
        request: &SignedRequest<'_>,
        sites: &[(&str, String)],
    ) -> Option<(String, String)> {
        let is_signed = |(scheme, authority): &&(&str, String)| {
            let request = SignedRequest { scheme, authority, ..request.clone() };
            let verified = self.verify(&request);
            matches!(
                verified,
                Ok(())
                    | Err(SignatureError::Expired
                        | SignatureError::TooEarly
                        | SignatureError::OtherAddress)
            )
        };
        let site = sites.iter().find(is_signed);
        site.map(|(scheme, authority)| ((*scheme).to_owned(), authority.clone()))
    }
}
