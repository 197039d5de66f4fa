//! The rights that reading buckets takes, as an IAM policy.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    config::Config,
    origin::{self, Protocol, Signing},
};

/// The least that lets the configuration's buckets be read: `s3:GetObject` below each origin path, and
/// `s3:ListBucket`, by which S3 tells that an object is missing (404, and not 403). `None` where nothing
/// is signed (Amazon S3 User Guide, "Actions, resources, and condition keys").
#[must_use]
pub fn reading_policy(config: &Config) -> Option<Value> {
    let origins = config.distributions.iter().flat_map(|distribution| &distribution.origins);
    let (mut objects, mut buckets) = (BTreeSet::new(), BTreeSet::new());
    for (bucket, region, path) in origins.filter_map(signed_bucket) {
        let arn = arn(bucket, region);
        let path = percent_decode_str(path).decode_utf8_lossy();
        objects.insert(format!("{arn}{path}/*"));
        buckets.insert(arn);
    }
    (!buckets.is_empty()).then(|| {
        json!({
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
                {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets},
            ],
        })
    })
}

fn signed_bucket(origin: &origin::Options) -> Option<(&str, &str, &str)> {
    match &origin.protocol {
        Protocol::S3 { bucket, region, signing, .. } if *signing != Signing::Never => {
            Some((bucket, region, &origin.origin_path))
        }
        _ => None,
    }
}

/// Amazon Web Services, "AWS partitions".
fn arn(bucket: &str, region: &str) -> String {
    let partition = match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    format!("arn:{partition}:s3:::{bucket}")
}
