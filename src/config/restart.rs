//! Which settings only a restart applies.

use super::Config;
use crate::cache::disk::DiskOptions;

impl Config {
    /// The keys that differ from `new` and that only a restart applies.
    pub(crate) fn changes_for_restart(&self, new: &Self) -> Vec<&'static str> {
        /// Whether a setting differs.
        macro_rules! differs {
            ($($key:literal: $($setting:tt).+),+ $(,)?) => {
                [$(($key, self.$($setting).+ != new.$($setting).+)),+]
            };
        }
        let changed = differs!(
            "listen.http": listen.http,
            "listen.https": listen.https,
            "listen.workers": listen.workers,
            "listen.max_connections": listen.limits.max_connections,
            "listen.max_connections_per_client": listen.limits.max_connections_per_client,
            "listen.max_streams": listen.limits.max_streams,
            "listen.handshake_timeout": listen.limits.handshake_timeout,
            "listen.header_timeout": listen.limits.header_timeout,
            "listen.idle_timeout": listen.limits.idle_timeout,
            "listen.write_timeout": listen.limits.write_timeout,
            "listen.proxy_protocol": listen.limits.proxy_protocol,
            "admin.listen": admin,
            "admin.state": admin_options.state,
            "cache.memory": cache.memory,
            "cache.slice": cache.slice,
            "cache.read_ahead": cache.read_ahead,
            "access_log.format": access_log.format,
            "access_log.path": access_log.path,
            "access_log.max_file_size": access_log.max_file_size,
        );
        let changed = changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key);
        changed.chain(disk(self.disk.as_ref(), new.disk.as_ref())).collect()
    }
}

/// The keys of the disk cache that differ.
fn disk(old: Option<&DiskOptions>, new: Option<&DiskOptions>) -> Vec<&'static str> {
    let (Some(old), Some(new)) = (old, new) else {
        return if old == new { Vec::new() } else { vec!["cache.disk"] };
    };
    let changed = [
        ("cache.disk.path", old.path != new.path),
        ("cache.disk.capacity", old.capacity != new.capacity),
        ("cache.disk.encryption_key_file", old.encryption_key_file != new.encryption_key_file),
        ("cache.disk.write_budget", old.write_budget != new.write_budget),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "[listen]\nhttp = \"127.0.0.1:8080\"\n{more}\n[[distribution]]\nid = \"media\"\naliases = [\"*\"]\n[[distribution.origin]]\nid = \"o\"\nurl = \"http://127.0.0.1:9\"\nsigning = \"never\"\n[distribution.default_behavior]\norigin = \"o\"\ncache_policy = \"CachingOptimized\"\n"
        );
        Config::compile("test.toml", &text, Path::new("")).expect("no faults")
    }

    #[test]
    fn each_change_is_named() {
        let disk = "[cache.disk]\npath = \"/tmp/cache\"\ncapacity = ";
        for (old, new, expected) in [
            ("", "", &[][..]),
            ("", "idle_timeout = \"9s\"", &["listen.idle_timeout"]),
            ("", "drain = \"9s\"", &[]),
            ("", "[admin]\nlisten = \"off\"", &["admin.listen"]),
            ("", "[cache]\nslice = \"2MiB\"\nmemory = \"2GiB\"", &["cache.memory", "cache.slice"]),
            ("", "[access_log]\nformat = \"off\"", &["access_log.format"]),
            ("", &format!("{disk}\"1GiB\""), &["cache.disk"]),
            (&format!("{disk}\"1GiB\""), &format!("{disk}\"2GiB\""), &["cache.disk.capacity"]),
        ] {
            assert_eq!(config(old).changes_for_restart(&config(new)), expected, "{new}");
        }
    }
}
