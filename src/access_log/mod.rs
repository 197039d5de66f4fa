//! The access log: one record an exchange, written by a thread of its own.
//!
//! Serving never waits for the log. A record is written as text into a bounded buffer of the
//! thread that served it, which nobody else touches but the writer, for a moment, now and then;
//! a record that finds the buffer full is counted as dropped. No memory changes threads.

mod cloudfront;
mod format;
mod fragments;
mod line_file;
mod rotation;

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd,
    path::PathBuf,
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

pub(crate) use cloudfront::LogLine;
use format::Text;
use line_file::LineFile;
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

/// Buffers for the threads that serve; more threads share them.
const BUFFERS: usize = 64;

/// Bytes of text that may wait for the writer in one buffer.
const BUFFER_SIZE: usize = 4 << 20;

/// How long the writer sleeps between two looks at the buffers, while there is traffic and without.
const NAP: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Which text a record becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Apache's "combined", with the result type added at the end.
    Combined,
    /// CloudFront's standard log, version 1, in files by hour.
    CloudFrontV1,
}

/// Whether and where exchanges are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The text of a record; `None` records nothing.
    pub format: Option<Format>,
    /// A file to append to; standard output when there is none. For CloudFront's format, a folder.
    pub path: Option<PathBuf>,
    /// Bytes of text after which a file in CloudFront's format is finished.
    pub max_file_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: Some(Format::Json), path: None, max_file_size: 64 << 20 }
    }
}

/// What is known of one exchange when it has ended.
#[derive(Debug)]
pub struct Record<'a> {
    /// When its head had arrived.
    pub at: Timestamp,
    /// Tells the request from all others, as the answer does.
    pub id: &'a [u8],
    /// The viewer's address.
    pub client: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Request target.
    pub uri: &'a Uri,
    /// The host asked for.
    pub host: Option<&'a [u8]>,
    /// Protocol version.
    pub version: Version,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The distribution that answered, if the host had one.
    pub distribution: Option<&'a str>,
    /// Status code; 0 when the viewer left before there was one.
    pub status: u16,
    /// Bytes of content handed to the connection.
    pub bytes: u64,
    /// Whether that was all of the content.
    pub complete: bool,
    /// From the head of the request to the end of the answer.
    pub duration: Duration,
    /// From the head of the request to the head of the answer.
    pub first_byte: Duration,
    /// Hit, Miss, ….
    pub result: ResultType,
    /// What the cache did, in detail.
    pub report: Report,
    /// `Range`.
    pub range: Option<&'a HeaderValue>,
    /// `Referer`.
    pub referer: Option<&'a HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<&'a HeaderValue>,
    /// What only CloudFront's format tells.
    pub detail: Option<Detail<'a>>,
}

/// What only CloudFront's format tells of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail<'a> {
    /// Where this machine is.
    pub pop: &'a str,
    /// Bytes of the answer's head, about.
    pub head_bytes: u64,
    /// Bytes of the request, about.
    pub request_bytes: u64,
    /// The viewer's port, where it is known.
    pub port: Option<u16>,
    /// Version and cipher suite of TLS.
    pub tls: Option<(&'static str, &'static str)>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<&'a HeaderValue>,
    /// `Content-Type` of the answer.
    pub content_type: Option<&'a HeaderValue>,
    /// Its `Content-Length`.
    pub content_length: Option<u64>,
    /// First and last byte of its `Content-Range`.
    pub range: Option<(u64, u64)>,
}

/// The way into the log.
#[derive(Debug)]
pub struct AccessLog {
    shared: Option<Arc<Buffers>>,
    /// Disconnected once the writer has ended.
    writer: Mutex<Option<Receiver<()>>>,
    dropped: Counter,
}

#[derive(Debug)]
struct Buffers {
    format: Format,
    texts: [Mutex<Text>; BUFFERS],
    closed: AtomicBool,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(options: &Options, dropped: Counter) -> io::Result<Self> {
        let Some(format) = options.format else {
            return Ok(Self { shared: None, writer: Mutex::default(), dropped });
        };
        let shared = Arc::new(Buffers {
            format,
            texts: std::array::from_fn(|_| Mutex::default()),
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
        Ok(Self { shared: Some(shared), writer: Mutex::new(Some(ended)), dropped })
    }

    /// Whether anything is recorded at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether records are to have their [`Detail`].
    #[must_use]
    pub fn is_detailed(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.format == Format::CloudFrontV1)
    }

    /// Records an exchange; never waits for the writer's input or output.
    pub fn push(&self, record: &Record<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut text = shared.texts[instance::thread_number() % BUFFERS].lock();
        if text.len() < BUFFER_SIZE {
            text.append(record, shared.format);
        } else {
            drop(text);
            self.dropped.inc();
            warn_of_lost(record.at);
        }
    }

    /// Opens the file again, after it was moved away.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Release);
        }
    }

    /// Writes what is left and ends the writer; `false` if that takes longer than `patience`, because
    /// standard output or the disk takes nothing.
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
            // Not through the library's buffer, which does not say how much of a line is out.
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            return Ok(Self::File(LineFile::new(stdout.into())));
        };
        Ok(if options.format == Some(Format::CloudFrontV1) {
            Self::Files(Rotation::open(path, options.max_file_size)?)
        } else {
            Self::File(LineFile::new(OpenOptions::new().append(true).create(true).open(path)?))
        })
    }

    /// How many lines are lost: on a full disk, or to a closed pipe.
    fn write(&mut self, lines: &[u8]) -> u64 {
        match self {
            Self::File(file) => file.write(lines),
            Self::Files(files) => files.write(lines),
        }
    }
}

struct Writer {
    /// Dropped when the writer ends, however it ends.
    _running: SyncSender<()>,
    sink: Sink,
    options: Options,
    shared: Arc<Buffers>,
    /// Taken from a buffer, which gets it back empty.
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
        for text in &self.shared.texts {
            // An empty buffer keeps its memory, or it would have to grow again.
            if !text.lock().swap(&mut self.lines) {
                continue;
            }
            any = true;
            // The exchanges went on; only their records are lost.
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
        self.finish();
        match Sink::open(&self.options) {
            Ok(sink) => self.sink = sink,
            Err(error) => tracing::error!(%error, "the access log cannot be opened again"),
        }
    }

    /// Finishes the files of hours that are over.
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

/// Says that records are lost, once a second at most.
fn warn_of_lost(now: Timestamp) {
    static LINES: LogLimiter = LogLimiter::new();
    if LINES.admit(now).is_some() {
        tracing::warn!(
            "records of the access log are lost, because its file or standard output takes none; \
             `forebay_access_log_dropped_total` counts them"
        );
    }
}

fn report(finished: io::Result<()>) {
    if let Err(error) = finished {
        tracing::error!(%error, "a file of the access log cannot be finished");
    }
}
