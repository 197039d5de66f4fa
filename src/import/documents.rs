//! Documents from CloudFront's API: distributions and the resources they refer to.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

/// Errors that prevent an import.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The file is not JSON.
    #[error("`{name}` is not JSON: {reason}")]
    NotJson {
        /// The file.
        name: String,
        /// The position and the problem.
        reason: String,
    },
    /// The file is empty: the command that should have written it failed.
    #[error("`{name}` is empty")]
    Empty {
        /// The file.
        name: String,
    },
    /// The JSON is not a CloudFront document.
    #[error(
        "`{name}` is not a CloudFront document: it has neither `DistributionConfig` nor a policy, key group or public key"
    )]
    Unknown {
        /// The file.
        name: String,
    },
    /// The file is a `list-distributions` listing, which omits important settings.
    #[error("`{name}` is a list of distributions, which omits most of their settings")]
    Summaries {
        /// The file.
        name: String,
    },
    /// The files contain no distribution.
    #[error("these documents contain no distribution")]
    NoDistribution,
}

/// Decodes a file: UTF-8, or UTF-16 as Windows PowerShell writes it, with or without a byte order mark. `None` if it is
/// neither.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<String> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, []) = rest.as_chunks::<2>() else { return None };
        char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<_, _>>().ok()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // JSON starts with an ASCII character.
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// A distribution's configuration.
pub(super) struct Document {
    /// The file's name.
    pub(super) name: String,
    /// Its id, if the document has it.
    pub(super) id: Option<String>,
    /// Its domain name without an alias, if the document has it.
    pub(super) domain: Option<String>,
    /// The whole document, and the keys that lead to the configuration.
    pub(super) content: Value,
    pub(super) inside: &'static [&'static str],
}

/// Resources that distributions refer to, by id.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) cache_policies: BTreeMap<String, Value>,
    pub(super) origin_request_policies: BTreeMap<String, Value>,
    pub(super) response_headers_policies: BTreeMap<String, Value>,
    pub(super) key_groups: BTreeMap<String, Value>,
    pub(super) public_keys: BTreeMap<String, Value>,
    pub(super) access_controls: BTreeMap<String, Value>,
    pub(super) deployment_policies: BTreeMap<String, Value>,
    /// The code of CloudFront Functions, by name.
    pub(super) functions: BTreeMap<String, String>,
}

/// All documents, sorted by kind.
pub struct Documents {
    pub(super) distributions: Vec<Document>,
    pub(super) parts: Parts,
}

impl Documents {
    /// Reads documents, each with its file name.
    ///
    /// # Errors
    /// If a file is not a CloudFront document, or none is a distribution.
    pub fn read(files: &[(String, String)]) -> Result<Self, DocumentError> {
        let mut documents = Self { distributions: Vec::new(), parts: Parts::default() };
        for (name, text) in files {
            if text.trim().is_empty() {
                return Err(DocumentError::Empty { name: name.clone() });
            }
            if let Some(function) = function_name(name) {
                documents.parts.functions.insert(function, text.clone());
                continue;
            }
            let content: Value = serde_json::from_str(text).map_err(|error| {
                DocumentError::NotJson { name: name.clone(), reason: error.to_string() }
            })?;
            documents.take(name, content)?;
        }
        if documents.distributions.is_empty() {
            return Err(DocumentError::NoDistribution);
        }
        Ok(documents)
    }

    fn take(&mut self, name: &str, content: Value) -> Result<(), DocumentError> {
        let has = |key: &str| content.get(key).is_some();
        if has("DistributionList") {
            return Err(DocumentError::Summaries { name: name.to_owned() });
        }
        let inside: Option<&'static [&'static str]> = if has("Distribution") {
            Some(&["Distribution", "DistributionConfig"])
        } else if has("DistributionConfig") {
            Some(&["DistributionConfig"])
        } else if has("Origins") && has("DefaultCacheBehavior") {
            Some(&[])
        } else {
            None
        };
        let Some(inside) = inside else {
            let taken = self.parts.take(name, &content);
            return if taken { Ok(()) } else { Err(DocumentError::Unknown { name: name.into() }) };
        };
        let field = |key| Some(content.get("Distribution")?.get(key)?.as_str()?.to_owned());
        let (id, domain) = (field("Id"), field("DomainName"));
        self.distributions.push(Document { name: name.to_owned(), id, domain, content, inside });
        Ok(())
    }
}

/// The name of the function whose code a file has.
fn function_name(file: &str) -> Option<String> {
    let file = Path::new(file);
    file.extension().filter(|extension| *extension == "js")?;
    Some(file.file_stem()?.to_string_lossy().into_owned())
}

impl Parts {
    /// Adds the resource in a document, or each resource of a list. The id of a bare configuration is its file name.
    fn take(&mut self, file: &str, content: &Value) -> bool {
        let kinds: [(&str, &str, &mut BTreeMap<String, Value>); 7] = [
            ("CachePolicy", "CachePolicyConfig", &mut self.cache_policies),
            ("OriginRequestPolicy", "OriginRequestPolicyConfig", &mut self.origin_request_policies),
            (
                "ResponseHeadersPolicy",
                "ResponseHeadersPolicyConfig",
                &mut self.response_headers_policies,
            ),
            ("KeyGroup", "KeyGroupConfig", &mut self.key_groups),
            ("PublicKey", "PublicKeyConfig", &mut self.public_keys),
            ("OriginAccessControl", "OriginAccessControlConfig", &mut self.access_controls),
            (
                "ContinuousDeploymentPolicy",
                "ContinuousDeploymentPolicyConfig",
                &mut self.deployment_policies,
            ),
        ];
        let mut taken = false;
        for (kind, config, known) in kinds {
            let list = content.get(format!("{kind}List"));
            let items = list.and_then(|list| list.get("Items")?.as_array());
            let listed = items.into_iter().flatten().map(|item| item.get(kind).unwrap_or(item));
            for thing in content.get(kind).into_iter().chain(listed) {
                let Some(id) = thing.get("Id").and_then(Value::as_str) else { continue };
                // Lists of public keys and access controls hold the configuration's fields directly.
                let config = thing.get(config).unwrap_or(thing);
                known.insert(id.to_owned(), config.clone());
            }
            if let Some(config) = content.get(config) {
                known.insert(stem(file).to_owned(), config.clone());
                taken = true;
            }
            taken |= list.is_some() || content.get(kind).is_some();
        }
        taken
    }
}

/// A file name without directory and extension.
pub(super) fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_suffix(".json").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_decoded_as_shells_write_them() {
        let text = "{\"Comment\": \"é😀\"}";
        let utf16 =
            |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", &little[..]].concat(),
            [b"\xfe\xff", &big[..]].concat(),
            little.clone(),
            big,
        ] {
            assert_eq!(decode(&bytes).as_deref(), Some(text), "{bytes:x?}");
        }
        for bytes in [&b"\xff"[..], b"\xff\xfe{", b"\xff\xfe\x00\xd8", b"{\xff}", &little[..3]] {
            assert_eq!(decode(bytes), None, "{bytes:x?}");
        }
        assert_eq!(decode(b"").as_deref(), Some(""));
    }
}
