//! The limit on open files, and how many connections fit within it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::Limits;

/// File descriptors for everything except viewers: logs, certificates, the admin listener.
const RESERVED: u64 = 64;

/// Raises the limit as far as the system allows. Returns how many of `wanted` connections fit beside the files of the
/// disk cache. A quarter of the remaining descriptors is for connections to origins.
pub(super) fn fitting_connections(wanted: usize, disk_files: u64) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    // Without a limit, every connection fits.
    let Some(limit) = current else { return wanted };
    let fitting = connections_within(limit, disk_files).min(wanted);
    if fitting == wanted {
        return wanted;
    }
    // The operator did not choose the default.
    if wanted == Limits::default().max_connections {
        tracing::info!(
            open_files = limit,
            connections = fitting,
            "the limit on open files allows fewer connections than the default of `max_connections`"
        );
    } else {
        tracing::warn!(
            open_files = limit,
            max_connections = wanted,
            connections = fitting,
            "`max_connections` is reduced to fit the limit on open files: raise that limit \
             (LimitNOFILE= in the systemd unit, `ulimits` in a compose file)"
        );
    }
    fitting
}

fn connections_within(limit: u64, disk_files: u64) -> usize {
    let reserved = (RESERVED + disk_files).min(limit / 2);
    usize::try_from((limit - reserved) / 4 * 3).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_left_for_others() {
        let none = [(2, 1), (64, 24), (1024, 720), (1 << 20, 786_384)].map(|(l, c)| (l, 0, c));
        for (limit, files, connections) in none.into_iter().chain([(4096, 512, 2640)]) {
            assert_eq!(connections_within(limit, files), connections, "{limit}");
        }
    }
}
