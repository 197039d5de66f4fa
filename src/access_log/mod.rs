//! The access log: one record an exchange, written by a thread of its own.
//!
//! Serving never waits for the log. A record is written as text into a bounded buffer of the
//! thread that served it, which nobody else touches but the writer, for a moment, now and then;
//! a record that finds the buffer full is counted as dropped. No memory changes threads.

mod format;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::{HeaderValue, Method, Uri, Version};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use format::Text;

use crate::{clock::Timestamp, metrics::ResultType, semantics::cache_status::Report};

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
}

/// The way into the log.
#[derive(Debug)]
pub struct AccessLog {
    shared: Option<Arc<Buffers>>,
    writer: Mutex<Option<JoinHandle<()>>>,
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
        let writer = Writer {
            sink: Sink::open(options.path.as_deref())?,
            path: options.path.clone(),
            shared: Arc::clone(&shared),
            lines: Vec::new(),
            dropped: dropped.clone(),
        };
        let thread = std::thread::Builder::new().name("access-log".into());
        let writer = thread.spawn(move || writer.run())?;
        Ok(Self { shared: Some(shared), writer: Mutex::new(Some(writer)), dropped })
    }

    /// Whether anything is recorded at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Records an exchange; never waits for the writer's input or output.
    pub fn push(&self, record: &Record<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut text = shared.texts[own_buffer()].lock();
        if text.len() < BUFFER_SIZE {
            text.append(record, shared.format);
        } else {
            self.dropped.inc();
        }
    }

    /// Opens the file again, after it was moved away.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Release);
        }
    }

    /// Writes what is left and ends the writer.
    pub fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.closed.store(true, Ordering::Release);
        }
        if let Some(writer) = self.writer.lock().take() {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

/// The buffer of this thread.
fn own_buffer() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % BUFFERS;
    }
    OWN.with(|own| *own)
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
                return;
            }
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            std::thread::sleep(if written { NAP.0 } else { NAP.1 });
        }
    }

    fn write_all(&mut self) -> bool {
        let mut any = false;
        for text in &self.shared.texts {
            // An empty one keeps its memory: it would have to grow anew.
            if !text.lock().swap(&mut self.lines) {
                continue;
            }
            any = true;
            if self.sink.write(&self.lines).is_err() {
                // A full disk or a closed pipe: the exchanges went on, their records are lost.
                let lost = self.lines.split(|byte| *byte == b'\n').count() - 1;
                self.dropped.inc_by(lost as u64);
            }
            self.lines.clear();
        }
        any
    }

    fn reopen(&mut self) {
        match Sink::open(self.path.as_deref()) {
            Ok(sink) => self.sink = sink,
            Err(error) => tracing::error!(%error, "the access log cannot be opened again"),
        }
    }
}
