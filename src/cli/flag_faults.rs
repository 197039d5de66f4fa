//! Faults of a configuration that flags or prompts made: they name the flag, not a line of a file that the user never
//! saw.

use super::UserError;
use crate::config::{Fault, Faults};

/// The tables and keys that `init` and `--bucket` write, and the flags that set them.
const FLAGS: [(&str, &str, &str); 16] = [
    ("[listen]", "http", "--listen"),
    ("[listen]", "https", "--listen-tls"),
    ("[listen]", "tls", "--certificate"),
    ("[listen]", "acme", "--acme"),
    ("[admin]", "listen", "--admin"),
    ("[admin]", "state", "--state"),
    ("[cache.disk]", "path", "--cache-dir"),
    ("[cache.disk]", "capacity", "--cache-size"),
    ("[[distribution]]", "id", "--distribution-id"),
    ("[[distribution]]", "aliases", "--domain"),
    ("[[distribution]]", "default_root_object", "--default-root-object"),
    ("[[distribution]]", "public_scheme", "--domain"),
    ("[[distribution.origin]]", "bucket", "--bucket"),
    ("[[distribution.origin]]", "region", "--region"),
    ("[[distribution.origin]]", "endpoint", "--endpoint"),
    ("[[distribution.origin]]", "path_style", "--path-style"),
];

/// The flag whose value caused a fault in `text`.
pub(super) fn flag_of(text: &str, fault: &Fault) -> Option<&'static str> {
    let start = fault.span().start.min(text.len());
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let key = text[line_start..].split([' ', '=']).next()?;
    let table = before[..line_start].lines().rev().find(|line| line.starts_with('['))?;
    let flag = FLAGS.iter().find(|(in_table, known, _)| *in_table == table && *known == key);
    flag.map(|(_, _, flag)| *flag)
}

/// All faults as one error, each with its flag.
pub(super) fn by_flag(text: &str, faults: &Faults) -> UserError {
    let named = |fault: &Fault| match flag_of(text, fault) {
        Some(flag) => format!("{flag}: {}", fault.message()),
        None => fault.message().to_owned(),
    };
    let message: Vec<String> = faults.faults.iter().map(named).collect();
    let help: Vec<&str> = faults.faults.iter().filter_map(Fault::help).collect();
    let help =
        if help.is_empty() { "correct the value of the flag".into() } else { help.join("\n") };
    UserError { message: message.join("\n"), help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bucket, Config};

    #[test]
    fn each_fault_names_its_flag() {
        let bucket = Bucket {
            bucket: "my bucket".into(),
            region: "mars".into(),
            listen: "here".into(),
            admin: Some("there".into()),
            default_root_object: Some("/a".into()),
            ..Bucket::default()
        };
        let faults = Config::for_bucket(&bucket).expect_err("faults");
        let error = by_flag(&bucket.to_toml(), &faults);
        for flag in [
            "--bucket: `my bucket`",
            "--region: `mars`",
            "--listen: `here`",
            "--admin: ",
            "--default-root-object: ",
        ] {
            assert!(error.message.contains(flag), "{flag}: {}", error.message);
        }
        assert!(error.help.contains("eu-central-1"), "{}", error.help);
    }
}
