//! Advice about names that are not known.

/// Shows in which table each key belongs.
const EXAMPLE: &str = include_str!("../../config/example.toml");

/// Parts of names of secrets.
const SECRETS: [&str; 7] =
    ["access_key", "secret", "session_token", "password", "credential", "aws_", "profile"];

/// The fix for an unknown key, or an unknown table, in a table with the `known` keys.
pub(super) fn advice(key: &str, is_table: bool, known: &[&str]) -> String {
    let lower = key.to_ascii_lowercase();
    let file = format!("{lower}_file");
    if known.contains(&&*file) && lower != "redirects" {
        return format!("write the secret to a file, and name the file in `{file}`");
    }
    if SECRETS.iter().any(|secret| lower.contains(secret)) {
        return "credentials never go in this file: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, add a profile to ~/.aws, or give this machine a role".into();
    }
    let is_ttl = lower == "ttl" || lower.ends_with("_ttl") || lower == "max_age";
    if is_ttl
        && lower != "error_caching_min_ttl"
        && !known.iter().any(|known| known.ends_with("_ttl"))
    {
        return "TTLs belong to a `[[cache_policy]]`, as min_ttl, default_ttl and max_ttl; a behavior selects it with `cache_policy`".into();
    }
    if matches!(key, "allow" | "deny") {
        return format!(
            "`{key}` belongs to `[[distribution]]` and applies to all its paths: to restrict some paths, serve them in a distribution with another host"
        );
    }
    if let Some((_, advice)) = FOREIGN_NAMES.iter().find(|(name, _)| *name == lower) {
        return (*advice).to_owned();
    }
    if let Some(table) = header_of(key).filter(|_| is_table) {
        return format!("write it as `{table}`");
    }
    if let Some(table) = table_of(key).filter(|_| !known.is_empty()) {
        return format!("`{key}` belongs to `{table}`");
    }
    match nearest(key, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known keys: {}", known.join(", ")),
    }
}

/// The known word most similar to `name`, if any is similar.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let likeness = |candidate: &str| strsim::jaro_winkler(name, candidate);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(*best)
}

/// The header of the example's table of this name.
fn header_of(name: &str) -> Option<&'static str> {
    let is_named = |line: &&str| line.trim_matches(['[', ']']).rsplit('.').next() == Some(name);
    EXAMPLE.lines().filter(|line| line.starts_with('[')).find(is_named)
}

/// The table of the example that has this key. Tables of distributions come first: that is where keys are most often
/// misplaced.
pub(super) fn table_of(key: &str) -> Option<&'static str> {
    let (mut of_distribution, mut other) = (None, None);
    let mut table = "";
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            table = line;
        } else if line.split_once(" = ").is_some_and(|(name, _)| name == key) {
            let found =
                if table.contains("distribution.") { &mut of_distribution } else { &mut other };
            *found = found.or(Some(table));
        }
    }
    of_distribution.or(other)
}

/// The fix for a line in another table than `table`, where it belongs.
pub(super) fn misplaced(table: &str) -> String {
    format!("move it to `{table}`: a line of TOML belongs to the last `[table]` above it")
}

const TLS: &str =
    "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }` below `[listen]`";
const ALIASES: &str = "write `aliases = [\"media.example.com\"]` in the `[[distribution]]`";

/// Names that nginx and others use, and what to write instead.
const FOREIGN_NAMES: [(&str, &str); 8] = [
    ("port", "write `http = \"[::]:8080\"` below `[listen]`"),
    ("certificate", TLS),
    ("key", TLS),
    ("ssl_certificate", TLS),
    ("ssl_certificate_key", TLS),
    ("server_name", ALIASES),
    ("hosts", ALIASES),
    ("gzip", "write `compress = true` in the behavior"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_files() {
        let found = advice("password", false, &["user", "password_file"]);
        assert_eq!(found, "write the secret to a file, and name the file in `password_file`");
    }

    #[test]
    fn keys_in_the_wrong_place_are_sent_to_the_right_one() {
        let known = ["id", "aliases", "origin"];
        for (key, expected) in [
            ("access_key_id", "credentials never go in this file"),
            ("AWS_SECRET_ACCESS_KEY", "credentials never go in this file"),
            ("ttl", "TTLs belong to a `[[cache_policy]]`"),
            ("default_ttl", "TTLs belong to a `[[cache_policy]]`"),
            ("bucket", "`bucket` belongs to `[[distribution.origin]]`"),
            ("workers", "`workers` belongs to `[listen]`"),
            ("default_behavior", "write it as `[distribution.default_behavior]`"),
            ("behavior", "write it as `[[distribution.behavior]]`"),
            ("origin_group", "write it as `[[distribution.origin_group]]`"),
            ("access_log", "write it as `[access_log]`"),
            ("error_caching_min_ttl", "`error_caching_min_ttl` belongs to `[[distribution"),
            ("region", "`region` belongs to `[[distribution.origin]]`"),
            ("cache_policy", "`cache_policy` belongs to `[distribution.default_behavior]`"),
            ("server_name", "write `aliases ="),
            ("alias", "did you mean `aliases`?"),
            ("zzz", "known keys: id, aliases, origin"),
        ] {
            let found = advice(key, expected.starts_with("write it as"), &known);
            assert!(found.starts_with(expected), "{key}: {found}");
        }
    }
}
