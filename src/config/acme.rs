//! `[listen.acme]`: certificates that Forebay obtains by itself.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use http::Uri;

use super::{
    distribution::DistributionOptions,
    listen::Listen,
    section::{Placed, Section},
};
use crate::acme::{AcmeOptions, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};

/// Names for the directories that most people use.
const DIRECTORIES: [(&str, &str); 2] =
    [("letsencrypt", LETS_ENCRYPT), ("letsencrypt-staging", LETS_ENCRYPT_STAGING)];

/// Reads `[listen.acme]`. The account and the certificates are stored in `state`.
pub(super) fn acme(
    root: &Section<'_>,
    listen: &Listen,
    state: Option<&Path>,
    distributions: &[DistributionOptions],
    directory: &Path,
) -> Option<AcmeOptions> {
    let section = root.table("listen")?.table("acme")?;
    let email = section.string("email").and_then(|text| email(&section, text));
    let url = section.string("directory").map_or(LETS_ENCRYPT, |name| authority(&section, name));
    let path = |text: Placed<&str>| directory.join(text.value);
    let ca_file = section.string("ca_file").map(path);
    let profile = section.string("profile").map(|profile| profile.value.to_owned());
    let external_account = external_account(&section, directory);
    section.unknown();
    check_surroundings(root, &section, listen, distributions);
    let Some(state) = state else {
        let help = "add `state = \"/var/lib/forebay\"` under [admin]".to_owned();
        section.fault(
            section.span(),
            "`listen.acme` needs a directory for the account and the certificates",
            "no `admin.state`",
            help,
        );
        return None;
    };
    // One for each authority: an account belongs to a directory.
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let name: String = url.trim_start_matches("https://").chars().map(plain).collect();
    let folder = state.join("acme").join(name);
    let (directory, has_http) = (url.to_owned(), !listen.http.is_empty());
    Some(AcmeOptions { email, directory, ca_file, external_account, profile, folder, has_http })
}

fn email(section: &Section<'_>, text: Placed<&str>) -> Option<String> {
    let is_address = text.value.split_once('@').is_some_and(|(name, host)| {
        let is_plain = |c: char| !c.is_whitespace() && !"@:,?".contains(c);
        !name.is_empty() && host.contains('.') && name.chars().chain(host.chars()).all(is_plain)
    });
    if !is_address {
        let message = format!("`{}` is not an e-mail address", text.value);
        let help = "such as \"ops@example.com\"".to_owned();
        section.fault(text.span, message, "expected an address", help);
        return None;
    }
    Some(text.value.to_owned())
}

fn external_account(section: &Section<'_>, directory: &Path) -> Option<(String, PathBuf)> {
    let id = section.string("external_account_id");
    let file = section.string("external_account_key_file");
    match (id, file) {
        (Some(id), Some(file)) => Some((id.value.to_owned(), directory.join(file.value))),
        (id, file) => {
            let span = id.or(file)?.span;
            section.fault(
                span,
                "an external account needs `external_account_id` and `external_account_key_file`",
                "only one of them",
                "set both, or none".to_owned(),
            );
            None
        }
    }
}

/// Checks that there are listeners and hosts for certificates.
fn check_surroundings(
    root: &Section<'_>,
    section: &Section<'_>,
    listen: &Listen,
    distributions: &[DistributionOptions],
) {
    if listen.https.is_empty() {
        let help = "add `https = \"[::]:443\"` under [listen]".to_owned();
        let message = "`listen.acme` needs an address for HTTPS";
        section.fault(section.span(), message, "no `listen.https`", help);
    }
    let (names, others) = hosts(distributions);
    // A distribution with faults is missing here.
    if names.is_empty() && root.tables("distribution").len() == distributions.len() {
        let help = "add the host names of this machine to `aliases` of a distribution, or pass them with --domain".to_owned();
        let message = "there is no host to get a certificate for";
        section.fault(section.span(), message, "`aliases` has no full host name", help);
    }
    if listen.certificates.is_empty() {
        for other in others {
            let reason = if other.contains('*') {
                "authorities issue it only for a DNS record (DNS-01), which Forebay does not make"
            } else {
                "it is an address, not a name"
            };
            section.doubt(format!(
                "ACME gets no certificate for {other}: {reason}; add a certificate to `listen.tls`"
            ));
        }
    }
}

/// The URL of a directory.
fn authority<'a>(section: &Section<'_>, name: Placed<&'a str>) -> &'a str {
    if let Some((_, url)) = DIRECTORIES.iter().find(|(known, _)| *known == name.value) {
        return url;
    }
    let uri = name.value.parse::<Uri>().ok();
    if !uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.authority().is_some()) {
        section.fault(
            name.span,
            format!("`{}` is not the directory of an authority", name.value),
            "expected a URL that begins with https://",
            "use \"letsencrypt\", \"letsencrypt-staging\", or the URL that the authority's documentation names".to_owned(),
        );
    }
    name.value
}

/// The host names of all distributions, and their other aliases: wildcards and addresses.
pub(super) fn hosts(distributions: &[DistributionOptions]) -> (Vec<String>, Vec<String>) {
    let is_name = |alias: &String| {
        let address = alias.trim_matches(['[', ']']).parse::<IpAddr>();
        !alias.contains('*') && address.is_err()
    };
    let all = distributions.iter().flat_map(|distribution| &distribution.aliases);
    let (mut names, others): (Vec<String>, Vec<String>) =
        all.filter(|alias| *alias != "*").cloned().partition(is_name);
    names.sort();
    names.dedup();
    (names, others)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const GOOD: &str = r#"
[listen]
https = "127.0.0.1:8443"
[listen.acme]
email = "ops@example.com"
[admin]
state = "state"
[[distribution]]
id = "media"
aliases = ["b.example", "*.example", "192.0.2.1", "[2001:db8::1]", "a.example"]
[[distribution.origin]]
id = "bucket"
bucket = "my-media"
region = "eu-central-1"
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"#;

    fn compiled(text: &str) -> Result<Config, Vec<String>> {
        let compiled = Config::compile("test.toml", text, "/etc/forebay".as_ref());
        compiled.map_err(|faults| {
            faults.faults.iter().map(|fault| fault.message().to_owned()).collect()
        })
    }

    #[test]
    fn full_host_names_get_certificates_and_the_others_are_pointed_out() {
        let config = compiled(GOOD).expect("valid");
        assert_eq!(config.hosts(), ["a.example", "b.example"]);
        let acme = config.acme.as_ref().expect("options");
        let folder = "/etc/forebay/state/acme/acme-v02-api-letsencrypt-org-directory";
        assert_eq!((acme.folder.to_str(), acme.has_http), (Some(folder), false));
        let doubts = config.doubts().join("\n");
        for other in ["*.example", "192.0.2.1", "[2001:db8::1]"] {
            assert!(doubts.contains(&format!("no certificate for {other}:")), "{doubts}");
        }
    }

    #[test]
    fn each_fault_is_found() {
        for (from, to, fault) in [
            ("https =", "http =", "`listen.acme` needs an address for HTTPS"),
            (
                "[admin]\nstate = \"state\"",
                "",
                "`listen.acme` needs a directory for the account and the certificates",
            ),
            ("\"b.example\", ", "", ""),
            (
                "email = \"ops@example.com\"",
                "email = \"mailto:ops@example.com\"",
                "`mailto:ops@example.com` is not an e-mail address",
            ),
            (
                "email =",
                "directory = \"http://ca.example/dir\"\nemail =",
                "`http://ca.example/dir` is not the directory of an authority",
            ),
            ("email =", "directory = \"letsencrypt-staging\"\nemail =", ""),
            (
                "email =",
                "external_account_id = \"kid\"\nemail =",
                "an external account needs `external_account_id` and `external_account_key_file`",
            ),
        ] {
            let found = compiled(&GOOD.replace(from, to)).err().unwrap_or_default();
            let expected: Vec<&str> =
                Some(fault).filter(|fault| !fault.is_empty()).into_iter().collect();
            assert_eq!(found, expected, "{to}");
        }
        let hosts = "\"b.example\", \"*.example\", \"192.0.2.1\", \"[2001:db8::1]\", \"a.example\"";
        let any = GOOD.replace(hosts, "\"*\"");
        assert_eq!(
            compiled(&any).err(),
            Some(vec!["there is no host to get a certificate for".to_owned()])
        );
        // A fault of a distribution does not lead to another one here.
        let faulty = GOOD.replace("CachingOptimized", "Caching");
        assert_eq!(compiled(&faulty).err().map(|faults| faults.len()), Some(1));
    }
}
