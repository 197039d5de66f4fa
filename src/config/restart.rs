//! Which settings only a restart applies.

use super::Config;

/// Keys, each with whether its setting differs.
macro_rules! differs {
    ($old:tt, $new:tt: $($key:literal: $($setting:tt).+),+ $(,)?) => {
        [$(($key, $old.$($setting).+ != $new.$($setting).+)),+]
    };
}

impl Config {
    /// The keys that differ from `new` and that only a restart applies.
    pub(crate) fn changes_for_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut changed = differs!(self, new:
            "listen.http": listen.http,
            "listen.https": listen.https,
            "listen.http3": listen.http3,
            "listen.acme": acme,
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
            "cache.eviction": cache.eviction,
            "cache.slice": cache.slice,
            "cache.read_ahead": cache.read_ahead,
            "access_log.format": access_log.format,
            "access_log.path": access_log.path,
            "access_log.max_file_size": access_log.max_file_size,
            "access_log.hive_directories": access_log.hive_directories,
        )
        .to_vec();
        changed.push(("cluster", self.cluster != new.cluster));
        changed.push(("access_log.s3", self.log_delivery != new.log_delivery));
        changed.push(("traces", self.traces != new.traces));
        match (&self.disk, &new.disk) {
            (Some(old), Some(new)) => changed.extend(differs!(old, new:
                "cache.disk.path": path,
                "cache.disk.capacity": capacity,
                "cache.disk.encryption_key_file": encryption_key_file,
                "cache.disk.write_budget": write_budget,
            )),
            (old, new) => changed.push(("cache.disk", old != new)),
        }
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
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
        let cluster = |node: &str| {
            format!(
                "[cluster]\nname = \"c\"\nnode = \"{node}\"\nnats = {{ servers = [\"nats://n:4222\"] }}\n"
            )
        };
        let disk = "[cache.disk]\npath = \"/tmp/cache\"\ncapacity = ";
        for (old, new, expected) in [
            ("", "", &[][..]),
            ("", "idle_timeout = \"9s\"", &["listen.idle_timeout"]),
            ("", "drain = \"9s\"", &[]),
            ("", "[admin]\nlisten = \"off\"", &["admin.listen"]),
            ("", "[cache]\nslice = \"2MiB\"\nmemory = \"2GiB\"", &["cache.memory", "cache.slice"]),
            ("", "[access_log]\nformat = \"off\"", &["access_log.format"]),
            ("", &cluster("a"), &["cluster"]),
            ("", "[traces]\nendpoint = \"http://127.0.0.1:4318\"", &["traces"]),
            (&cluster("a"), &cluster("b"), &["cluster"]),
            (
                &cluster("a"),
                &format!("{}[cache]\nread_ahead = 5", cluster("a")),
                &["cache.read_ahead"],
            ),
            ("", &format!("{disk}\"1GiB\""), &["cache.disk"]),
            (&format!("{disk}\"1GiB\""), &format!("{disk}\"2GiB\""), &["cache.disk.capacity"]),
        ] {
            assert_eq!(config(old).changes_for_restart(&config(new)), expected, "{new}");
        }
    }
}
