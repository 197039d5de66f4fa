//! CloudFront's TLS security policies.

/// The minimum TLS version and ciphers for viewers, by CloudFront's names (Amazon CloudFront Developer Guide,
/// "Supported protocols and ciphers between viewers and CloudFront"). Later policies are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityPolicy {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12Of2021,
    /// The same policy without ChaCha20 in TLS 1.2.
    Tls12Of2025,
    /// TLS 1.3 with AES.
    Tls13Of2025,
}

impl SecurityPolicy {
    /// The policy that fulfils all others.
    pub const STRICTEST: Self = Self::Tls13Of2025;

    /// CloudFront's names.
    pub const NAMES: [(&str, Self); 3] = [
        ("TLSv1.2_2021", Self::Tls12Of2021),
        ("TLSv1.2_2025", Self::Tls12Of2025),
        ("TLSv1.3_2025", Self::Tls13Of2025),
    ];
}
