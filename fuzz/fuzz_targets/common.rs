//! A signer of valid signatures, so that fuzzing reaches the code behind them.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use forebay::{access::signed::{SignedRequest, PublicKey, SignatureError, TrustedKeys}, base::clock::Timestamp};
use http::HeaderMap;
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::EncodePublicKey,
};

/// Time of all requests, in seconds since the epoch.
pub const NOW: u64 = 1_800_000_000;

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_bytes(&[7; 32].into()).expect("a key"));

static TRUSTED: LazyLock<TrustedKeys> = LazyLock::new(|| {
    let pem = KEY.verifying_key().to_public_key_pem(Default::default()).expect("PEM");
    let mut trusted = TrustedKeys::default();
    trusted.trust("K", Arc::new(PublicKey::from_pem(&pem).expect("a public key")), true);
    trusted
});

/// CloudFront's spelling of base64.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

/// A query string with a valid signature over these bytes.
pub fn signed(policy: &[u8]) -> String {
    let signature: Signature = KEY.sign(policy);
    let (policy, signature) = (encode(policy), encode(signature.to_der().as_bytes()));
    format!("Policy={policy}&Signature={signature}&Key-Pair-Id=K&Hash-Algorithm=SHA256")
}

/// The verdict on a request for `path`.
pub fn judge(path: &str, query: Option<&str>, fields: &HeaderMap) -> Result<(), SignatureError> {
    TRUSTED.verify(&SignedRequest {
        scheme: "https",
        authority: "media.example.com",
        path,
        resolved: None,
        query,
        fields,
        client: Some([192, 0, 2, 1].into()),
        now: Timestamp::from_secs(NOW),
    })
}
