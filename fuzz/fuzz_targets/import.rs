//! CloudFront's documents with arbitrary changes: the importer does not panic. Anything closed at CloudFront stays
//! closed in the generated configuration, unless that configuration does not even start.

#![no_main]

use std::sync::LazyLock;

use forebay::import::{Documents, Tls, decode, import};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// A distribution with every kind of protection, and the documents it refers to.
static DOCUMENTS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/import/signed-urls");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let text = is_json.then(|| std::fs::read_to_string(&path).expect("a document"))?;
        Some((path.display().to_string(), serde_json::from_str(&text).expect("JSON")))
    };
    std::fs::read_dir(folder).expect("a folder").filter_map(read).collect()
});

/// Protections and other values, inserted at a location that the input chooses.
const VALUES: [&str; 14] = [
    "null", "true", "false", "0", "1", "\"\"", "\"true\"", "[]", "{}", "{\"Enabled\": true}",
    "{\"Enabled\": \"yes\", \"Items\": []}", "{\"Items\": [\"x\"], \"Quantity\": 0}",
    "[{\"EventType\": \"viewer-request\"}]", "\"\\u0000\\n[x]\\n*?\"",
];

const PLACES: [&str; 12] = [
    "/DistributionConfig/Enabled",
    "/DistributionConfig/WebACLId",
    "/DistributionConfig/ViewerMtlsConfig",
    "/DistributionConfig/ConnectionFunctionAssociation",
    "/DistributionConfig/Restrictions/GeoRestriction",
    "/DistributionConfig/DefaultCacheBehavior/TrustedSigners",
    "/DistributionConfig/DefaultCacheBehavior/TrustedKeyGroups",
    "/DistributionConfig/DefaultCacheBehavior/FunctionAssociations",
    "/DistributionConfig/DefaultCacheBehavior/LambdaFunctionAssociations",
    "/DistributionConfig/DefaultCacheBehavior/CachePolicyId",
    "/DistributionConfig/CacheBehaviors/Items/0/TrustedKeyGroups/Enabled",
    "/DistributionConfig/CacheBehaviors/Items/0/TrustedKeyGroups/Items/0",
];

fuzz_target!(|input: &[u8]| {
    if let Some(text) = decode(input)
        && let Ok(documents) = Documents::read(&[("E.json".to_owned(), text)])
    {
        let _ = import(&documents, &Tls::Unknown);
    }
    let mut files = DOCUMENTS.clone();
    for change in input.chunks_exact(2).take(8) {
        let place = PLACES[usize::from(change[0]) % PLACES.len()];
        let value = VALUES[usize::from(change[1]) % VALUES.len()];
        let value: Value = serde_json::from_str(value).expect("JSON");
        for (_, document) in &mut files {
            if document.get("DistributionConfig").is_some() {
                put(document, place, value.clone());
            }
        }
    }
    let config = files.iter().find_map(|(_, document)| document.get("DistributionConfig"));
    let wanted = Wanted::of(config.expect("a distribution"));
    let texts: Vec<_> = files.iter().map(|(name, file)| (name.clone(), file.to_string())).collect();
    let Ok(documents) = Documents::read(&texts) else { return };
    let import = import(&documents, &Tls::Before);
    let Some(compiled) = import.config else { return };
    let settings = &compiled.distributions[0].settings;
    if wanted.closed {
        assert!(import.toml.contains("allow = []"), "{}", import.toml);
    }
    let default = &settings.behaviors.default;
    assert!(!wanted.signed || default.trusted.is_some(), "{}", import.toml);
    assert!(!wanted.function || !default.enabled, "{}", import.toml);
});

/// CloudFront's requirements for viewers, read independently from the document.
struct Wanted {
    /// The whole distribution is closed, or depends on a feature that Forebay lacks.
    closed: bool,
    /// The default behavior requires signatures.
    signed: bool,
    /// A viewer-request function decides for the default behavior.
    function: bool,
}

impl Wanted {
    fn of(config: &Value) -> Self {
        let is_set = |key: &str| config.get(key).is_some_and(says_something);
        let behavior = &config["DefaultCacheBehavior"];
        let demands = |key: &str| {
            let signers = &behavior[key];
            signers["Enabled"] == true || !items(signers).is_empty()
        };
        let decides = |key: &str| {
            items(&behavior[key]).iter().any(|item| item["EventType"] == "viewer-request")
        };
        Self {
            closed: config.get("Enabled") != Some(&Value::Bool(true))
                || is_set("WebACLId")
                || is_set("ViewerMtlsConfig")
                || is_set("ConnectionFunctionAssociation"),
            signed: demands("TrustedSigners") || demands("TrustedKeyGroups"),
            function: decides("FunctionAssociations") || decides("LambdaFunctionAssociations"),
        }
    }
}

fn items(list: &Value) -> &[Value] {
    let items = list.as_array().or_else(|| list.get("Items")?.as_array());
    items.map(Vec::as_slice).unwrap_or_default()
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(fields) => fields.values().any(says_something),
    }
}

/// Sets `value` at a JSON pointer and creates missing objects.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for part in pointer.trim_start_matches('/').split('/') {
        place = match place {
            Value::Array(items) => match part.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                Some(item) => item,
                None => return,
            },
            Value::Object(fields) => fields.entry(part).or_insert(Value::Null),
            other => {
                *other = Value::Object(serde_json::Map::new());
                other.as_object_mut().expect("an object").entry(part).or_insert(Value::Null)
            }
        };
    }
    *place = value;
}
