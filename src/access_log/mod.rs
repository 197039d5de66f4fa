//! The access log: one record an exchange, written by a thread of its own.
//!
//! Serving never waits for the log. Records go into a bounded queue; when the writer does not
//! keep up they are counted as dropped.

mod format;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_queue::ArrayQueue;
use http::{HeaderValue, Method, Uri, Version};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::{clock::Timestamp, metrics::ResultType, semantics::cache_status::Report};

/// Records that may wait for the writer.
const QUEUE: usize = 8192;

/// How long the writer sleeps between two looks at the queue, while there is traffic and without.
const NAP: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// Which text a record becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Apache's "combined", with the result type added at the end.
    Combined,
}

/// Whether and where exchanges are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The text of a record; `None` records nothing.
    pub format: Option<Format>,
    /// A file to append to; standard output when there is none.
    pub path: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: Some(Format::Json), path: None }
    }
}

/// What is known of one exchange when it has ended.
#[derive(Debug)]
pub struct Record {
    /// When its head had arrived.
    pub at: Timestamp,
    /// The viewer's address.
    pub client: IpAddr,
    /// Method.
    pub method: Method,
    /// Request target.
    pub uri: Uri,
    /// The host asked for.
    pub host: Option<HeaderValue>,
    /// Protocol version.
    pub version: Version,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// The distribution that answered, if the host had one.
    pub distribution: Option<Arc<str>>,
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
    pub range: Option<HeaderValue>,
    /// `Referer`.
    pub referer: Option<HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<HeaderValue>,
}

/// The way into the log. Dropping the last one lets the writer finish.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    dropped: Counter,
}

#[derive(Debug)]
struct Queue {
    records: ArrayQueue<Record>,
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
            return Ok(Self { queue: None, writer: Mutex::default(), dropped });
        };
        let queue = Arc::new(Queue {
            records: ArrayQueue::new(QUEUE),
            closed: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
        });
        let writer = Writer {
            sink: Sink::open(options.path.as_deref())?,
            path: options.path.clone(),
            format,
            queue: Arc::clone(&queue),
            text: Vec::with_capacity(64 << 10),
            dropped: dropped.clone(),
        };
        let thread = std::thread::Builder::new().name("access-log".into());
        let writer = thread.spawn(move || writer.run())?;
        Ok(Self { queue: Some(queue), writer: Mutex::new(Some(writer)), dropped })
    }

    /// Whether anything is recorded at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Records an exchange; never waits.
    pub fn push(&self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.records.push(record).is_err()
        {
            self.dropped.inc();
        }
    }

    /// Opens the file again, after it was moved away.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            queue.reopen.store(true, Ordering::Release);
        }
    }

    /// Writes what is queued and ends the writer.
    pub fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.closed.store(true, Ordering::Release);
        }
        if let Some(writer) = self.writer.lock().take() {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(File),
}

impl Sink {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        match path {
            None => Ok(Self::Stdout(io::stdout())),
            Some(path) => Ok(Self::File(OpenOptions::new().append(true).create(true).open(path)?)),
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(text)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(text),
        }
    }
}

struct Writer {
    sink: Sink,
    path: Option<PathBuf>,
    format: Format,
    queue: Arc<Queue>,
    text: Vec<u8>,
    dropped: Counter,
}

impl Writer {
    fn run(mut self) {
        loop {
            let closed = self.queue.closed.load(Ordering::Acquire);
            let written = self.write_queued();
            if closed {
                return;
            }
            if self.queue.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            std::thread::sleep(if written { NAP.0 } else { NAP.1 });
        }
    }

    fn write_queued(&mut self) -> bool {
        let mut count = 0;
        while let Some(record) = self.queue.records.pop() {
            format::write(&mut self.text, &record, self.format);
            count += 1;
            if self.text.len() > 32 << 10 {
                self.flush(&mut count);
            }
        }
        let any = count > 0;
        self.flush(&mut count);
        any
    }

    fn flush(&mut self, count: &mut u64) {
        if !self.text.is_empty() && self.sink.write(&self.text).is_err() {
            // A full disk or a closed pipe: the exchanges went on, their records are lost.
            self.dropped.inc_by(*count);
        }
        self.text.clear();
    }

    fn reopen(&mut self) {
        match Sink::open(self.path.as_deref()) {
            Ok(sink) => self.sink = sink,
            Err(error) => tracing::error!(%error, "the access log cannot be opened again"),
        }
    }
}
