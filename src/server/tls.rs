//! TLS: certificates selected by server name, reloaded while serving.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use crate::{
    behavior::SecurityPolicy,
    tls::{Challenges, IssuedCertificates, TlsError, covers},
};

/// TLS settings for a set of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProfile {
    /// Host names, `*.` and a host name, or `*`.
    pub hosts: Vec<String>,
    /// Versions and cipher suites.
    pub security: SecurityPolicy,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether HTTP/3 is offered.
    pub http3: bool,
}

/// The protocol by which an authority looks for a proof (RFC 8737 §4).
pub(super) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// HTTP/3 over QUIC (RFC 9114 §3.1).
const HTTP3: &[u8] = b"h3";

/// The TLS settings in effect.
#[derive(Debug)]
pub struct TlsSettings {
    selection: ArcSwap<Selection>,
    issued: Arc<IssuedCertificates>,
    challenges: Arc<Challenges>,
}

/// Settings by server name.
#[derive(Debug)]
struct Selection {
    /// The certificates from files.
    keys: Vec<Arc<CertifiedKey>>,
    by_host: HashMap<String, Selected>,
    /// For viewers that send no server name, or an unknown one.
    other: Selected,
}

/// The settings for one connection.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The configuration for rustls.
    pub config: Arc<ServerConfig>,
    /// The policy that the configuration fulfils.
    pub security: SecurityPolicy,
    /// Whether the host has HTTP/3.
    pub http3: bool,
}

impl TlsSettings {
    /// The first of the `keys` serves viewers that send no server name, or an unknown one.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(
        keys: Vec<Arc<CertifiedKey>>,
        profiles: &[TlsProfile],
        issued: Arc<IssuedCertificates>,
        challenges: Arc<Challenges>,
    ) -> Result<Arc<Self>, TlsError> {
        let selection = Selection::new(keys, &issued, profiles)?;
        Ok(Arc::new(Self { selection: ArcSwap::from_pointee(selection), issued, challenges }))
    }

    /// One configuration for all connections.
    #[must_use]
    pub fn fixed(config: Arc<ServerConfig>) -> Arc<Self> {
        let (issued, challenges) = (Arc::default(), Arc::default());
        let selection = ArcSwap::from_pointee(Selection::fixed(config));
        Arc::new(Self { selection, issued, challenges })
    }

    /// Replaces the configuration for all connections.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.selection.store(Arc::new(Selection::fixed(config)));
    }

    /// The certificates from files, in the order of the configuration.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<CertifiedKey>> {
        self.selection.load().keys.clone()
    }

    /// Replaces certificates and profiles. On an error the old ones stay in effect.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn set(
        &self,
        keys: Vec<Arc<CertifiedKey>>,
        profiles: &[TlsProfile],
    ) -> Result<(), TlsError> {
        self.selection.store(Arc::new(Selection::new(keys, &self.issued, profiles)?));
        Ok(())
    }

    /// The settings for a viewer that sent `hello`.
    #[must_use]
    pub fn select(&self, hello: &ClientHello<'_>) -> Selected {
        let selection = self.selection.load();
        let name = hello.server_name().map(str::to_ascii_lowercase).unwrap_or_default();
        if let Some(proof) = self.proof(hello, &name) {
            return proof;
        }
        let wildcards = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]));
        let names = std::iter::once(name.clone()).chain(wildcards);
        let found = names.into_iter().find_map(|name| selection.by_host.get(&name));
        found.unwrap_or(&selection.other).clone()
    }
}

impl TlsSettings {
    /// The configuration for QUIC, which fulfils all security policies. It follows changes of the settings.
    pub(super) fn for_quic(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let certificates = Arc::new(QuicCertificates(Arc::clone(self)));
        let mut config = server_config(SecurityPolicy::STRICTEST, certificates)?;
        config.alpn_protocols = vec![HTTP3.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(config)
    }

    /// The settings for an authority that looks for a proof of `host`.
    fn proof(&self, hello: &ClientHello<'_>, host: &str) -> Option<Selected> {
        if !self.challenges.is_pending() || !hello.alpn()?.any(|protocol| protocol == ACME_ALPN) {
            return None;
        }
        let certificate = self.challenges.certificate(host)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = vec![ACME_ALPN.to_vec()];
        Some(Selected {
            config: Arc::new(config),
            security: SecurityPolicy::default(),
            http3: false,
        })
    }
}

impl Selection {
    fn has_http3(&self) -> bool {
        self.other.http3 || self.by_host.values().any(|selected| selected.http3)
    }

    fn fixed(config: Arc<ServerConfig>) -> Self {
        let other = Selected { config, security: SecurityPolicy::default(), http3: false };
        Self { keys: Vec::new(), by_host: HashMap::new(), other }
    }

    fn new(
        keys: Vec<Arc<CertifiedKey>>,
        issued: &Arc<IssuedCertificates>,
        profiles: &[TlsProfile],
    ) -> Result<Self, TlsError> {
        let certificates =
            Arc::new(Certificates { files: keys.clone(), issued: Arc::clone(issued) });
        let ticketer = aws_lc_rs::Ticketer::new()?;
        let mut made: Vec<((SecurityPolicy, bool, bool), Selected)> = Vec::new();
        let mut by_host = HashMap::new();
        let strictest = profiles.iter().map(|p| p.security).max().unwrap_or_default();
        let hosts = vec!["*".into()];
        let other = TlsProfile { hosts, security: strictest, http2: true, http3: false };
        for TlsProfile { hosts, security, http2, http3 } in [&other].into_iter().chain(profiles) {
            let kind = (*security, *http2, *http3);
            let selected = match made.iter().find(|(known, _)| *known == kind) {
                Some((_, selected)) => selected.clone(),
                None => {
                    let mut config = server_config(*security, certificates.clone())?;
                    config.alpn_protocols = alpn(*http2);
                    config.ticketer = Arc::clone(&ticketer);
                    let selected =
                        Selected { config: Arc::new(config), security: *security, http3: *http3 };
                    made.push((kind, selected.clone()));
                    selected
                }
            };
            by_host.extend(hosts.iter().map(|host| (host.clone(), selected.clone())));
        }
        let other = by_host.remove("*").ok_or(rustls::Error::General("no settings".into()))?;
        Ok(Self { keys, by_host, other })
    }
}

fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let protocols = [&b"h2"[..], b"http/1.1"];
    protocols[usize::from(!http2)..].iter().map(|protocol| protocol.to_vec()).collect()
}

fn server_config(
    security: SecurityPolicy,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| fulfils(security, suite));
    let versions: &[&SupportedProtocolVersion] = match security {
        SecurityPolicy::Tls13Of2025 => &[&TLS13],
        SecurityPolicy::Tls12Of2021 | SecurityPolicy::Tls12Of2025 => &[&TLS12, &TLS13],
    };
    Ok(ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates))
}

fn fulfils(security: SecurityPolicy, suite: &SupportedCipherSuite) -> bool {
    let is_chacha = format!("{:?}", suite.suite()).contains("CHACHA20");
    match security {
        SecurityPolicy::Tls12Of2021 => true,
        SecurityPolicy::Tls12Of2025 => !is_chacha || suite.tls13().is_some(),
        SecurityPolicy::Tls13Of2025 => !is_chacha && suite.tls13().is_some(),
    }
}

/// The certificates of the hosts that have HTTP/3.
#[derive(Debug)]
struct QuicCertificates(Arc<TlsSettings>);

impl ResolvesServerCert for QuicCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let selected = self.0.select(&hello);
        // A client that names no host, because its URL has an address, gets HTTP/3 if any host has it.
        let is_unnamed = hello.server_name().is_none();
        let is_served = selected.http3 || is_unnamed && self.0.selection.load().has_http3();
        if is_served { selected.config.cert_resolver.resolve(hello) } else { None }
    }
}

/// Certificates from files, and issued ones.
#[derive(Debug)]
struct Certificates {
    files: Vec<Arc<CertifiedKey>>,
    issued: Arc<IssuedCertificates>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default();
        let is_for =
            |key: &&Arc<CertifiedKey>| key.cert.first().is_some_and(|leaf| covers(leaf, name));
        let from_file = self.files.iter().find(is_for).cloned();
        from_file
            .or_else(|| self.issued.get(&name.to_ascii_lowercase()))
            .or_else(|| self.files.first().cloned())
            .or_else(|| self.issued.any())
    }
}
