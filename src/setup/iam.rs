//! Permissions to read the buckets, as an IAM policy.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    cache::key::PathForm,
    config::Config,
    origin::{self, Protocol},
};

/// The least privileges for reading the configuration's buckets: `s3:GetObject` below each origin path (and
/// `s3:GetObjectVersion`, if viewers can name a version), and `s3:ListBucket`, with which S3 returns 404 instead of 403
/// for a missing object. `None` if nothing is signed (Amazon S3 User Guide, "Actions, resources, and condition keys").
#[must_use]
pub(crate) fn reading_policy(config: &Config) -> Option<Value> {
    let origins = config.all_distributions().flat_map(|distribution| &distribution.origins);
    let (mut objects, mut buckets) = (BTreeSet::new(), BTreeSet::new());
    for signed in origins.filter_map(Signed::of) {
        let (bucket, prefix) = signed.arn();
        let path = percent_decode_str(signed.path).decode_utf8_lossy();
        objects.insert(format!("{bucket}{prefix}{path}/*"));
        buckets.insert(bucket);
    }
    let mut behaviors =
        config.all_distributions().flat_map(|distribution| distribution.settings.behaviors.all());
    let reads_versions = behaviors.any(|behavior| {
        behavior.path_form == PathForm::Key && behavior.forward.query.lists("versionId")
    });
    let read = if reads_versions {
        json!(["s3:GetObject", "s3:GetObjectVersion"])
    } else {
        json!("s3:GetObject")
    };
    (!buckets.is_empty()).then(|| {
        json!({
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": read, "Resource": objects},
                {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets},
            ],
        })
    })
}

/// A bucket that receives signed requests.
struct Signed<'a> {
    bucket: &'a str,
    region: &'a str,
    host: &'a str,
    path: &'a str,
}

impl<'a> Signed<'a> {
    fn of(origin: &'a origin::Options) -> Option<Self> {
        match &origin.protocol {
            Protocol::S3 { bucket, region, .. } if origin.protocol.is_signed() => {
                let (host, path) = (&origin.address.host, &origin.origin_path);
                Some(Self { bucket, region, host, path })
            }
            _ => None,
        }
    }

    /// The bucket's ARN, and the text between it and an object's path (Amazon S3 User Guide, "Access points").
    fn arn(&self) -> (String, &'static str) {
        let Self { bucket, region, host, .. } = self;
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        match bucket.rsplit_once('-') {
            Some((name, account)) if host.contains(".s3-accesspoint.") => {
                (format!("arn:{partition}:s3:{region}:{account}:accesspoint/{name}"), "/object")
            }
            _ => (format!("arn:{partition}:s3:::{bucket}"), ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Bucket;

    #[test]
    fn resources_are_named_as_iam_names_them() {
        let resources = |bucket: &str, region: &str, endpoint: Option<&str>| {
            let (bucket, region) = (bucket.to_owned(), region.to_owned());
            let endpoint = endpoint.map(str::to_owned);
            let listen = "127.0.0.1:0".to_owned();
            let flags = Bucket { bucket, region, endpoint, listen, ..Bucket::default() };
            let toml =
                flags.to_toml().replace("region =", "origin_path = \"/m%C3%A9dia\"\nregion =");
            let config = Config::compile("test", &toml, Path::new("")).expect("no faults");
            let policy = reading_policy(&config).expect("a policy");
            policy["Statement"]
                .as_array()
                .expect("statements")
                .iter()
                .map(|statement| statement["Resource"][0].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            resources("media", "eu-west-1", None),
            ["arn:aws:s3:::media/média/*", "arn:aws:s3:::media"]
        );
        assert_eq!(
            resources("media", "cn-north-1", None),
            ["arn:aws-cn:s3:::media/média/*", "arn:aws-cn:s3:::media"]
        );
        let door = Some("https://s3-accesspoint.eu-west-1.amazonaws.com");
        assert_eq!(
            resources("door-111122223333", "eu-west-1", door),
            [
                "arn:aws:s3:eu-west-1:111122223333:accesspoint/door/object/média/*",
                "arn:aws:s3:eu-west-1:111122223333:accesspoint/door",
            ]
        );
    }
}
