//! Sources of credentials.

use aws_credential_types::{Credentials as Keys, credential_feature::AwsCredentialFeature};

/// The name of the source of credentials, if they say it.
pub(super) fn source_of(keys: &Keys) -> Option<&'static str> {
    keys.get_property::<Vec<AwsCredentialFeature>>()?.first().map(source)
}

/// The name of a credential source (AWS SDKs and Tools Reference Guide, "Standardized credential
/// providers").
const fn source(feature: &AwsCredentialFeature) -> &'static str {
    match feature {
        AwsCredentialFeature::CredentialsEnvVars => "environment",
        AwsCredentialFeature::CredentialsEnvVarsStsWebIdToken
        | AwsCredentialFeature::CredentialsProfileStsWebIdToken
        | AwsCredentialFeature::CredentialsStsAssumeRoleWebId => "web identity",
        AwsCredentialFeature::CredentialsSso
        | AwsCredentialFeature::CredentialsProfileSso
        | AwsCredentialFeature::CredentialsLogin
        | AwsCredentialFeature::CredentialsProfileLogin => "single sign-on",
        AwsCredentialFeature::CredentialsStsAssumeRole => "assumed role",
        AwsCredentialFeature::CredentialsImds => "the instance's role",
        AwsCredentialFeature::CredentialsHttp => "the container's role",
        AwsCredentialFeature::CredentialsProcess
        | AwsCredentialFeature::CredentialsProfileProcess => "a credential process",
        _ => "a profile",
    }
}
