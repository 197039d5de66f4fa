//! `[[key_group]]`: public keys that verify signed URLs and cookies.

use std::{collections::BTreeMap, sync::Arc};

use super::section::{Section, missing};
use crate::access::signed::{KeyError, PublicKey, TrustedKeys};

/// Key groups by name.
pub(super) type KeyGroups = BTreeMap<String, TrustedKeys>;

pub(super) fn key_groups(root: &Section<'_>) -> KeyGroups {
    let mut groups = KeyGroups::new();
    let mut seen = BTreeMap::new();
    for section in root.tables("key_group") {
        let name =
            section.required("name", "add a `name`, by which behaviors select this key group");
        let sha1 = section.boolean("sha1").is_none_or(|sha1| sha1.value);
        let keys = public_keys(&section, sha1, &mut seen);
        section.unknown();
        let Some(name) = name else { continue };
        if groups.insert(name.value.to_owned(), keys).is_some() {
            let message = format!("there is already a key group `{}`", name.value);
            section.fault(name.span, message, "choose another name", None);
        }
    }
    groups
}

fn public_keys<'a>(
    section: &Section<'a>,
    sha1: bool,
    seen: &mut BTreeMap<&'a str, &'a str>,
) -> TrustedKeys {
    let mut keys = TrustedKeys::default();
    let Some(table) = section.table("public_keys") else {
        if !section.has("public_keys") {
            let help = "add `[key_group.public_keys]` with `KEYPAIRID = \"\"\"-----BEGIN PUBLIC KEY----- …\"\"\"`";
            let message = "`key_group.public_keys` is missing";
            section.fault(section.span(), message, "in this key group", help.to_owned());
        }
        return keys;
    };
    let entries = table.strings_by_name();
    if entries.is_empty() {
        table.fault(table.span(), "this key group has no keys", "add a public key here", None);
    }
    for (id, pem) in entries {
        if seen.insert(id, pem.value).is_some_and(|other| other.trim() != pem.value.trim()) {
            let message = format!("the id `{id}` already belongs to another key");
            table.fault(pem.span, message, "each key needs its own id", None);
            continue;
        }
        match PublicKey::from_pem(pem.value) {
            Ok(key) => keys.trust(id, Arc::new(key), sha1),
            Err(error) => {
                let help = match error {
                    KeyError::Private => {
                        "paste the public key: `openssl pkey -pubout -in private_key.pem` prints it; if others can read this file, make a new key pair"
                    }
                    KeyError::Indented => "remove the blanks before each line",
                    KeyError::Pkcs1 => {
                        "convert it: `openssl rsa -RSAPublicKey_in -pubout -in public_key.pem` prints the usual form"
                    }
                    _ => {
                        "paste the text that was uploaded to CloudFront, or that `openssl pkey -pubout -in private_key.pem` prints"
                    }
                };
                let message = format!("the key `{id}` cannot be used");
                table.fault(pem.span, message, error.to_string(), help.to_owned());
            }
        }
    }
    keys
}

/// The keys of all groups that a behavior trusts. An empty list trusts no key.
pub(super) fn trusted(section: &Section<'_>, groups: &KeyGroups) -> Option<Arc<TrustedKeys>> {
    const KEY: &str = "trusted_key_groups";
    let names = section.strings(KEY)?;
    let mut trusted = TrustedKeys::default();
    if names.is_empty() {
        let help = "list a `[[key_group]]`, or remove `trusted_key_groups` to serve requests without signatures".to_owned();
        section.fault(
            section.span(),
            format!("`{KEY}` is empty, so no signature would be valid"),
            "in this behavior",
            help,
        );
    }
    for name in names {
        match groups.get(name.value) {
            Some(group) => trusted.trust_all(group),
            None => {
                let known: Vec<&str> = groups.keys().map(String::as_str).collect();
                missing(section, name, "key group", &known);
            }
        }
    }
    Some(Arc::new(trusted))
}
