//! `[[distribution.default_behavior.rule]]`: redirects, rewrites and changes of header fields.

use std::{ops::Range, path::Path, sync::Arc};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    basic_auth::basic_auth,
    host::is_host,
    object::object,
    policy::is_keyable,
    response_headers::{field_value, is_changeable},
    restrict::country,
    section::{Placed, Section, parse_each},
    surroundings::Surroundings,
};
use crate::{
    behavior::{
        Action, Behavior, Behaviors, Conditions, HeaderChanges, PathCondition, PathPattern,
        Redirect, Redirects, RequestRule, RequestRules, Target, TargetError, TrailingSlash,
    },
    cache::key::PathForm,
    http::field_table::RequestField,
};

/// The status of a redirect that has none.
const DEFAULT_STATUS: StatusCode = StatusCode::FOUND;

/// The keys of actions, of which a rule has at most one.
const ACTIONS: [&str; 7] = [
    "redirect",
    "redirects_file",
    "trailing_slash",
    "rewrite",
    "directory_index",
    "deny",
    "basic_auth",
];

/// The rules of a behavior.
pub(super) fn rules(
    behavior: &Section<'_>,
    form: PathForm,
    around: &Surroundings<'_>,
) -> Option<Arc<RequestRules>> {
    let tables = behavior.tables("rule");
    if let Some(table) = tables.get(RequestRules::MAX) {
        let message = format!("a behavior can have at most {} rules", RequestRules::MAX);
        let help = "put redirects of many paths into a `redirects_file`".to_owned();
        table.fault(table.span(), message, "one too many", help);
    }
    check_passwords_first(&tables);
    let rules: Vec<RequestRule> = tables.iter().filter_map(|it| rule(it, form, around)).collect();
    (!rules.is_empty()).then(|| Arc::new(RequestRules::new(rules)))
}

/// Reports a rule with passwords after one that ends the list, which could serve a request without a password.
fn check_passwords_first(tables: &[Section<'_>]) {
    let ends = |table: &Section<'_>| {
        let ending = ACTIONS.iter().filter(|key| !["deny", "basic_auth"].contains(*key));
        ending.copied().find(|key| table.has(key))
    };
    let Some((first, ending)) =
        tables.iter().enumerate().find_map(|(index, table)| Some((index, ends(table)?)))
    else {
        return;
    };
    for table in tables.iter().skip(first).filter(|table| table.has("basic_auth")) {
        let message = format!("a rule with `basic_auth` comes after one with `{ending}`");
        let help = format!(
            "move it before rule {}, which ends the list, so that every request needs the password",
            first + 1
        );
        table.fault(table.span(), message, "in this rule", help);
    }
}

fn rule(table: &Section<'_>, form: PathForm, around: &Surroundings<'_>) -> Option<RequestRule> {
    let conditions = conditions(table, around.has_geography);
    let path = conditions.as_ref().map(|conditions| &conditions.path);
    let action = action(table, path, around.directory);
    let headers = header_changes(table, form);
    if action.is_none() && headers.is_empty() && !ACTIONS.iter().any(|key| table.has(key)) {
        let message = "this rule does nothing";
        let help = format!("add one of {}, or change header fields", ACTIONS.join(", "));
        table.fault(table.span(), message, "in this table", help);
    }
    table.unknown();
    Some(RequestRule { conditions: conditions?, action, headers })
}

fn conditions(table: &Section<'_>, has_geography: bool) -> Option<Conditions> {
    let path = path(table);
    let hosts = parse_each(table, "host", host, |text| {
        let help = "write a host name without scheme and port, such as \"www.example.com\" or \"*.example.com\"";
        (format!("`{text}` is not a host name"), "not a host name", help.to_owned())
    });
    let methods = parse_each(table, "method", method, |text| {
        let help = "write it in capital letters, such as \"GET\"".to_owned();
        (format!("`{text}` is not a method"), "not a method", help)
    });
    let countries = parse_each(table, "country", country, |text| {
        let help = "use two capital letters (ISO 3166-1), such as \"DE\"".to_owned();
        (format!("`{text}` is not a country code"), "not a country code", help)
    });
    if table.has("country") && !has_geography {
        let help =
            "add at the top level:\n\n[geo]\ndatabase = \"GeoLite2-Country.mmdb\"".to_owned();
        let message = "`country` needs a geography database";
        table.fault(table.span(), message, "`[geo]` is missing", help);
    }
    let headers = table.table("header").into_iter().flat_map(|fields| field_patterns(&fields));
    let headers = headers.collect();
    let [query, cookies] = ["query", "cookie"].map(|key| patterns(table, key));
    Some(Conditions { path: path?, hosts, methods, countries, query, headers, cookies })
}

/// `path` or `path_regex`. A rule with neither concerns every path.
fn path(table: &Section<'_>) -> Option<PathCondition> {
    let (pattern, regex) = (table.string("path"), table.string("path_regex"));
    let needs_captures = ["redirect", "rewrite"].iter().any(|key| {
        table.is_string(key)
            && table.string(key).is_some_and(|text| Target::needs_captures(text.value))
    });
    match (pattern, regex) {
        (None, None) if table.has("path") || table.has("path_regex") => None,
        (None, None) => Some(PathCondition::Any),
        (Some(text), None) => {
            let parsed = PathPattern::parse(text.value).map_err(|error| error.to_string());
            let condition = parsed.and_then(|pattern| {
                if !needs_captures {
                    return Ok(PathCondition::Pattern(pattern));
                }
                PathCondition::capturing(pattern).map_err(|error| error.to_string())
            });
            table.valid(text.span, condition, "not a path pattern")
        }
        (None, Some(text)) => {
            let condition = PathCondition::regex(text.value).map_err(|error| error.to_string());
            let condition = condition.map_err(|error| {
                // The first lines show the expression, with a mark at the fault.
                format!("invalid regular expression: {}", error.lines().last().unwrap_or_default())
            });
            table.valid(text.span, condition, "not a regular expression")
        }
        (Some(_), Some(text)) => {
            let help = "remove one of them".to_owned();
            let message = "a rule has either `path` or `path_regex`";
            table.fault(text.span, message, "in this rule", help);
            None
        }
    }
}

fn action(
    table: &Section<'_>,
    condition: Option<&PathCondition>,
    directory: &Path,
) -> Option<Action> {
    let given: Vec<&str> = ACTIONS.into_iter().filter(|key| table.has(key)).collect();
    if let [first, second, ..] = given[..] {
        let message = format!("a rule has only one action, but this one has {first} and {second}");
        let help = "make a rule for each".to_owned();
        table.fault(table.span(), message, "in this table", help);
    }
    let redirect = redirect(table, &given);
    let target = |key, parse: fn(&str, &PathCondition) -> Result<Target, TargetError>| {
        let text = table.string(key)?;
        // An invalid condition is reported already.
        let target = parse(text.value, condition?);
        let target =
            target.map_err(|error| format!("`{}` is not a valid target: {error}", text.value));
        table.valid(text.span, target, "not a target")
    };
    let redirect_to = target("redirect", Target::of_redirect);
    let rewrite = target("rewrite", Target::of_rewrite);
    let slash = table.string("trailing_slash").and_then(|text| {
        let slash = match text.value {
            "add" => Ok(TrailingSlash::Add),
            "remove" => Ok(TrailingSlash::Remove),
            other => Err(format!("`{other}` is not valid for `trailing_slash`")),
        };
        table.valid(text.span, slash, "expected add or remove")
    });
    let index = object(table, "directory_index");
    let redirects = table.string("redirects_file").map(|file| Redirects {
        file: directory.join(file.value),
        redirect,
        list: Arc::default(),
    });
    let denies = table.boolean("deny").is_some_and(|flag| flag.value);
    let auth = table.table("basic_auth").and_then(|auth| basic_auth(&auth, directory));
    redirect_to
        .map(|target| Action::Redirect(redirect, target))
        .or(rewrite.map(Action::Rewrite))
        .or(slash.map(|slash| Action::TrailingSlash(redirect, slash)))
        .or(index.map(Action::DirectoryIndex))
        .or(redirects.map(Action::Redirects))
        .or(denies.then_some(Action::Deny))
        .or(auth.map(Action::BasicAuth))
}

/// `status` and `keep_query`, which only redirects have.
fn redirect(table: &Section<'_>, given: &[&str]) -> Redirect {
    let is_redirect =
        given.iter().any(|key| ["redirect", "redirects_file", "trailing_slash"].contains(key));
    if !is_redirect && (table.has("status") || table.has("keep_query")) {
        let message = "`status` and `keep_query` have an effect only in redirects";
        let help =
            "add `redirect`, `redirects_file` or `trailing_slash`, or remove them".to_owned();
        table.fault(table.span(), message, "in this table", help);
    }
    let status = table.number("status", 301..309).and_then(|number| {
        let status = Redirect::status(number);
        if status.is_none() {
            let message = "`status` is not the status of a redirect";
            table.fault(table.span(), message, "expected 301, 302, 303, 307 or 308", None);
        }
        status
    });
    let keeps_query = table.boolean("keep_query").is_none_or(|flag| flag.value);
    Redirect { status: status.unwrap_or(DEFAULT_STATUS), keeps_query }
}

fn header_changes(table: &Section<'_>, form: PathForm) -> HeaderChanges {
    // Those of the content belong to it, and S3 signs `Authorization`; a plain origin gets one by `custom_headers`.
    let is_settable = |name: &HeaderName| {
        let is_of_content = name.as_str().starts_with("content-");
        is_keyable(name) && ![header::HOST, header::AUTHORIZATION].contains(name) && !is_of_content
    };
    let for_origin = ["set_request_headers", "remove_request_headers"];
    if form == PathForm::Key && for_origin.iter().any(|key| table.has(key)) {
        let help = "remove it: Forebay builds and signs requests to buckets itself".to_owned();
        let message = "a bucket does not get the viewer's header fields";
        table.fault(table.span(), message, "in this table", help);
    }
    HeaderChanges {
        set_for_origin: fields(table, for_origin[0], is_settable, "sent to an origin"),
        remove_for_origin: names(table, for_origin[1], is_settable, "removed"),
        set_for_viewer: fields(table, "set_response_headers", is_changeable, "changed"),
        remove_for_viewer: names(table, "remove_response_headers", is_changeable, "removed"),
    }
}

/// Names and values of header fields.
fn fields(
    table: &Section<'_>,
    key: &'static str,
    is_allowed: impl Fn(&HeaderName) -> bool,
    place: &str,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(section) = table.table(key) else { return Vec::new() };
    let field = |(name, value): (&str, Placed<&str>)| {
        let name = field_name(&section, &value.span, name, &is_allowed, place);
        name.zip(field_value(&section, &value))
    };
    section.strings_by_name().into_iter().filter_map(field).collect()
}

fn names(
    table: &Section<'_>,
    key: &'static str,
    is_allowed: impl Fn(&HeaderName) -> bool,
    place: &str,
) -> Vec<HeaderName> {
    let names = table.strings(key).unwrap_or_default().into_iter();
    names.filter_map(|it| field_name(table, &it.span, it.value, &is_allowed, place)).collect()
}

fn field_name(
    section: &Section<'_>,
    span: &Range<usize>,
    text: &str,
    is_allowed: impl Fn(&HeaderName) -> bool,
    place: &str,
) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        let message = format!("`{text}` is not a valid header field name");
        section.fault(span.clone(), message, "not a valid name", None);
        return None;
    };
    if !is_allowed(&name) {
        let help = "remove it: Forebay writes this field itself".to_owned();
        let message = format!("`{name}` cannot be {place} by a rule");
        section.fault(span.clone(), message, "not allowed here", help);
        return None;
    }
    Some(name)
}

/// Names of header fields, with patterns for their values.
fn field_patterns(section: &Section<'_>) -> Vec<(HeaderName, String)> {
    let field = |(name, pattern): (&str, Placed<&str>)| {
        let is_read = |name: &HeaderName| RequestField::of(name) != RequestField::Removed;
        let name = field_name(section, &pattern.span, name, is_read, "read")?;
        if name == header::HOST {
            let help = "use `host = \"www.example.com\"`".to_owned();
            let message = "`Host` cannot be a condition for a header field";
            section.fault(pattern.span, message, "HTTP/2 has no such field", help);
            return None;
        }
        Some((name, pattern.value.to_owned()))
    };
    section.strings_by_name().into_iter().filter_map(field).collect()
}

/// Names with patterns for their values.
fn patterns(table: &Section<'_>, key: &'static str) -> Vec<(String, String)> {
    let named = table.table(key).map(|section| section.strings_by_name()).unwrap_or_default();
    named.into_iter().map(|(name, it)| (name.to_owned(), it.value.to_owned())).collect()
}

fn host(text: &str) -> Option<String> {
    is_host(text.strip_prefix("*.").unwrap_or(text)).then(|| text.to_ascii_lowercase())
}

fn method(text: &str) -> Option<Method> {
    let is_upper = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    is_upper.then(|| text.parse().ok()).flatten()
}

/// Notes rules of a distribution that may rewrite a path to one that another behavior protects: such requests get 403.
pub(super) fn check_rewrites(
    section: &Section<'_>,
    id: &str,
    behaviors: &Behaviors,
    index_document: Option<&str>,
) {
    for behavior in behaviors.all() {
        for (number, target) in behavior.rules.iter().flat_map(|rules| rules.rewrite_patterns()) {
            let text = target.to_string();
            let index = index_document.filter(|_| text.ends_with(['/', '*']));
            let with_index =
                index.and_then(|index| PathPattern::parse(&format!("{text}{index}")).ok());
            let mut targets = [Some(target), with_index].into_iter().flatten();
            let found = targets.find_map(|target| protected(behaviors, behavior, &target));
            if let Some(protected) = found {
                section.doubt(format!(
                    "rule {number} of the behavior {} in distribution {id} may rewrite to paths of the behavior {protected}, which is disabled, or needs signatures or passwords: such requests get 403",
                    behaviors.name(behavior)
                ));
            }
        }
    }
}

/// The name of another behavior that protects paths of a pattern.
fn protected(behaviors: &Behaviors, own: &Arc<Behavior>, target: &PathPattern) -> Option<String> {
    let is_protected = |other: &Arc<Behavior>| other.is_protected() && !Arc::ptr_eq(other, own);
    for (pattern, other) in &behaviors.ordered {
        if is_protected(other) && target.overlaps("", pattern, "") {
            return Some(pattern.to_string());
        }
        if pattern.covers(target) {
            return None;
        }
    }
    is_protected(&behaviors.default).then(|| behaviors.name(&behaviors.default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn compile(rule: &str, origin: &str, more: &str) -> Result<Config, String> {
        let text = format!(
            "[listen]\nhttp = \"127.0.0.1:80\"\n[[key_group]]\nname = \"k\"\n[key_group.public_keys]\nK = \"\"\"\n-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA49EmvVPS5742rWsUnXEyZkGSzUL\nJsDudZ1TbHM10XdT13wmmBL0HfxS4jTiAyZe47ONLOCwyU9kr6bBtgzOeg==\n-----END PUBLIC KEY-----\n\"\"\"\n[[distribution]]\nid = \"a\"\naliases = \"*\"\n[[distribution.origin]]\nid = \"o\"\n{origin}\n[distribution.default_behavior]\norigin = \"o\"\ncache_policy = \"CachingOptimized\"\n[[distribution.default_behavior.rule]]\n{rule}\n{more}"
        );
        Config::compile("t", &text, Path::new("")).map_err(|faults| {
            let faults = faults.faults.iter().map(|fault| fault.message().to_owned());
            faults.collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn faults_name_what_is_wrong() {
        for (rule, expected) in [
            ("", "this rule does nothing"),
            ("path = \"/a\"", "this rule does nothing"),
            ("deny = false", ""),
            ("path = \"/a\"\npath_regex = \"a\"\ndeny = true", "either `path` or `path_regex`"),
            ("path = \"/é\"\ndeny = true", "`é` is not allowed in a path pattern"),
            (
                "path_regex = \"(a\"\ndeny = true",
                "invalid regular expression: error: unclosed group",
            ),
            ("path_regex = \"(?:a{1000}){1000}\"\ndeny = true", "invalid regular expression"),
            ("path_regex = 1\ndeny = true", "must be a string"),
            ("redirect = \"/a\"\nrewrite = \"/b\"", "only one action"),
            ("redirect = \"a\"", "must begin with `/`, `http://` or `https://`"),
            ("redirect = \"ftp://a/\"", "must begin with"),
            ("path = \"/*\"\nredirect = \"https://{1}/\"", "the host must be complete"),
            ("path = \"/*\"\nredirect = \"https://a.example{1}\"", "the host must be complete"),
            ("path = \"/*\"\nredirect = \"https://a.example:{1}/\"", "the host must be complete"),
            ("redirect = \"https://user@a.example/\"", "the host must be complete"),
            ("redirect = \"https://\"", "the host must be complete"),
            ("redirect = \"/{1}\"", "`{1}` names nothing"),
            ("path_regex = \"(?<a>b)\"\nredirect = \"/{c}\"", "`{c}` names nothing"),
            ("path = \"/*\"\nredirect = \"/{2}\"", "`{2}` names nothing"),
            ("path = \"/*\"\nredirect = \"/{1\"", "must enclose"),
            ("redirect = \"/a b\"", "` ` is not allowed in a URL"),
            ("rewrite = \"https://a.example/\"", "a rewrite cannot change the host"),
            ("rewrite = \"/a?b=c\"", "remove `?` and `#`"),
            (
                "redirect = \"/a\"\nstatus = 200",
                "`distribution.default_behavior.rule.status` is out of range",
            ),
            ("redirect = \"/a\"\nstatus = 304", "is not the status of a redirect"),
            ("rewrite = \"/a\"\nstatus = 301", "only in redirects"),
            ("trailing_slash = \"yes\"", "`yes` is not valid"),
            ("directory_index = \"/a\"", "is not valid for `directory_index`"),
            ("host = \"https://a\"\ndeny = true", "is not a host name"),
            ("host = \"a:80\"\ndeny = true", "is not a host name"),
            ("host = \"a..b\"\ndeny = true", "is not a host name"),
            ("header = { Host = \"a\" }\ndeny = true", "cannot be a condition"),
            ("header = { X-Real-IP = \"a\" }\ndeny = true", "`x-real-ip` cannot be read"),
            ("rewrite = \"/100%\"", "it is not a valid path"),
            ("redirect = \"//a.example/\"", "a path with one slash"),
            ("set_request_headers = { Authorization = \"a\" }", "`authorization` cannot be sent"),
            ("set_request_headers = { Content-Type = \"a\" }", "`content-type` cannot be sent"),
            ("method = \"get\"\ndeny = true", "is not a method"),
            ("country = \"DE\"\ndeny = true", "needs a geography database"),
            (
                "set_response_headers = { Content-Length = \"1\" }",
                "`content-length` cannot be changed",
            ),
            ("set_response_headers = { \"a b\" = \"1\" }", "is not a valid header field name"),
            ("set_request_headers = { Range = \"1\" }", "`range` cannot be sent to an origin"),
            ("set_request_headers = { Host = \"a\" }", "`host` cannot be sent to an origin"),
            ("redirct = \"/a\"", "unknown key `distribution.default_behavior.rule.redirct`"),
        ] {
            let faults = compile(rule, "url = \"http://o\"", "").err().unwrap_or_default();
            assert!(
                faults.contains(expected) && faults.is_empty() == expected.is_empty(),
                "{rule}: {faults}"
            );
        }
        let bucket = "bucket = \"media\"\nregion = \"x\"";
        let faults =
            compile("set_request_headers = { A = \"1\" }", bucket, "").expect_err("a fault");
        assert!(faults.contains("a bucket does not get"), "{faults}");
        let many = "[[distribution.default_behavior.rule]]\ndeny = true\n".repeat(64);
        let faults = compile("deny = true", bucket, &many).expect_err("a fault");
        assert!(faults.contains("at most 64 rules"), "{faults}");
    }

    #[test]
    fn rewrites_to_protected_paths_are_noted() {
        let doubts = |rule: &str| {
            let more = "[[distribution.behavior]]\npath_pattern = \"/private/*\"\norigin = \"o\"\ncache_policy = \"CachingOptimized\"\ntrusted_key_groups = [\"k\"]\n";
            let config = compile(rule, "url = \"http://o\"", more).expect(rule);
            config.doubts().join("; ")
        };
        for (rule, is_noted) in [
            ("path = \"/open/*\"\nrewrite = \"/{1}\"", true),
            ("rewrite = \"/private/a\"", true),
            ("directory_index = \"a\"", false),
            ("rewrite = \"/%70rivate/a\"", true),
            ("rewrite = \"/other/{path}(1)\"", false),
            ("rewrite = \"/public/{path}\"", false),
            ("redirect = \"/private/a\"", false),
        ] {
            assert_eq!(doubts(rule).contains("rule 1 of the behavior default"), is_noted, "{rule}");
        }
    }
}
