use super::*;
use crate::import::text::Text;

fn request(code: &str) -> Result<String, String> {
    let code = format!("function handler(event) {{ {code} }}");
    whole(&code, Event::ViewerRequest)
}

/// The rules as text, each below a line, and the differences.
fn whole(code: &str, event: Event) -> Result<String, String> {
    let aliases = ["example.com", "www.example.com"];
    let translation = translate(code, event, &aliases).map_err(|unclear| unclear.to_string())?;
    let mut text = Text::default();
    for rule in &translation.rules {
        text.push("--");
        rule.write(&mut text);
    }
    Ok(text.as_str().to_owned())
}

const INDEX: &str = "--\ndirectory_index = \"index.html\"\n";

#[test]
fn index_documents() {
    for code in [
        // In the style of the developer guide's example.
        "const request = event.request;
        const uri = request.uri;
        // no file name
        if (uri.endsWith('/')) { request.uri += 'index.html'; }
        else if (!uri.includes('.')) { request.uri += '/index.html'; }
        return request;",
        "var request = event.request; var uri = request.uri
        if (uri.endsWith(\"/\")) { request.uri = uri + \"index.html\" }
        else { if (uri.indexOf('.') === -1) request.uri = `${uri}/index.html`; }
        console.log(request.uri);
        return request",
        "const { request } = event; const { uri } = request;
        if (uri.endsWith('/')) { request.uri += 'index.html'; return request; }
        if (uri.indexOf('.') < 0) { request.uri += '/index.html'; }
        return request;",
    ] {
        assert_eq!(request(code).as_deref(), Ok(INDEX), "{code}");
    }
    let only_folders = "var r = event.request;
        if (r.uri.endsWith('/')) { r.uri += 'index.html'; }
        return r;";
    let rule = "--\npath = \"*/\"\nrewrite = \"{path}index.html\"\n";
    assert_eq!(request(only_folders).as_deref(), Ok(rule));
    let application = "var r = event.request;
        if (!r.uri.includes('.')) { r.uri = '/index.html'; }
        return r;";
    let rule = "--\npath_regex = '^[^\\.]*$'\nrewrite = \"/index.html\"\n";
    assert_eq!(request(application).as_deref(), Ok(rule));
    let early = "if (/\\.[a-z]+$/i.test(event.request.uri)) { return event.request; }
        event.request.uri += '.html'; return event.request;";
    assert_eq!(request(early), Err("it tests the path in a way that no rule can".to_owned()));
}

#[test]
fn redirects() {
    let www = "--\nhost = \"www.example.com\"\nredirect = \"https://example.com{path}\"\nstatus = 301\nkeep_query = false\n";
    let answer = "statusCode: 301, statusDescription: 'Moved Permanently'";
    for code in [
        format!(
            "var request = event.request;
            if (request.headers.host.value === 'www.example.com') {{
                return {{ {answer}, headers: {{ location: {{ value: 'https://example.com' + request.uri }} }} }};
            }}
            return request;"
        ),
        format!(
            "const {{ request }} = event;
            const host = request.headers['host'].value;
            if (host.startsWith('www.')) {{
                const response = {{ {answer}, headers: {{ 'location': {{ 'value': `https://${{host.replace('www.', '')}}${{request.uri}}` }} }} }};
                return response;
            }}
            return request;"
        ),
    ] {
        assert_eq!(request(&code).as_deref(), Ok(www), "{code}");
    }
    let country = "var request = event.request; var headers = request.headers;
        var host = headers.host.value; var url = `https://${host}/de/index.html`;
        if (headers['cloudfront-viewer-country']) {
            var code = headers['cloudfront-viewer-country'].value;
            if (code === 'DE') {
                return { statusCode: 302, headers: { location: { value: url }, 'cache-control': { value: 'no-store' } } };
            }
        }
        return request;";
    let rule = "--\ncountry = \"DE\"\nredirect = \"/de/index.html\"\nstatus = 302\nkeep_query = false\nset_response_headers = { cache-control = \"no-store\" }\n";
    assert_eq!(request(country).as_deref(), Ok(rule));
    let several = "const r = event.request;
        if (r.uri === '/old' || r.uri === '/older') {
            return { statusCode: 308, headers: { location: { value: '/new' } } };
        } else if (r.uri.startsWith('/blog/')) {
            return { statusCode: 302, headers: { location: { value: 'https://blog.example.com' + r.uri } } };
        }
        return r;";
    let redirect = |path: &str, target: &str, status: u16| {
        format!(
            "--\npath = \"{path}\"\nredirect = \"{target}\"\nstatus = {status}\nkeep_query = false\n"
        )
    };
    let rules = [
        redirect("/old", "/new", 308),
        redirect("/older", "/new", 308),
        redirect("/blog/*", "https://blog.example.com{path}", 302),
    ];
    assert_eq!(request(several), Ok(rules.concat()));
}

#[test]
fn refusals() {
    let code = "const r = event.request;
        if (r.headers['user-agent'] && r.headers['user-agent'].value.includes('BadBot')) {
            return { statusCode: 403, statusDescription: 'Forbidden' };
        }
        return r;";
    let rule = "--\nheader = { user-agent = \"*BadBot*\" }\ndeny = true\n";
    assert_eq!(request(code).as_deref(), Ok(rule));
    // A rule has no condition for what is missing.
    let secret = "const r = event.request;
        if (!r.headers['x-secret'] || r.headers['x-secret'].value !== 'a') { return { statusCode: 403 }; }
        return r;";
    let reason = "it tests x-secret for its value in a way that no rule can";
    assert_eq!(request(secret), Err(reason.to_owned()));
}

const REFUSAL: &str = "{ statusCode: 401, statusDescription: 'Unauthorized', headers: { 'www-authenticate': { value: 'Basic realm=\"Preview\"' } } }";

#[test]
fn passwords() {
    let refusal = REFUSAL;
    for code in [
        // "anna:open sesame"
        format!(
            "var authHeaders = event.request.headers.authorization;
            var expected = 'Basic YW5uYTpvcGVuIHNlc2FtZQ==';
            if (authHeaders && authHeaders.value === expected) {{ return event.request; }}
            var response = {refusal};
            return response;"
        ),
        format!(
            "const request = event.request; const headers = request.headers;
            const user = 'anna'; const password = 'open sesame';
            const auth = 'Basic ' + Buffer.from(user + ':' + password).toString('base64');
            if (typeof headers.authorization === 'undefined' || headers.authorization.value !== auth) {{ return {refusal}; }}
            return request;"
        ),
        format!(
            "const request = event.request;
            if (request.headers.authorization?.value !== 'Basic YW5uYTpvcGVuIHNlc2FtZQ==') {{ return {refusal}; }}
            return request;"
        ),
    ] {
        let rules = request(&code).expect(&code);
        let hash = rules.split('"').find(|part| part.starts_with("$2")).expect(&rules);
        assert!(bcrypt::verify("open sesame", hash).expect("a hash"));
        let rules = rules.replace(hash, "HASH");
        let expected = "--\nbasic_auth = { realm = \"Preview\", users = { anna = \"HASH\" } }\n";
        assert_eq!(rules, expected, "{code}");
    }
    let and_index = format!(
        "const r = event.request;
        if (!r.headers.authorization || r.headers.authorization.value != 'Basic YTpi') return {refusal};
        if (r.uri.endsWith('/')) {{ r.uri += 'index.html'; }}
        else if (!r.uri.includes('.')) {{ r.uri += '/index.html'; }}
        return r;"
    );
    let rules = request(&and_index).expect("rules");
    assert!(rules.starts_with("--\nbasic_auth = ") && rules.ends_with(INDEX), "{rules}");
}

#[test]
fn other_checks_of_authorization_are_not_understood() {
    let refusal = REFUSAL;
    for code in [
        // It lets everyone in but one.
        format!(
            "if (event.request.headers.authorization && event.request.headers.authorization.value === 'Basic YTpi') {{ return {refusal}; }}
            return event.request;"
        ),
        // Only some paths need a password.
        format!(
            "var r = event.request;
            if (r.uri.startsWith('/private/') && (!r.headers.authorization || r.headers.authorization.value !== 'Basic YTpi')) {{ return {refusal}; }}
            return r;"
        ),
        // Two users.
        format!(
            "var r = event.request; var a = r.headers.authorization;
            if (a && (a.value === 'Basic YTpi' || a.value === 'Basic YTpj')) {{ return r; }}
            return {refusal};"
        ),
        // Not a password at all.
        format!(
            "var r = event.request; var a = r.headers.authorization;
            if (a && a.value === 'Bearer YTpi') {{ return r; }}
            return {refusal};"
        ),
        format!(
            "var r = event.request; var a = r.headers.authorization;
            if (a && a.value.startsWith('Basic ')) {{ return r; }}
            return {refusal};"
        ),
    ] {
        let refused = request(&code).expect_err(&code);
        assert!(refused.starts_with("it reads Authorization, but not as a check"), "{refused}");
    }
}

#[test]
fn header_fields_of_responses() {
    let code = "function handler(event) {
        var response = event.response; var headers = response.headers;
        headers['strict-transport-security'] = { value: 'max-age=63072000; includeSubdomains; preload' };
        headers['X-Frame-Options'] = { value: 'DENY' };
        return response;
    }";
    let rule = "--\nset_response_headers = { strict-transport-security = \"max-age=63072000; includeSubdomains; preload\", x-frame-options = \"DENY\" }\n";
    assert_eq!(whole(code, Event::ViewerResponse).as_deref(), Ok(rule));
    for (code, reason) in [
        (
            "if (!event.response.headers['x-a']) { event.response.headers['x-a'] = { value: 'b' }; } return event.response;",
            "line 1: it is not understood",
        ),
        (
            "event.response.headers['content-length'] = { value: '1' }; return event.response;",
            "no rule can set `content-length`",
        ),
        ("return event.request;", "it does not set the same header fields for all responses"),
    ] {
        let code = format!("function handler(event) {{ {code} }}");
        assert_eq!(whole(&code, Event::ViewerResponse), Err(reason.to_owned()), "{code}");
    }
}

#[test]
fn what_is_not_understood_is_named_and_refused() {
    for (code, reason) in [
        ("", "it has no function `handler`"),
        ("function handler(event) {", "it is not valid JavaScript: Expected `}` but found `EOF`"),
        ("function handler(event) { }", "it does not return something on all its paths"),
        ("import cf from 'cloudfront';", ""),
        (
            "var crypto = require('crypto');\nfunction handler(event) { return event.request; }",
            "line 1: `require` is not understood",
        ),
        (
            "function handler(event) {\n  var r = event.request;\n  for (var x in r.querystring) { }\n  return r;\n}",
            "line 3: `for (var x in r.querystring) { }` is not understood",
        ),
        (
            "function handler(event) {\n  event.request.headers['x-a'] = { value: 'b' };\n  return event.request;\n}",
            "line 2: it is not understood",
        ),
        (
            "function handler(event) {\n  if (event.request.method == 'POST') { return event.request; }\n  return event.request;\n}",
            "line 2: `event.request.method` is not understood",
        ),
        (
            "function handler(event) { var r = event.request; if (r.uri === '/a') { let r = event.request; } return r; }",
            "line 1: `r` is not understood",
        ),
        (
            "function other() { return 1; }\nfunction handler(event) { return event.request; }",
            "line 1: `function other() { return 1; }` is not understood",
        ),
        (
            "function handler(event) { return { statusCode: 200, body: 'hello' }; }",
            "it returns a response that no rule can make",
        ),
        (
            "function handler(event) { event.request.uri = '/{path}'; return event.request; }",
            "it makes a URL of more than the path of the request",
        ),
        ("function handler(event) { throw 'a'; }", "line 1: it is not understood"),
        (
            "function handler(event) { var r = event.request; r = r; if (r) { return r; } return r; }",
            "line 1: `r` is not understood",
        ),
    ] {
        let refused = whole(code, Event::ViewerRequest).expect_err(code);
        assert!(reason.is_empty() || refused == reason, "{code}: {refused}");
    }
    // Each condition doubles the paths.
    let twice = |name: &str| {
        format!("if (event.request.headers['{name}']) {{ event.request.uri += '{name}'; }}")
    };
    let many = ["a", "b", "c", "d", "e", "f", "g"].map(twice).concat();
    let refused = request(&format!("{many} return event.request;"));
    assert_eq!(refused, Err("it has too many paths".to_owned()));
}

#[test]
fn a_function_that_does_nothing_needs_no_rules() {
    let code = "const handler = async (event) => { console.log('a'); return event.request; };";
    assert_eq!(whole(code, Event::ViewerRequest), Ok(String::new()));
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in
        [("(", ")"), ("{", "}"), ("[", "]"), ("!", ""), ("if (a) ", ";"), ("-", "")]
    {
        let depth = 10_000 / (open.len() + close.len());
        let code = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(whole(&code, Event::ViewerRequest).is_err());
        let inside = format!("var a = {code};");
        assert!(whole(&inside, Event::ViewerRequest).is_err());
    }
    let long = " ".repeat(11_000);
    let reason = "it is longer than 10 KiB, which CloudFront does not allow";
    assert_eq!(whole(&long, Event::ViewerRequest), Err(reason.to_owned()));
}

/// What a function would do otherwise than its rules.
#[test]
fn what_could_mean_something_else_is_refused() {
    let refuse = "return { statusCode: 403 };";
    for code in [
        // Without the field, it fails.
        format!("var r = event.request; if (r.headers['x-team'].value === 'bad') {{ {refuse} }} return r;"),
        // A field that is never there, and a comparison that is never true.
        "var r = event.request; if (r.headers['X-Team'] && r.headers['X-Team'].value === 'a') { return r; } r.uri += r.headers['X-Team'].value; return r;".to_owned(),
        format!("var r = event.request; if (/^\\/My%20Docs\\//.test(r.uri)) {{ {refuse} }} return r;"),
        format!("var r = event.request; if (/^\\/[a&&b]/.test(r.uri)) {{ {refuse} }} return r;"),
        format!("var r = event.request; if (/^\\/(?=a)/.test(r.uri)) {{ {refuse} }} return r;"),
        format!("var r = event.request; if (/^\\/\\d/.test(r.uri)) {{ {refuse} }} return r;"),
        format!("var r = event.request; if (/^\\/.{{3}}$/.test(r.uri)) {{ {refuse} }} return r;"),
        "console.log(event.request.uri = '/a'); return event.request;".to_owned(),
        "console.log(event.request.headers.x.value); return event.request;".to_owned(),
        "return { statusCode: 302, statusCode: 403, headers: { location: { value: '/a' } } };".to_owned(),
        "return { statusCode: 302, headers: { location: { value: '/a' } }, cookies: {} };".to_owned(),
        "var r = event.request; return { statusCode: 301, headers: { location: { value: 'https://' + r.headers.host.value + r.uri } } };".to_owned(),
        "var r = event.request; return { statusCode: 301, headers: { location: { value: 'https://' + r.headers.host.value } } };".to_owned(),
        "var r = event.request; return { statusCode: 301, headers: { location: { value: 'https://' + r.headers.host.value + ':8443' + r.uri } } };".to_owned(),
    ] {
        assert!(request(&code).is_err(), "{code}: {:?}", request(&code));
    }
    let two = "var handler = function (e) { return { statusCode: 403 }; }; function handler(event) { return event.request; }";
    assert!(whole(two, Event::ViewerRequest).is_err());
    // Every request has a host, and a header field that is missing is not null.
    let host = "var r = event.request; if (r.headers.host && r.headers.host.value === 'a.example') { return { statusCode: 302, headers: { location: { value: '/a' } } }; } return r;";
    let rule = "--\nhost = \"a.example\"\nredirect = \"/a\"\nstatus = 302\nkeep_query = false\n";
    assert_eq!(request(host).as_deref(), Ok(rule));
    let null = "var r = event.request; if (r.headers['x-ok'] === null) { return r; } return { statusCode: 403 };";
    assert_eq!(request(null).as_deref(), Ok("--\ndeny = true\n"));
    let any = "var r = event.request; if (r.headers.host.value.startsWith('www.')) { return { statusCode: 301, headers: { location: { value: 'https://' + r.headers.host.value.slice(4) + r.uri } } }; } return r;";
    let code = format!("function handler(event) {{ {any} }}");
    assert!(translate(&code, Event::ViewerRequest, &["*.example.com"]).is_err());
    assert!(translate(&code, Event::ViewerRequest, &[]).is_err());
    let pairs: Vec<String> = (0..30)
        .map(|number| format!("(u.includes('a{number}') || u.includes('b{number}'))"))
        .collect();
    let many = format!(
        "var u = event.request.uri; if ({}) {{ {refuse} }} return event.request;",
        pairs.join(" && ")
    );
    assert_eq!(request(&many), Err("it has too many paths".to_owned()));
    let doubled = format!(
        "var s = 'aa'; {} event.request.uri = s; return event.request;",
        "s += s;".repeat(40)
    );
    assert!(request(&doubled).is_err());
    let nested: Vec<String> =
        (0..60).map(|number| format!("var v{} = v{number} && v{number};", number + 1)).collect();
    let nested = format!(
        "var v0 = event.request.uri.endsWith('/'); {} if (v60) {{ {refuse} }} return event.request;",
        nested.concat()
    );
    assert!(request(&nested).is_err());
    let secret = "var s = 'pa\\'ss-word'; f(s, 'secret'); return event.request;";
    assert_eq!(request(secret), Err("line 1: `f` is not understood".to_owned()));
    let secret = "if (event.request.headers.x?.value.padEnd('secret') === 'a') { return event.request; } return event.request;";
    assert!(!request(secret).expect_err("refused").contains("secret"));
    let long = format!(
        "var r = event.request; var a = r.headers.authorization; if (!a || a.value !== 'Basic ' + Buffer.from('a:{}').toString('base64')) {{ return {REFUSAL}; }} return r;",
        "b".repeat(72)
    );
    assert!(request(&long).expect_err("refused").contains("too long for bcrypt"));
}
