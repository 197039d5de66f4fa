use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;

use super::{public_key::KeyError, *};
use crate::cache::key::{PathForm, without_dot_segments};

const NOW: u64 = 1_000;

struct Signer {
    pair: RsaKeyPair,
    trusted: TrustedKeys,
}

impl Signer {
    fn new() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let mut trusted = TrustedKeys::default();
        trusted.trust("K1", Arc::new(PublicKey::from_pem(&pem).expect("a public key")), false);
        Self { pair, trusted }
    }

    fn sign(&self, message: &str) -> String {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
            .expect("signed");
        encode(&signature)
    }

    fn canned(&self, url: &str, expires: u64) -> String {
        let signature = self.sign(&format!(
            r#"{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
        ));
        format!("Expires={expires}&Signature={signature}&Key-Pair-Id=K1&Hash-Algorithm=SHA256")
    }

    fn custom(&self, policy: &str) -> String {
        let (signature, policy) = (self.sign(policy), encode(policy.as_bytes()));
        format!("Policy={policy}&Signature={signature}&Key-Pair-Id=K1&Hash-Algorithm=SHA256")
    }

    fn judge(&self, url: &str, query: &str) -> Result<(), SignatureError> {
        self.judge_with(url, Some(query), &HeaderMap::new())
    }

    fn judge_with(
        &self,
        url: &str,
        query: Option<&str>,
        fields: &HeaderMap,
    ) -> Result<(), SignatureError> {
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        let (authority, path) = rest.split_at(rest.find('/').expect("a path"));
        let claim = SignedRequest {
            scheme,
            authority,
            path,
            resolved: without_dot_segments(path, PathForm::Key),
            query,
            fields,
            client: Some([192, 0, 2, 7].into()),
            now: Timestamp::from_secs(NOW),
        };
        self.trusted.verify(&claim)
    }
}

fn policy(resource: &str, more: &str) -> String {
    format!(
        r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":2000}}{more}}}}}]}}"#
    )
}

const URL: &str = "https://media.example.com/a%20b.jpg";

#[test]
fn a_canned_policy_is_for_one_url_until_its_time() {
    let signer = Signer::new();
    let query = signer.canned(URL, 2000);
    assert_eq!(signer.judge(URL, &query), Ok(()));
    assert_eq!(signer.judge("https://media.example.com:443/a%20b.jpg", &query), Ok(()));
    for other in [
        "http://media.example.com/a%20b.jpg",
        "https://media.example.com:8443/a%20b.jpg",
        "https://media.example.com/a b.jpg",
        "https://other.example.com/a%20b.jpg",
    ] {
        assert_eq!(signer.judge(other, &query), Err(SignatureError::WrongSignature), "{other}");
    }
    let with_query = signer.canned(&format!("{URL}?size=1&x"), 2000);
    assert_eq!(signer.judge(URL, &format!("size=1&{with_query}&x")), Ok(()));
    assert_eq!(signer.judge(URL, &with_query), Err(SignatureError::WrongSignature));
    assert_eq!(signer.judge(URL, &signer.canned(URL, NOW)), Err(SignatureError::Expired));
    let quoted = "https://media.example.com/\"é\".jpg";
    let json = ascii_json(quoted);
    assert_eq!(signer.judge(quoted, &signer.canned(quoted, 2000)), Ok(()));
    assert_eq!(signer.judge(quoted, &signer.canned(json.trim_matches('"'), 2000)), Ok(()));
}

#[test]
fn each_reason_to_refuse_has_its_name() {
    let signer = Signer::new();
    let good = signer.canned(URL, 2000);
    let custom = signer.custom(&policy("https://media.example.com/*", ""));
    let address = r#","IpAddress":{"AWS:SourceIp":"198.51.100.0/24"}"#;
    let early = r#","DateGreaterThan":{"AWS:EpochTime":1000}"#;
    let without = |name: &str| {
        let kept: Vec<&str> = good.split('&').filter(|pair| !pair.starts_with(name)).collect();
        kept.join("&")
    };
    for (query, reason) in [
        ("x=1".to_owned(), SignatureError::Unsigned),
        (format!("{good}&Expires=2000"), SignatureError::Repeated),
        (without("Key-Pair-Id"), SignatureError::NoKeyPairId),
        (good.replace("K1", "K2"), SignatureError::UnknownKey),
        (without("Signature"), SignatureError::NoSignature),
        (without("Expires"), SignatureError::BadTerms),
        (format!("{custom}&Expires=2000"), SignatureError::BadTerms),
        (good.replace("Expires=2000", "Expires=%32000"), SignatureError::BadTerms),
        (good.replace("Expires=2000", "Expires=99999999999999999999"), SignatureError::BadTerms),
        (good.replace("Expires=2000", "Expires="), SignatureError::BadTerms),
        (good.replace("SHA256", "SHA512"), SignatureError::UnknownHash),
        (without("Hash-Algorithm"), SignatureError::Sha1),
        (good.replace("Signature=", "Signature=!"), SignatureError::BadSignature),
        (good.replace("Expires=2000", "Expires=2001"), SignatureError::WrongSignature),
        (custom.replace("Policy=", "Policy=!"), SignatureError::BadPolicy),
        (signer.custom("{}"), SignatureError::BadPolicy),
        (signer.custom(&policy("https://other.example.com/*", "")), SignatureError::OtherResource),
        (signer.custom(&policy("*", "").replace("2000", "1000")), SignatureError::Expired),
        (signer.custom(&policy("*", early)), SignatureError::TooEarly),
        (signer.custom(&policy("*", address)), SignatureError::OtherAddress),
    ] {
        assert_eq!(signer.judge(URL, &query), Err(reason), "{query}");
    }
    assert_eq!(signer.judge(URL, &custom), Ok(()));
    assert_eq!(signer.judge(URL, &format!("{custom}&v=1")), Ok(()));
}

#[test]
fn cookies_count_where_the_query_says_nothing() {
    let signer = Signer::new();
    let cookies = |query: &str| {
        let cookie = query.split('&').map(|pair| format!("CloudFront-{pair}"));
        let line = format!("session=1; {}", cookie.collect::<Vec<_>>().join("; "));
        let mut fields = HeaderMap::new();
        fields.insert(header::COOKIE, line.parse().expect("a value"));
        fields
    };
    let good = cookies(&signer.custom(&policy("https://media.example.com/*", "")));
    assert_eq!(signer.judge_with(URL, None, &good), Ok(()));
    assert_eq!(signer.judge_with(URL, Some("v=1"), &good), Ok(()));
    assert_eq!(signer.judge_with(URL, Some("Expires=1"), &good), Err(SignatureError::NoKeyPairId));
    let canned = cookies(&signer.canned(URL, 2000));
    assert_eq!(signer.judge_with(URL, None, &canned), Ok(()));
    assert_eq!(signer.judge_with(URL, Some("v=1"), &canned), Err(SignatureError::WrongSignature));
}

#[test]
fn no_mutation_is_accepted() {
    let signer = Signer::new();
    let mut rng = fastrand::Rng::with_seed(7);
    let mutations =
        std::env::var("FOREBAY_MUTATIONS").map_or(40_000, |n| n.parse().expect("a number"));
    for good in
        [signer.canned(URL, 2000), signer.custom(&policy("https://media.example.com/*", ""))]
    {
        assert_eq!(signer.judge(URL, &good), Ok(()));
        for _ in 0..mutations / 2 {
            let mut mutated = good.clone().into_bytes();
            let at = rng.usize(0..mutated.len());
            match rng.u8(0..3) {
                0 => mutated[at] = rng.choice(b"Aa0-~_=&%?*.").copied().expect("one"),
                1 => drop(mutated.remove(at)),
                _ => mutated.insert(at, rng.choice(b"Aa0-~_=&%?*.").copied().expect("one")),
            }
            let mutated = String::from_utf8(mutated).expect("ASCII");
            // Padding is optional. An unknown name with a value is an ordinary parameter.
            let same = |text: &str| {
                let pairs = text.split('&').filter(|pair| pair.contains('='));
                pairs.map(|pair| pair.trim_end_matches('_').to_owned()).collect::<Vec<_>>()
            };
            if same(&mutated) != same(&good) {
                let judged = signer.judge(URL, &mutated);
                assert!(judged.is_err(), "{mutated}\n{good}");
            }
        }
    }
}

const NEARLY_2048_BITS: &str = "-----BEGIN PUBLIC KEY-----
MIIBITANBgkqhkiG9w0BAQEFAAOCAQ4AMIIBCQKCAQBz66UID4ahalMvyV15SXGG
px1T+JeoE1nU8lGXWa/GZwEaJXTsK/2V6kX6q11PG37ahEZdC+oFC6WWCfiMptsO
pFytn54lM2qEuP2fDSEqIzmtOavdzwXMpSnCWpODBfpjVvRVcPaQwMS3+sQXXnsq
z+893E3SyH+9AXhUoUoF8hjtXxm2NUAGk9cQK3YixzeBCi4zFJrwHkt1srYAnvJP
QIcsz2Im6RWSuOIyyzwrYS4ETfkVPTwRP+OaEylxea7QW8rf7rHMO35UhSH8v2Re
A5G78Gn8BISe83VnPDmwZemgaBrAptNJS5+XRlaa/3qkbynwkkfGxZ+MNR4iVj+F
AgMBAAE=
-----END PUBLIC KEY-----
";

#[test]
fn only_the_keys_that_cloudfront_takes_are_read() {
    for (pem, error) in [
        ("", KeyError::NoText),
        ("keys/public.pem", KeyError::NoText),
        ("  -----BEGIN PUBLIC KEY-----\n  MFkw\n  -----END PUBLIC KEY-----", KeyError::Indented),
        ("-----BEGIN RSA PUBLIC KEY-----\nMFkw\n-----END RSA PUBLIC KEY-----", KeyError::Pkcs1),
        ("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----", KeyError::NotPem),
        (
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----",
            KeyError::Unsupported,
        ),
        (NEARLY_2048_BITS, KeyError::Unsupported),
    ] {
        assert_eq!(PublicKey::from_pem(pem).map(|_| ()), Err(error), "{pem}");
    }
}

#[test]
fn a_policy_must_cover_the_path_with_and_without_its_dot_segments() {
    let signer = Signer::new();
    let judge =
        |resource: &str, url: &str| signer.judge(url, &signer.custom(&policy(resource, "")));
    let free = "https://h/free/*";
    assert_eq!(judge(free, "https://h/free/a.jpg"), Ok(()));
    assert_eq!(judge(free, "https://h/free/x/../a.jpg"), Ok(()));
    for url in ["https://h/free/../paid/a.jpg", "https://h/free/..%2Fpaid/a.jpg"] {
        assert_eq!(judge(free, url), Err(SignatureError::OtherResource), "{url}");
    }
    let url = "https://h/free/x/../a.jpg";
    assert_eq!(signer.judge(url, &signer.canned(url, 2000)), Err(SignatureError::DotSegments));
}
