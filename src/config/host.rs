//! Host names.

/// Whether a Host field without its port can be `host`: an address, or a name that begins with a letter or digit.
pub(super) fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_part)
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label) && host.bytes().any(|b| b.is_ascii_alphanumeric()),
    }
}
