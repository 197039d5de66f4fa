//! The log of purges in a file.
//!
//! A purge is on disk before it is in force. Purges that arrive together share one `fdatasync`. Once the file is
//! long, it is replaced by one that has only the floors. A record that was cut off at the end of the file was never
//! acknowledged; any other damage means that purges may be missing, and then nothing that they apply to may be
//! used.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::Builder,
};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{
    cache_tags::Tag,
    purge::{Purge, PurgeMode},
    purge_floors::PurgeFloors,
    purge_log::{PurgeBatch, PurgeError, PurgeLog},
    purge_mark::LogPosition,
};
use crate::cache::disk::{Fields, Identity, checksum, replace};

const MAGIC: u64 = u64::from_le_bytes(*b"FBPURGE1");

/// Length of a record's head in bytes: the length of the rest, and its checksum.
const HEAD: usize = 12;

/// The longest record that is taken for one, in bytes.
const LONGEST: usize = 64 << 10;

/// The file is replaced when it has this many bytes more than twice the floors.
const LONG: u64 = 1 << 20;

/// Batches that may wait, and that share an `fdatasync`.
const TOGETHER: usize = 256;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeLogError {
    /// Purges may be missing.
    #[error("{0}")]
    Damaged(&'static str),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A batch, and where its outcome goes.
type Request = (PurgeBatch, oneshot::Sender<Result<LogPosition, PurgeError>>);

/// The log of a disk cache.
#[derive(Debug)]
pub(crate) struct FilePurgeLog(mpsc::Sender<Request>);

impl FilePurgeLog {
    /// Opens the log at `path` and applies its purges to `floors`. Creates it in a new tier.
    ///
    /// # Errors
    /// If purges may be missing, or the file cannot be used.
    pub(crate) fn open(
        path: &Path,
        identity: &Identity,
        floors: Arc<PurgeFloors>,
    ) -> Result<Self, PurgeLogError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // Only a tier that was just made has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound && identity.epoch == 1 => {
                let head = head(identity);
                replace(path, &head)?;
                head
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PurgeLogError::Damaged("it is missing"));
            }
            Err(error) => return Err(error.into()),
        };
        let length = replay(&bytes, identity, &floors)?;
        let file = open(path)?;
        if length < bytes.len() {
            file.set_len(length as u64)?;
            file.sync_all()?;
        }
        let (sender, mut requests) = mpsc::channel(TOGETHER);
        let newest = LogPosition::new(identity.epoch, 0);
        let (path, identity) = (path.to_owned(), *identity);
        let length = length as u64;
        let mut writer = Writer {
            path,
            identity,
            floors,
            file: Some(file),
            newest,
            length,
            limit: LONG + 2 * length,
        };
        Builder::new().name("forebay-purges".into()).spawn(move || writer.run(&mut requests))?;
        Ok(Self(sender))
    }
}

impl PurgeLog for FilePurgeLog {
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<LogPosition, PurgeError>> {
        Box::pin(async move {
            let (outcome, appended) = oneshot::channel();
            let ended = || PurgeError::from(io::Error::other("its writer has ended"));
            self.0.send((batch, outcome)).await.map_err(|_| ended())?;
            appended.await.map_err(|_| ended())?
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).mode(0o600).open(path)
}

/// The beginning of a file.
fn head(identity: &Identity) -> Vec<u8> {
    let mut head = MAGIC.to_le_bytes().to_vec();
    head.extend_from_slice(&identity.tier);
    head.extend_from_slice(&checksum(&head).to_le_bytes());
    head
}

/// A purge as a record.
fn record(position: LogPosition, distribution: &[u8], purge: &Purge, mode: PurgeMode) -> Vec<u8> {
    let (kind, target) = match purge {
        Purge::Exact(path) => (0, path.as_bytes().to_vec()),
        Purge::Prefix(path) => (1, path.as_bytes().to_vec()),
        Purge::Tag(tag) => (2, tag.number().to_le_bytes().to_vec()),
    };
    let mut content = position.0.to_le_bytes().to_vec();
    content.extend_from_slice(&[u8::from(mode == PurgeMode::Soft), kind]);
    content.extend_from_slice(&u16::try_from(distribution.len()).unwrap_or(u16::MAX).to_le_bytes());
    content.extend_from_slice(distribution);
    content.extend_from_slice(&target);
    let mut record = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    record.extend_from_slice(&checksum(&content).to_le_bytes());
    record.extend_from_slice(&content);
    record
}

/// The content of the record at the beginning of `bytes`.
fn content(bytes: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(bytes);
    let length = usize::try_from(fields.u32()?).ok()?;
    let sum = fields.u64()?;
    // A power failure may leave zeros, which are no record.
    let content = fields.bytes(length).filter(|_| (1..=LONGEST).contains(&length))?;
    (checksum(content) == sum).then_some(content)
}

fn parse(content: &[u8]) -> Option<(LogPosition, &str, Purge, PurgeMode)> {
    let mut fields = Fields(content);
    let position = LogPosition(fields.u64()?);
    let mode = if fields.u8()? == 0 { PurgeMode::Hard } else { PurgeMode::Soft };
    let kind = fields.u8()?;
    let length = usize::from(fields.u16()?);
    let distribution = std::str::from_utf8(fields.bytes(length)?).ok()?;
    let text = || std::str::from_utf8(fields.0).ok().map(str::to_owned);
    let purge = match kind {
        0 => Purge::Exact(text()?),
        1 => Purge::Prefix(text()?),
        2 => Purge::Tag(Tag::from_number(fields.u64()?)),
        _ => return None,
    };
    Some((position, distribution, purge, mode))
}

/// Applies the purges of a file. Returns the length without a record that was cut off.
fn replay(bytes: &[u8], identity: &Identity, floors: &PurgeFloors) -> Result<usize, PurgeLogError> {
    let head = head(identity);
    if !bytes.starts_with(&head) {
        return Err(PurgeLogError::Damaged(
            "it belongs to another cache, or its beginning is damaged",
        ));
    }
    let mut at = head.len();
    while at < bytes.len() {
        let Some(content) = content(&bytes[at..]) else { break };
        let Some((position, distribution, purge, mode)) = parse(content) else {
            return Err(PurgeLogError::Damaged("it has a record of an unknown kind"));
        };
        floors.apply(position, distribution, &purge, mode);
        at += HEAD + content.len();
    }
    // A write that was cut off has nothing behind it.
    if (at + 1..bytes.len()).any(|next| content(&bytes[next..]).is_some()) {
        return Err(PurgeLogError::Damaged("a record is damaged"));
    }
    Ok(at)
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    identity: Identity,
    floors: Arc<PurgeFloors>,
    /// `None` after a failure: what such a file has is unknown.
    file: Option<File>,
    newest: LogPosition,
    length: u64,
    /// At this length the file is replaced.
    limit: u64,
}

impl Writer {
    fn run(&mut self, requests: &mut mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let more = std::iter::from_fn(|| requests.try_recv().ok()).take(TOGETHER);
            let together: Vec<Request> = std::iter::once(first).chain(more).collect();
            let batches: Vec<&PurgeBatch> = together.iter().map(|(batch, _)| batch).collect();
            let written = self.append(&batches);
            for (_, outcome) in together {
                // The caller may have been canceled. The purge is in force nevertheless.
                let _ = outcome.send(match &written {
                    Ok(newest) => Ok(*newest),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
                });
            }
        }
    }

    /// Writes purges, and applies them once they are on disk.
    fn append(&mut self, batches: &[&PurgeBatch]) -> io::Result<LogPosition> {
        let mut position = self.newest;
        let mut records = Vec::new();
        let mut placed = Vec::new();
        for batch in batches {
            for purge in &batch.purges {
                position = position.next();
                let distribution = batch.distribution.as_bytes();
                records.extend(record(position, distribution, purge, batch.mode));
                placed.push((position, batch, purge));
            }
        }
        self.write(&records)?;
        self.newest = position;
        for (position, batch, purge) in placed {
            self.floors.apply(position, &batch.distribution, purge, batch.mode);
        }
        if self.length > self.limit {
            // The purges are on disk, in the old file or in the new one. The next write tries again.
            if let Err(error) = self.rewrite(&[]) {
                self.limit = self.length + LONG;
                tracing::warn!(%error, file = %self.path.display(), "the log of purges cannot be shortened");
            }
        }
        Ok(position)
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            match file.write_all(records).and_then(|()| file.sync_data()) {
                Ok(()) => {
                    self.file = Some(file);
                    self.length += records.len() as u64;
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, file = %self.path.display(), "the log of purges cannot be written; trying a new file");
                }
            }
        }
        // After a failed fsync, pages count as written that are not.
        self.rewrite(records)
    }

    /// Replaces the file with one that has the floors, and `records`.
    fn rewrite(&mut self, records: &[u8]) -> io::Result<()> {
        // From here on, the name may belong to the new file, even if an error is reported.
        self.file = None;
        let mut bytes = head(&self.identity);
        for (position, distribution, purge, mode) in self.floors.purges() {
            bytes.extend(record(position, &distribution, &purge, mode));
        }
        bytes.extend_from_slice(records);
        replace(&self.path, &bytes)?;
        self.file = Some(open(&self.path)?);
        self.length = bytes.len() as u64;
        self.limit = LONG + 2 * self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{PathForm, Resource};

    const IDENTITY: Identity = Identity { tier: [7; 16], epoch: 3, secret: [1, 2] };

    /// A log of purges of `/0`, `/1`, …, one record each.
    fn log(purges: u64) -> Vec<u8> {
        let mut bytes = head(&IDENTITY);
        for n in 0..purges {
            let purge = Purge::Exact(format!("/{n}"));
            bytes.extend(record(LogPosition::new(2, n + 1), b"media", &purge, PurgeMode::Hard));
        }
        bytes
    }

    /// How many purges are in force, from the first on; `None` if the log is not trusted.
    fn replayed(bytes: &[u8]) -> Option<usize> {
        let floors = PurgeFloors::of_epoch(IDENTITY.epoch);
        replay(bytes, &IDENTITY, &floors).ok()?;
        let purges = floors.purges();
        for (n, (_, _, purge, _)) in purges.iter().enumerate() {
            assert_eq!(*purge, Purge::Exact(format!("/{n}")));
        }
        Some(purges.len())
    }

    #[test]
    fn a_cut_loses_only_what_was_cut() {
        let whole = log(5);
        let record = (whole.len() - head(&IDENTITY).len()) / 5;
        for length in 0..=whole.len() {
            let expected = length.checked_sub(head(&IDENTITY).len()).map(|rest| rest / record);
            assert_eq!(replayed(&whole[..length]), expected, "{length} bytes");
        }
    }

    /// A file that a power failure extended with zeros has lost nothing.
    #[test]
    fn zeros_at_the_end_are_cut_off() {
        for zeros in [1, 11, 12, 13, 24, 4096] {
            assert_eq!(replayed(&[log(5), vec![0; zeros]].concat()), Some(5), "{zeros}");
        }
    }

    /// The last record may look like one that was cut off. Damage to any other is noticed.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = log(5);
        let last = log(4).len();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = (bit / 8 >= last).then_some(4);
            assert_eq!(replayed(&flipped), expected, "bit {bit}");
        }
    }

    fn store(path: &Path, identity: &Identity) -> (Arc<PurgeFloors>, FilePurgeLog) {
        let floors = Arc::new(PurgeFloors::of_epoch(identity.epoch));
        let log = FilePurgeLog::open(path, identity, Arc::clone(&floors)).expect("opened");
        (floors, log)
    }

    fn batch(purge: Purge, mode: PurgeMode) -> PurgeBatch {
        PurgeBatch { distribution: "media".into(), purges: vec![purge], mode }
    }

    /// A long log is replaced by its floors, and later purges follow.
    #[tokio::test]
    async fn a_log_stays_short_and_loses_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("purge.log");
        let first = Identity { epoch: 1, ..IDENTITY };
        let (floors, log) = store(&path, &first);
        let tag = Tag::new("product");
        log.append(batch(Purge::Tag(tag), PurgeMode::Soft)).await.expect("appended");
        let filler = "x".repeat(1000);
        for n in 0..3000 {
            let purge = Purge::Prefix(format!("/{}/{filler}", n % 7));
            log.append(batch(purge, PurgeMode::Hard)).await.expect("appended");
        }
        let newest = log.append(batch(Purge::Exact("/last".into()), PurgeMode::Hard)).await;
        let length = std::fs::metadata(&path).expect("a file").len();
        assert!(length < LONG + (64 << 10), "{length} bytes");
        let before = floors.purges();
        let (after, log) = store(&path, &Identity { epoch: 2, ..IDENTITY });
        assert_eq!(after.purges(), before);
        assert_eq!(before.len(), 9);
        let next = log.append(batch(Purge::Exact("/next".into()), PurgeMode::Hard)).await;
        assert!(next.expect("appended") > newest.expect("appended"), "positions rise");
        let resource = Resource { distribution: b"media", path: "/last", form: PathForm::Key };
        assert!(!after.untouched(&resource, super::super::PurgeMark::default()));
    }

    #[test]
    fn a_log_of_another_tier_or_none_is_not_trusted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("purge.log");
        let open = |identity: &Identity| {
            FilePurgeLog::open(&path, identity, Arc::new(PurgeFloors::of_epoch(identity.epoch)))
        };
        assert!(matches!(open(&IDENTITY), Err(PurgeLogError::Damaged("it is missing"))));
        std::fs::write(&path, log(2)).expect("written");
        assert!(open(&IDENTITY).is_ok());
        let other = Identity { tier: [8; 16], ..IDENTITY };
        assert!(matches!(open(&other), Err(PurgeLogError::Damaged(_))));
    }
}
