//! Metrics of the process, by the names that Prometheus' clients share.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use rustix::process::{Resource, getrlimit};

/// Reads the metrics of the process when they are requested.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Other systems have no such file.
        let Some(stat) = Stat::read() else { return Ok(()) };
        let cpu = ConstCounter::new(stat.cpu_seconds);
        let help = "User and system CPU time.";
        let unit = Some(&Unit::Seconds);
        cpu.encode(encoder.encode_descriptor("process_cpu", help, unit, cpu.metric_type())?)?;
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        let bytes = Some(&Unit::Bytes);
        gauge("process_start_time", "Start time since the Unix epoch.", unit, stat.started)?;
        gauge("process_resident_memory", "Resident memory.", bytes, Some(stat.resident))?;
        gauge("process_virtual_memory", "Virtual memory.", bytes, Some(stat.virtual_memory))?;
        gauge("process_open_fds", "Open file descriptors.", None, open_files())?;
        gauge("process_max_fds", "Limit on open file descriptors.", None, limit_of_files())
    }
}

/// Fields of `/proc/self/stat` (proc_pid_stat(5)).
struct Stat {
    cpu_seconds: f64,
    /// Seconds since the Unix epoch.
    started: Option<f64>,
    virtual_memory: f64,
    resident: f64,
}

#[expect(clippy::cast_precision_loss, reason = "the format has numbers of this kind only")]
impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program may contain spaces.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let pages = rustix::param::page_size() as f64;
        let booted = fs::read_to_string("/proc/stat").ok()?;
        let booted =
            booted.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok());
        let started = field(19)? as f64 / ticks;
        Some(Self {
            cpu_seconds: (field(11)? + field(12)?) as f64 / ticks,
            started: booted.map(|booted| booted as f64 + started),
            virtual_memory: field(20)? as f64,
            resident: field(21)? as f64 * pages,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn open_files() -> Option<f64> {
    // Without the one that reads the directory.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn limit_of_files() -> Option<f64> {
    getrlimit(Resource::Nofile).current.map(|limit| limit as f64)
}
