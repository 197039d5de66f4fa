//! The importer: CloudFront's documents become a configuration, and a report of the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use forebay::{
    config::Config,
    import::{Documents, Import, Tls, import},
};
use serde_json::Value;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).expect("cases").map(|entry| entry.expect("case").path()).collect();
    cases.sort();
    cases
}

/// Compares with the file, or writes it if UPDATE_GOLDEN is set.
fn assert_golden(file: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(file, found).expect("written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(found, expected, "{} (UPDATE_GOLDEN=1 rewrites it)", file.display());
}

#[test]
fn distributions_become_configurations() {
    let cases = cases();
    assert!(cases.len() >= 12);
    let folder = tempfile::tempdir().expect("folder");
    for case in cases {
        let name = case.file_name().expect("name").to_string_lossy().into_owned();
        let output = folder.path().join(&name).join("forebay.toml");
        fs::create_dir(folder.path().join(&name)).expect("a directory");
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let run = program.args(["import", "cloudfront"]).arg(&case).arg("--output").arg(&output);
        let run = run.output().expect("run");
        let report = String::from_utf8(run.stdout).expect("text");
        let report = report.replace(&*output.to_string_lossy(), "forebay.toml");
        let toml = fs::read_to_string(&output).expect("file");
        assert_golden(&case.join("forebay.toml"), &toml);
        assert_golden(&case.join("report.txt"), &report);
        let staging = fs::read_to_string(output.with_file_name("staging.toml")).ok();
        if let Some(staging) = &staging {
            assert_golden(&case.join("staging.toml"), staging);
        }
        assert_eq!(staging.is_some(), toml.contains("[staging]"), "{name}");
        let serves = Config::compile("forebay.toml", &toml, Path::new("")).is_ok();
        let is_complete = !report.contains("To do before serving");
        assert_eq!(run.status.success(), is_complete, "{name}");
        assert!(serves || !is_complete, "{name}");
    }
}

#[test]
fn a_file_that_is_there_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let output = folder.path().join("forebay.toml");
    fs::write(&output, "mine").expect("written");
    let case = &cases()[0];
    let run = |more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        program.args(["import", "cloudfront"]).arg(case).arg("--output").arg(&output).args(more);
        program.output().expect("run")
    };
    let refused = run(&[]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("already exists") && message.contains("--force"), "{message}");
    assert_eq!(fs::read_to_string(&output).expect("file"), "mine");
    run(&["--force"]);
    assert!(fs::read_to_string(&output).expect("file").contains("[[distribution]]"));
}

#[test]
fn what_is_no_document_is_told() {
    let read = |text: &str| {
        let files = [("a.json".to_owned(), text.to_owned())];
        Documents::read(&files).map(|_| ()).expect_err("refused").to_string()
    };
    assert!(read("{").contains("`a.json` is not JSON"));
    assert!(read("[]").contains("is not a CloudFront document"));
    assert!(read(r#"{"DistributionList": {}}"#).contains("list of distributions"));
    assert!(
        read(r#"{"CachePolicy": {"Id": "x", "CachePolicyConfig": {}}}"#)
            .contains("contain no distribution")
    );
    assert!(read(&"[".repeat(100_000)).contains("not JSON"));
}

/// Each leaf of each document is removed or replaced in turn: nothing panics, and no content that requires
/// signatures is served without them.
#[test]
fn whatever_stands_in_a_document_nothing_panics() {
    let others = ["null", "-1", "\"\\\"\\n[x]\\n\"", "[[]]", "{\"Items\": [1]}", "\"é*?\""];
    let others = others.map(|text| serde_json::from_str::<Value>(text).expect("json"));
    for case in cases() {
        let mut files: Vec<(String, String)> = Vec::new();
        for entry in fs::read_dir(&case).expect("case") {
            let path = entry.expect("entry").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = fs::read_to_string(&path).expect("document");
                files.push((path.display().to_string(), text));
            }
        }
        let guarded = case.ends_with("signed-urls");
        for place in 0..files.len() {
            let document: Value = serde_json::from_str(&files[place].1).expect("json");
            for leaf in pointers(&document, "") {
                for other in &others {
                    let mut changed = document.clone();
                    *changed.pointer_mut(&leaf).expect("leaf") = other.clone();
                    let mut files = files.clone();
                    files[place].1 = changed.to_string();
                    let Ok(documents) = Documents::read(&files) else { continue };
                    let config = import(&documents, &Tls::Before).config;
                    // A value that replaces the whole list of key groups means that there is none.
                    let is_about_all =
                        "/DistributionConfig/CacheBehaviors/Items/0/TrustedKeyGroups"
                            .starts_with(leaf.as_str());
                    if guarded && !is_about_all {
                        let signed = |config: &Config| {
                            config.distributions[0].settings.behaviors.ordered[0]
                                .1
                                .trusted
                                .is_some()
                        };
                        assert!(config.as_ref().is_none_or(signed), "{leaf}: {other}");
                    }
                }
            }
        }
    }
}

/// Any number of reasons to deny all requests gives a configuration that denies all requests.
#[test]
fn reasons_to_serve_nobody_are_written_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/django-media");
    let text = fs::read_to_string(folder.join("E2EXAMPLE12345.json")).expect("document");
    let document: Value = serde_json::from_str(&text).expect("json");
    for kind in ["none", "elsewhere"] {
        let mut document = document.clone();
        let config = &mut document["DistributionConfig"];
        config["Enabled"] = Value::Bool(false);
        config["ViewerMtlsConfig"] = serde_json::json!({"Mode": "required"});
        let countries = serde_json::json!({"RestrictionType": kind, "Items": ["AT"]});
        config["Restrictions"] = serde_json::json!({"GeoRestriction": countries});
        let files = [("a.json".to_owned(), document.to_string())];
        let imported = import(&Documents::read(&files).expect("documents"), &Tls::Before);
        assert_eq!(imported.toml.matches("allow = []").count(), 1, "{}", imported.toml);
        assert!(imported.config.is_some(), "{:?}", imported.report.to_do);
    }
}

fn pointers(value: &Value, at: &str) -> Vec<String> {
    let inner: Vec<String> = match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| pointers(value, &format!("{at}/{key}"))).collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(place, value)| pointers(value, &format!("{at}/{place}")))
            .collect(),
        _ => Vec::new(),
    };
    inner.into_iter().chain([at.to_owned()]).collect()
}

/// Imports the simplest case's distribution after `change`.
fn imported(change: impl FnOnce(&mut Value)) -> Import {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/django-media");
    let text = fs::read_to_string(folder.join("E2EXAMPLE12345.json")).expect("document");
    let mut document: Value = serde_json::from_str(&text).expect("json");
    change(&mut document["DistributionConfig"]);
    let files = [("E2EXAMPLE12345.json".to_owned(), document.to_string())];
    import(&Documents::read(&files).expect("documents"), &Tls::Before)
}

fn config(import: &Import) -> &Config {
    assert!(import.config.is_some(), "{:?}\n{}", import.report.to_do, import.toml);
    import.config.as_ref().expect("a configuration")
}

/// PowerShell's `>` writes UTF-16 with a byte order mark.
#[test]
fn files_of_windows_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/django-media");
    let text = fs::read_to_string(case.join("E2EXAMPLE12345.json")).expect("document");
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let expected = fs::read_to_string(case.join("forebay.toml")).expect("golden");
    for bytes in [[b"\xff\xfe", &units[..]].concat(), [b"\xef\xbb\xbf", text.as_bytes()].concat()] {
        fs::write(folder.path().join("E2EXAMPLE12345.json"), bytes).expect("written");
        let output = folder.path().join("forebay.toml");
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let program = program.args(["import", "cloudfront"]).arg(folder.path()).arg("--output");
        program.arg(&output).arg("--force").output().expect("run");
        assert_eq!(fs::read_to_string(&output).expect("file"), expected);
    }
}

#[test]
fn lists_may_be_arrays_and_comments_may_hold_anything() {
    let import = imported(|config| {
        config["Aliases"] = serde_json::json!(["a.example.com", "b.example.com"]);
        config["Comment"] = "bell \u{7} and\r\n[x]\u{1b}[31m\u{7f}".into();
    });
    assert_eq!(config(&import).distributions[0].aliases.len(), 2);
    assert!(import.toml.contains("# bell and [x] [31m"), "{}", import.toml);
}

#[test]
fn cookies_may_have_wildcards() {
    let import = imported(|config| {
        config["Origins"]["Items"][0] = serde_json::json!({
            "Id": "app", "DomainName": "app.example.com",
            "CustomOriginConfig": {"OriginProtocolPolicy": "https-only"},
        });
        let behavior = &mut config["DefaultCacheBehavior"];
        behavior["TargetOriginId"] = "app".into();
        behavior.as_object_mut().expect("object").remove("CachePolicyId");
        behavior["ForwardedValues"] = serde_json::json!({
            "QueryString": false,
            "Cookies": {"Forward": "whitelist", "WhitelistedNames": {"Items": ["session_*"]}},
        });
    });
    let behavior = &config(&import).distributions[0].settings.behaviors.default;
    let request = http::Request::get("/a").header("cookie", "session_1=a; other=b; session_2=c");
    let (request, ()) = request.body(()).expect("request").into_parts();
    let cookies = behavior.cache_policy.key.project(&request, "h").cookies;
    assert_eq!(cookies.as_deref(), Some(&b"session_1=a; session_2=c"[..]));
}

#[test]
fn behaviors_that_trust_other_accounts_have_other_key_groups() {
    let import = imported(|config| {
        let signers = |account: &str| serde_json::json!({"Enabled": true, "Items": [account]});
        let default = config["DefaultCacheBehavior"].clone();
        let behavior = |pattern: &str, account| {
            let mut behavior = default.clone();
            behavior["PathPattern"] = pattern.into();
            behavior["TrustedSigners"] = signers(account);
            behavior
        };
        let items = [behavior("/a/*", "111122223333"), behavior("/b/*", "444455556666")];
        config["CacheBehaviors"] = serde_json::json!({"Items": items});
    });
    assert!(import.config.is_none(), "the keys are not known");
    for group in ["trusted-signers-111122223333", "trusted-signers-444455556666"] {
        assert!(import.toml.contains(&format!("trusted_key_groups = [\"{group}\"]")), "{group}");
        assert!(import.report.to_do.iter().any(|line| line.contains(group)), "{group}");
    }
}

/// Access decisions at CloudFront that cannot be imported: all requests are denied until the operator decides.
#[test]
fn protection_that_cannot_be_carried_closes() {
    for event in ["viewer-request", "VIEWER_REQUEST", "something-new"] {
        for (list, arn) in [
            ("FunctionAssociations", "FunctionARN"),
            ("LambdaFunctionAssociations", "LambdaFunctionARN"),
        ] {
            let import = imported(|config| {
                let item = serde_json::json!({"EventType": event, arn: "arn:aws:x"});
                config["DefaultCacheBehavior"][list] = serde_json::json!({"Items": [item]});
            });
            let behaviors = &config(&import).distributions[0].settings.behaviors;
            assert!(!behaviors.default.enabled, "{list} {event}");
            assert!(import.report.to_do.iter().any(|line| line.contains("enabled = false")));
        }
    }
    let open = imported(|config| {
        let item = serde_json::json!({"EventType": "viewer-response", "FunctionARN": "arn:aws:x"});
        config["DefaultCacheBehavior"]["FunctionAssociations"] =
            serde_json::json!({"Items": [item]});
    });
    assert!(config(&open).distributions[0].settings.behaviors.default.enabled);
    for (key, value) in [
        ("WebACLId", serde_json::json!("arn:aws:wafv2:x")),
        ("ConnectionFunctionAssociation", serde_json::json!({"Id": "f"})),
        ("ViewerMtlsConfig", serde_json::json!({"Mode": "required"})),
    ] {
        let import = imported(|config| config[key] = value);
        assert!(import.toml.contains("allow = []"), "{key}");
        config(&import);
    }
}

#[test]
fn origins_that_need_other_signatures_are_reported() {
    let express = "media--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com";
    let import = imported(|config| config["Origins"]["Items"][0]["DomainName"] = express.into());
    assert!(import.config.is_none());
    assert!(import.report.to_do.iter().any(|line| line.contains("directory bucket")));
    let import = imported(|config| {
        config["Origins"]["Items"][0] = serde_json::json!({
            "Id": config["Origins"]["Items"][0]["Id"], "OriginAccessControlId": "E1",
            "DomainName": "x.lambda-url.eu-west-1.on.aws",
            "CustomOriginConfig": {"OriginProtocolPolicy": "https-only"},
        });
    });
    assert!(
        import.report.to_do.iter().any(|line| line.contains("without an AWS signature")),
        "{:?}",
        import.report
    );
}

#[test]
fn an_origin_may_have_more_than_ten_headers() {
    let import = imported(|config| {
        let header = |n| serde_json::json!({"HeaderName": format!("X-{n}"), "HeaderValue": "v"});
        let headers: Vec<Value> = (0..14).map(header).collect();
        config["Origins"]["Items"][0]["CustomHeaders"] = serde_json::json!({"Items": headers});
    });
    let origin = config(&import).distributions[0].origins[0].custom_headers.len();
    assert_eq!(origin, 14);
}

/// Every setting of every case has a line in the report, or belongs to a part that has one.
#[test]
fn every_leaf_is_in_the_report() {
    for case in cases() {
        let mut files = Vec::new();
        for entry in fs::read_dir(&case).expect("case") {
            let path = entry.expect("entry").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = fs::read_to_string(&path).expect("document");
                files.push((path.display().to_string(), text));
            }
        }
        let report = import(&Documents::read(&files).expect("documents"), &Tls::Before).report;
        let notes = report.exact.iter().chain(&report.different).chain(&report.dropped);
        // Several distributions have their ids before the paths.
        let paths = notes.map(|note| note.path.rsplit(": ").next().unwrap_or_default());
        let paths: Vec<&str> = paths.collect();
        for (_, text) in &files {
            let document: Value = serde_json::from_str(text).expect("json");
            let Some(config) = document.get("DistributionConfig") else { continue };
            for leaf in pointers(config, "") {
                let value = config.pointer(&leaf).expect("leaf");
                let is_leaf = !value.is_object() && !value.is_array();
                let says_something =
                    ![Value::Null, false.into(), 0.into(), "".into()].contains(value);
                if !is_leaf || !says_something || leaf.ends_with("/Quantity") {
                    continue;
                }
                // `/Origins/Items/0/Id` is `Origins.Items[0].Id` in the report.
                let parts = leaf.trim_start_matches('/').split('/');
                let path = parts.fold("DistributionConfig".to_owned(), |path, part| {
                    match part.parse::<usize>() {
                        Ok(index) => format!("{path}[{index}]"),
                        Err(_) => format!("{path}.{part}"),
                    }
                });
                let is_within = |known: &&str| {
                    let rest = path.strip_prefix(known);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                };
                assert!(paths.iter().any(is_within), "{}: {path}", case.display());
            }
        }
    }
}

/// A malformed list could require anything.
#[test]
fn settings_of_an_unexpected_shape_close() {
    type Case = (&'static str, Value, fn(&Import) -> bool);
    fn closed(import: &Import) -> bool {
        import.config.is_none() || import.toml.contains("allow = []")
    }
    fn disabled(import: &Import) -> bool {
        import
            .config
            .as_ref()
            .is_none_or(|config| !config.distributions[0].settings.behaviors.default.enabled)
    }
    let behavior = serde_json::json!({"PathPattern": "/private/*", "TrustedKeyGroups": {"Enabled": true, "Items": ["x"]}});
    let function = serde_json::json!({"EventType": "viewer-request", "FunctionARN": "arn:aws:x"});
    let cases: [Case; 13] = [
        ("/CacheBehaviors", serde_json::json!({"Quantity": 1, "Items": behavior}), closed),
        ("/CacheBehaviors", serde_json::json!({"Items": {"CacheBehavior": [behavior]}}), closed),
        ("/CacheBehaviors", serde_json::json!("x"), closed),
        ("/CacheBehaviors", serde_json::json!({"Quantity": 2, "Items": []}), closed),
        (
            "/Restrictions",
            serde_json::json!([{"GeoRestriction": {"RestrictionType": "whitelist"}}]),
            closed,
        ),
        ("/Restrictions", serde_json::json!("whitelist"), closed),
        (
            "/Restrictions",
            serde_json::json!({"GeoRestriction": {"RestrictionType": "blacklist", "Items": "CN"}}),
            closed,
        ),
        (
            "/Restrictions",
            serde_json::json!({"GeoRestriction": {"RestrictionType": "whitelist", "Quantity": 1}}),
            closed,
        ),
        (
            "/DefaultCacheBehavior/FunctionAssociations",
            serde_json::json!({"Quantity": 1}),
            disabled,
        ),
        (
            "/DefaultCacheBehavior/FunctionAssociations",
            serde_json::json!({"Items": function}),
            disabled,
        ),
        (
            "/DefaultCacheBehavior/FunctionAssociations",
            serde_json::json!("viewer-request"),
            disabled,
        ),
        (
            "/DefaultCacheBehavior/LambdaFunctionAssociations",
            serde_json::json!({"Items": [{"EventType": "origin-request"}]}),
            disabled,
        ),
        (
            "/DefaultCacheBehavior/ViewerProtocolPolicy",
            serde_json::json!(["https-only"]),
            |import| import.toml.contains("viewer_protocol_policy = \"https-only\""),
        ),
    ];
    for (pointer, value, is_closed) in cases {
        let import = imported(|config| {
            if config.pointer(pointer).is_none() {
                let key = pointer.rsplit('/').next().expect("a key");
                let parent = config.pointer_mut(&pointer[..pointer.len() - key.len() - 1]);
                parent.expect("an object")[key] = Value::Null;
            }
            *config.pointer_mut(pointer).expect("a setting") = value.clone();
        });
        assert!(is_closed(&import), "{pointer} {value}: {}", import.toml);
    }
    let unknown = imported(|config| config["AccessGate"] = serde_json::json!({"Enabled": true}));
    assert!(unknown.report.to_do.iter().any(|line| line.contains("AccessGate")));
}

/// What a policy for continuous deployment needs, and says.
#[test]
fn a_staging_distribution_becomes_a_staging_configuration() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/staging");
    let read = |name: &str| {
        let text = fs::read_to_string(case.join(format!("{name}.json"))).expect("a document");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let [primary, staged, policy] =
        ["E2EXAMPLE12345", "E3STAGING12345", "deployment-policy"].map(read);
    let with = |documents: &[&Value]| {
        let named = documents.iter().enumerate();
        let files: Vec<(String, String)> = named
            .map(|(number, document)| (format!("{number}.json"), document.to_string()))
            .collect();
        import(&Documents::read(&files).expect("documents"), &Tls::Before)
    };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut changed = policy.clone();
        change(&mut changed["ContinuousDeploymentPolicy"]["ContinuousDeploymentPolicyConfig"]);
        changed
    };
    let header = changed(&|policy| {
        let config = serde_json::json!({ "Header": "aws-cf-cd-a", "Value": "b" });
        policy["TrafficConfig"] =
            serde_json::json!({ "Type": "SingleHeader", "SingleHeaderConfig": config });
    });
    let import = with(&[&primary, &staged, &header]);
    assert!(
        import
            .toml
            .contains("[staging]\nfile = \"staging.toml\"\nheader = { aws-cf-cd-a = \"b\" }\n")
    );
    assert!(import.staging.is_some() && import.config.expect("a configuration").staging.is_some());
    let disabled = changed(&|policy| policy["Enabled"] = false.into());
    let strange = changed(&|policy| policy["TrafficConfig"]["Type"] = "Other".into());
    for (documents, reason) in [
        (
            &[&primary][..],
            "its document is missing: run `aws cloudfront get-continuous-deployment-policy",
        ),
        (&[&primary, &staged], "its document is missing"),
        (
            &[&primary, &policy],
            "the document of the staging distribution d2staging.cloudfront.net is missing",
        ),
        (&[&primary, &staged, &disabled], "the policy is disabled"),
        (&[&primary, &staged, &strange], "the policy selects requests in an unknown way"),
    ] {
        let import = with(documents);
        assert!(import.staging.is_none() && !import.toml.contains("[staging]"));
        let dropped = serde_json::to_string(&import.report.dropped).expect("JSON");
        assert!(dropped.contains(reason), "{reason}: {dropped}");
        assert_eq!(import.config.expect("a configuration").distributions.len(), 1);
    }
}
