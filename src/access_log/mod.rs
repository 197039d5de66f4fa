//! The access log: one record per exchange, written by a dedicated thread.
//!
//! Serving never waits for the log. The serving thread formats a record as text into its own bounded
//! buffer. Only the writer thread also touches that buffer, briefly and rarely. A record that finds its
//! buffer full is dropped and counted. No memory changes threads.

mod cloudfront;
mod filter;
mod finisher;
mod followers;
mod format;
mod fragments;
mod line_file;
mod log_files;
mod logged_request;
mod options;
mod parquet_file;
mod rotation;

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Uri, Version};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use cloudfront::LogLine;
pub(crate) use filter::Filter;
use followers::Followers;
pub(crate) use followers::{Following, MOST as MOST_FOLLOWERS};
use format::Text;
use line_file::LineFile;
pub(crate) use log_files::{LogFile, PARTITIONS};
pub(crate) use logged_request::LoggedRequest;
pub use options::{Format, Options};
use rotation::Rotation;

use crate::{
    base::{
        clock::{Clock, Timestamp},
        instance,
        log::LogLimiter,
        metrics::ResultType,
    },
    http::cache_status::Report,
};

/// Number of buffers. If there are more serving threads, they share buffers.
const BUFFERS: usize = 64;

/// Maximum bytes of text in one buffer that wait for the writer.
const BUFFER_SIZE: usize = 4 << 20;

/// The writer's poll interval, with and without traffic.
const NAP: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// The record of a finished exchange.
#[derive(Debug)]
pub struct Record<'a> {
    /// The time when the request head had arrived.
    pub at: Timestamp,
    /// The unique request id, which the response also carries.
    pub id: &'a [u8],
    /// The viewer's address.
    pub client: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Request target.
    pub uri: &'a Uri,
    /// The requested host.
    pub host: Option<&'a [u8]>,
    /// Protocol version.
    pub version: Version,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The distribution that responded, if one matched the host.
    pub distribution: Option<&'a str>,
    /// Status code; 0 if the viewer disconnected before there was one.
    pub status: u16,
    /// Bytes of content handed to the connection.
    pub bytes: u64,
    /// Whether those bytes are the whole content.
    pub complete: bool,
    /// Time from the request head to the end of the response.
    pub duration: Duration,
    /// Time from the request head to the response head.
    pub first_byte: Duration,
    /// Hit, Miss, ….
    pub result: ResultType,
    /// The cache's action, in detail.
    pub report: Report,
    /// `Range`.
    pub range: Option<&'a HeaderValue>,
    /// `Referer`.
    pub referer: Option<&'a HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<&'a HeaderValue>,
    /// Details that only CloudFront's format logs.
    pub detail: Option<Detail<'a>>,
}

/// Details of an exchange that only CloudFront's format logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail<'a> {
    /// The edge location of this machine.
    pub pop: &'a str,
    /// Approximate size of the response head in bytes.
    pub head_bytes: u64,
    /// Approximate size of the request in bytes.
    pub request_bytes: u64,
    /// The viewer's port, if known.
    pub port: Option<u16>,
    /// TLS version and cipher suite.
    pub tls: Option<(&'static str, &'static str)>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// `Content-Type` of the response.
    pub content_type: Option<&'a HeaderValue>,
    /// `Content-Length` of the response.
    pub content_length: Option<u64>,
    /// First and last byte of the response's `Content-Range`.
    pub range: Option<(u64, u64)>,
}

/// A handle to the access log.
#[derive(Debug)]
pub struct AccessLog {
    shared: Option<Arc<Buffers>>,
    /// Disconnected once the writer has ended.
    writer: Mutex<Option<Receiver<()>>>,
    dropped: Counter,
    followers: Arc<Followers>,
}

/// The records of some threads, on CPU cache lines of their own: neighboring lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Buffer(Mutex<Text>);

#[derive(Debug)]
struct Buffers {
    format: Format,
    texts: [Buffer; BUFFERS],
    closed: AtomicBool,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(options: &Options, dropped: Counter) -> io::Result<Self> {
        let Some(format) = options.format else {
            return Ok(Self {
                shared: None,
                writer: Mutex::default(),
                dropped,
                followers: Arc::default(),
            });
        };
        let shared = Arc::new(Buffers {
            format,
            texts: std::array::from_fn(|_| Buffer::default()),
            closed: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
        });
        let (running, ended) = sync_channel(0);
        let writer = Writer {
            _running: running,
            sink: Sink::open(options)?,
            options: options.clone(),
            shared: Arc::clone(&shared),
            lines: Vec::new(),
            dropped: dropped.clone(),
        };
        let thread = std::thread::Builder::new().name("access-log".into());
        thread.spawn(move || writer.run())?;
        Ok(Self {
            shared: Some(shared),
            writer: Mutex::new(Some(ended)),
            dropped,
            followers: Arc::default(),
        })
    }

    /// Whether records are wanted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some() || self.followers.any()
    }

    /// Begins to pass the records that a filter accepts to a new reader; `None` if there are too many readers.
    pub(crate) fn follow(&self, filter: Filter) -> Option<Following> {
        self.followers.add(filter)
    }

    /// Whether records are in files for each distribution and hour.
    pub(crate) fn is_in_files(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.format.is_in_files())
    }

    /// Whether records need their [`Detail`].
    #[must_use]
    pub fn is_detailed(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.format.is_in_files())
    }

    /// Records an exchange. Never waits for the writer's I/O.
    pub fn push(&self, record: &Record<'_>) {
        self.followers.pass(record);
        let Some(shared) = &self.shared else { return };
        let mut text = shared.texts[instance::thread_number() % BUFFERS].0.lock();
        if text.len() < BUFFER_SIZE {
            text.append(record, shared.format);
        } else {
            drop(text);
            self.dropped.inc();
            warn_of_lost(record.at);
        }
    }

    /// Bytes of records that the writer has not taken yet. Does not wait for a thread that is adding one.
    #[must_use]
    pub(crate) fn waiting_bytes(&self) -> usize {
        let buffers = self.shared.iter().flat_map(|shared| &shared.texts);
        buffers.filter_map(|buffer| buffer.0.try_lock()).map(|text| text.len()).sum()
    }

    /// Reopens the file, after log rotation has moved it.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Release);
        }
    }

    /// Writes the remaining records and ends the writer. Returns `false` if that takes longer than `patience`,
    /// because standard output or the disk is blocked.
    pub fn close(&self, patience: Duration) -> bool {
        if let Some(shared) = &self.shared {
            shared.closed.store(true, Ordering::Release);
        }
        let Some(writer) = self.writer.lock().take() else { return true };
        writer.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

enum Sink {
    File(LineFile<File>),
    Files(Rotation),
}

impl Sink {
    fn open(options: &Options) -> io::Result<Self> {
        let Some(path) = &options.path else {
            // Bypasses std's buffer, which does not report how much of a line was written.
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            return Ok(Self::File(LineFile::new(stdout.into())));
        };
        Ok(if options.format.is_some_and(Format::is_in_files) {
            Self::Files(Rotation::open(path, options)?)
        } else {
            Self::File(LineFile::new(OpenOptions::new().append(true).create(true).open(path)?))
        })
    }

    /// Writes lines. Returns the number lost, for example because of a full disk or a closed pipe.
    fn write(&mut self, lines: &[u8]) -> u64 {
        match self {
            Self::File(file) => file.write(lines),
            Self::Files(files) => files.write(lines),
        }
    }
}

struct Writer {
    /// Dropped when the writer ends, even by a panic.
    _running: SyncSender<()>,
    sink: Sink,
    options: Options,
    shared: Arc<Buffers>,
    /// The lines swapped out of a buffer. The buffer gets this one back empty.
    lines: Vec<u8>,
    dropped: Counter,
}

impl Writer {
    fn run(mut self) {
        loop {
            let closed = self.shared.closed.load(Ordering::Acquire);
            let written = self.write_all();
            if closed {
                return self.finish();
            }
            self.turn();
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            std::thread::sleep(if written { NAP.0 } else { NAP.1 });
        }
    }

    fn write_all(&mut self) -> bool {
        let mut any = false;
        for Buffer(text) in &self.shared.texts {
            // An empty buffer is not swapped: it keeps its memory and need not grow again.
            if !text.lock().swap(&mut self.lines) {
                continue;
            }
            any = true;
            // The exchanges succeeded; only their records are lost.
            let lost = self.sink.write(&self.lines);
            if lost > 0 {
                self.dropped.inc_by(lost);
                warn_of_lost(Clock::system().now());
            }
            self.lines.clear();
        }
        any
    }

    fn reopen(&mut self) {
        if let Sink::Files(files) = &mut self.sink {
            return report(files.close_files());
        }
        match Sink::open(&self.options) {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                let path = self.options.path.as_deref().map(|path| path.display().to_string());
                tracing::error!(%error, path, "cannot reopen the access log");
            }
        }
    }

    /// Finishes the files of past hours.
    fn turn(&mut self) {
        if let Sink::Files(files) = &mut self.sink {
            report(files.turn());
        }
    }

    fn finish(&mut self) {
        if let Sink::Files(files) = &mut self.sink {
            report(files.finish());
        }
    }
}

/// Warns that records are lost, at most once a second.
fn warn_of_lost(now: Timestamp) {
    static LINES: LogLimiter = LogLimiter::new();
    if LINES.admit(now).is_some() {
        tracing::warn!(
            "access log records are lost, because the file or standard output cannot be written; \
             `forebay_access_log_dropped_total` counts them"
        );
    }
}

fn report(finished: io::Result<()>) {
    if let Err(error) = finished {
        tracing::error!(%error, "cannot finish an access log file");
    }
}
