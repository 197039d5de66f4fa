//! The journal of purges in a file.
//!
//! An entry is on disk before it is in force. Entries that arrive together share one `fdatasync`. Once the file is
//! long, it is replaced by one that has only the floors. A record that was cut off at the end of the file was never
//! acknowledged; any other damage means that purges may be missing, and then nothing that they apply to may be
//! used.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    cache_tags::Tag,
    purge::{Purge, PurgeMode},
    purge_entry::{PurgeChange, PurgeEntry},
    purge_floors::PurgeFloors,
    purge_journal::{Applied, PurgeJournal},
    purge_mark::LogPosition,
};
use crate::cache::disk::{
    EncryptionKeys, Fields, Folder, Identity, KeyNote, PROOF, Proof, Protection, checksum, replace,
    with_space,
};

const MAGIC: u64 = u64::from_le_bytes(*b"FBPURGE2");

/// Bytes of a record before its content: the content's length and proof.
const HEAD: usize = 4 + PROOF;

/// The longest record that is taken for one, in bytes.
const LONGEST: usize = 64 << 10;

/// The file is replaced when it has this many bytes more than twice the floors.
const LONG: u64 = 1 << 20;

/// Batches that may wait, and that share an `fdatasync`.
const TOGETHER: usize = 256;

/// The kinds of records.
const EXACT: u8 = 0;
const PREFIX: u8 = 1;
const TAG: u8 = 2;
const NEW_LOG: u8 = 3;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeLogError {
    /// Purges may be missing.
    #[error("{0}")]
    Damaged(&'static str),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Checks the log in a directory of the disk cache that `identity` has opened last.
pub(super) fn check(
    path: &Path,
    identity: Identity,
    keys: &EncryptionKeys,
) -> Result<(), PurgeLogError> {
    // As the next start would read it.
    let next = Identity { epoch: identity.epoch.saturating_add(1), ..identity };
    match std::fs::read(path) {
        Ok(bytes) => replay(&bytes, &next, keys, &PurgeFloors::default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MISSING),
        Err(error) => Err(error.into()),
    }
}

const MISSING: PurgeLogError = PurgeLogError::Damaged("it is missing");

/// Entries, and where their outcome goes.
type Request = (Vec<PurgeEntry>, oneshot::Sender<io::Result<()>>);

/// The journal of a disk cache.
#[derive(Debug)]
pub(crate) struct FilePurgeJournal {
    /// To the thread that writes; `None` once the log is closed.
    writer: Mutex<Option<(mpsc::Sender<Request>, JoinHandle<()>)>>,
    /// Whether the next entry begins a new file.
    replace: Arc<AtomicBool>,
}

impl FilePurgeJournal {
    /// Opens the journal of a directory and applies its entries to `floors`. Creates it in a new cache.
    ///
    /// # Errors
    /// If purges may be missing, or the file cannot be used.
    pub(crate) fn open(folder: &Folder, floors: Arc<PurgeFloors>) -> Result<Self, PurgeLogError> {
        Self::open_at(&folder.purge_log(), folder.identity(), folder.keys(), floors)
    }

    fn open_at(
        path: &Path,
        identity: Identity,
        keys: &EncryptionKeys,
        floors: Arc<PurgeFloors>,
    ) -> Result<Self, PurgeLogError> {
        match std::fs::read(path) {
            Ok(bytes) => replay(&bytes, &identity, keys, &floors)?,
            // Only a tier that was just made has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound && identity.epoch == 1 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MISSING),
            Err(error) => return Err(error.into()),
        }
        let (sender, mut requests) = mpsc::channel(TOGETHER);
        let replace = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            path: path.to_owned(),
            replace: Arc::clone(&replace),
            identity,
            keys: keys.clone(),
            floors,
            file: None,
            length: 0,
            limit: 0,
        };
        // Nothing is appended to the file of another process: what was cut off is gone, and each place is encrypted
        // only once.
        let folder = path.parent().unwrap_or(path);
        with_space(folder, || writer.rewrite(&[]))?;
        let thread = Builder::new().name("forebay-purges".into());
        let thread = thread.spawn(move || writer.run(&mut requests))?;
        Ok(Self { writer: Mutex::new(Some((sender, thread))), replace })
    }
}

impl PurgeJournal for FilePurgeJournal {
    #[expect(
        clippy::async_yields_async,
        reason = "the order and the outcome are awaited separately"
    )]
    fn add(&self, entries: Vec<PurgeEntry>) -> BoxFuture<'_, Applied> {
        Box::pin(async move {
            let (outcome, applied) = oneshot::channel();
            let writer = self.writer.lock().as_ref().map(|(sender, _)| sender.clone());
            if let Some(writer) = writer {
                // A writer that has ended drops the sender of the outcome.
                let _ = writer.send((entries, outcome)).await;
            }
            let closed = || io::Error::other("it is closed");
            Box::pin(async move { applied.await.map_err(|_| closed())? }) as Applied
        })
    }

    fn close(&self) {
        let writer = self.writer.lock().take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }

    fn replace_file(&self) {
        self.replace.store(true, Ordering::Release);
    }
}

/// The beginning of a file, and the protection of the rest.
fn head(identity: &Identity, keys: &EncryptionKeys) -> io::Result<(Vec<u8>, Protection)> {
    let (note, protection) = keys.protect(identity.epoch)?;
    let mut head = MAGIC.to_le_bytes().to_vec();
    head.extend_from_slice(&identity.tier);
    head.extend_from_slice(&note.bytes());
    head.extend_from_slice(&checksum(&head).to_le_bytes());
    Ok((head, protection))
}

/// Takes the beginning of a file of this tier from `fields`.
fn take_head(fields: &mut Fields<'_>, identity: &Identity) -> Option<KeyNote> {
    let whole = fields.0;
    let is_ours = fields.u64()? == MAGIC && fields.array()? == identity.tier;
    let note = KeyNote::take(fields)?;
    fields.verify(whole)?;
    is_ours.then_some(note)
}

/// Appends an entry as a record to bytes that begin at `offset` in the file.
fn append_record(
    bytes: &mut Vec<u8>,
    offset: u64,
    entry: &PurgeEntry,
    protection: &Protection,
) -> io::Result<()> {
    let (mode, kind, distribution, target) = match &entry.change {
        PurgeChange::Purge { distribution, purge, mode } => {
            let (kind, target) = match purge {
                Purge::Exact(path) => (EXACT, path.as_bytes().to_vec()),
                Purge::Prefix(path) => (PREFIX, path.as_bytes().to_vec()),
                Purge::Tag(tag) => (TAG, tag.number().to_le_bytes().to_vec()),
            };
            (*mode, kind, &**distribution, target)
        }
        PurgeChange::NewLog { name } => (PurgeMode::Hard, NEW_LOG, "", name.as_bytes().to_vec()),
    };
    let mut content = entry.position.0.to_le_bytes().to_vec();
    content.extend_from_slice(&[u8::from(mode == PurgeMode::Soft), kind]);
    content.extend_from_slice(&u16::try_from(distribution.len()).unwrap_or(u16::MAX).to_le_bytes());
    content.extend_from_slice(distribution.as_bytes());
    content.extend_from_slice(&target);
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let proof = protection.seal(offset + bytes.len() as u64, &length, &mut content);
    let proof: Proof = proof.ok_or_else(|| io::Error::other("it cannot be encrypted"))?;
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&proof);
    bytes.extend_from_slice(&content);
    Ok(())
}

/// The content of the record at an offset of a file.
fn content(bytes: &[u8], offset: usize, protection: &Protection) -> Option<Vec<u8>> {
    let mut fields = Fields(bytes.get(offset..)?);
    let clear: [u8; 4] = fields.array()?;
    let length = usize::try_from(u32::from_le_bytes(clear)).ok()?;
    let proof: Proof = fields.array()?;
    // A power failure may leave zeros, which are no record.
    let content = fields.bytes(length).filter(|_| (1..=LONGEST).contains(&length))?;
    let mut content = content.to_vec();
    protection.open(offset as u64, &clear, &mut content, &proof).then_some(content)
}

fn parse(content: &[u8]) -> Option<PurgeEntry> {
    let mut fields = Fields(content);
    let position = LogPosition(fields.u64()?);
    let mode = if fields.u8()? == 0 { PurgeMode::Hard } else { PurgeMode::Soft };
    let kind = fields.u8()?;
    let length = usize::from(fields.u16()?);
    let distribution = std::str::from_utf8(fields.bytes(length)?).ok()?;
    let text = || std::str::from_utf8(fields.0).ok().map(str::to_owned);
    let purge = match kind {
        EXACT => Purge::Exact(text()?),
        PREFIX => Purge::Prefix(text()?),
        TAG => Purge::Tag(Tag::from_number(fields.u64()?)),
        NEW_LOG => {
            let change = PurgeChange::NewLog { name: text()?.into() };
            return Some(PurgeEntry { position, change });
        }
        _ => return None,
    };
    let change = PurgeChange::Purge { distribution: distribution.into(), purge, mode };
    Some(PurgeEntry { position, change })
}

/// Applies the entries of a file, except for a record that was cut off.
fn replay(
    bytes: &[u8],
    identity: &Identity,
    keys: &EncryptionKeys,
    floors: &PurgeFloors,
) -> Result<(), PurgeLogError> {
    let mut fields = Fields(bytes);
    let note = take_head(&mut fields, identity).ok_or(PurgeLogError::Damaged(
        "it belongs to another cache, or its beginning is damaged",
    ))?;
    let protection = keys.of(&note);
    if !protection.is_readable() {
        return Err(PurgeLogError::Damaged("it is encrypted with another key"));
    }
    if note.epoch >= identity.epoch {
        return Err(PurgeLogError::Damaged("it is newer than the identity of the cache"));
    }
    let mut at = bytes.len() - fields.0.len();
    while let Some(content) = content(bytes, at, &protection) {
        let Some(entry) = parse(&content) else {
            return Err(PurgeLogError::Damaged("it has a record of an unknown kind"));
        };
        floors.apply(&entry);
        at += HEAD + content.len();
    }
    // A write that was cut off has nothing behind it, except for zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(at, |last| last + 1).max(at);
    let is_long = end - at > HEAD + LONGEST;
    if is_long || (at + 1..end).any(|next| content(bytes, next, &protection).is_some()) {
        return Err(PurgeLogError::Damaged("a record is damaged"));
    }
    Ok(())
}

/// The file that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    protection: Protection,
}

/// The thread that writes.
struct Writer {
    path: PathBuf,
    identity: Identity,
    keys: EncryptionKeys,
    floors: Arc<PurgeFloors>,
    /// `None` after a failure: what such a file has is unknown.
    file: Option<Open>,
    length: u64,
    /// At this length the file is replaced.
    limit: u64,
    /// Whether another process may have replaced the file.
    replace: Arc<AtomicBool>,
}

impl Writer {
    fn run(&mut self, requests: &mut mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let more = std::iter::from_fn(|| requests.try_recv().ok()).take(TOGETHER);
            let together: Vec<Request> = std::iter::once(first).chain(more).collect();
            let (entries, outcomes): (Vec<_>, Vec<_>) = together.into_iter().unzip();
            let written = self.append(&entries.concat());
            for outcome in outcomes {
                // The caller may have been canceled. The entries are in force nevertheless.
                let _ = outcome.send(match &written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                });
            }
        }
    }

    /// Writes entries, and applies them once they are on disk.
    fn append(&mut self, entries: &[PurgeEntry]) -> io::Result<()> {
        self.write(entries)?;
        for entry in entries {
            self.floors.apply(entry);
        }
        if self.length > self.limit {
            // The entries are on disk, in the old file or in the new one. The next write tries again.
            if let Err(error) = self.rewrite(&[]) {
                self.limit = self.length + LONG;
                tracing::warn!(%error, file = %self.path.display(), "the log of purges cannot be shortened");
            }
        }
        Ok(())
    }

    fn write(&mut self, entries: &[PurgeEntry]) -> io::Result<()> {
        if self.replace.swap(false, Ordering::AcqRel) {
            self.file = None;
        }
        if let Some(mut open) = self.file.take() {
            let mut bytes = Vec::new();
            for entry in entries {
                append_record(&mut bytes, self.length, entry, &open.protection)?;
            }
            match open.file.write_all(&bytes).and_then(|()| open.file.sync_data()) {
                Ok(()) => {
                    self.file = Some(open);
                    self.length += bytes.len() as u64;
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, file = %self.path.display(), "the log of purges cannot be written; trying a new file");
                }
            }
        }
        // After a failed fsync, pages count as written that are not.
        self.rewrite(entries)
    }

    /// Replaces the file with one that has the floors, and `entries`.
    fn rewrite(&mut self, entries: &[PurgeEntry]) -> io::Result<()> {
        // From here on, the name may belong to the new file, even if an error is reported.
        self.file = None;
        let (mut bytes, protection) = head(&self.identity, &self.keys)?;
        for entry in self.floors.entries().iter().chain(entries) {
            append_record(&mut bytes, 0, entry, &protection)?;
        }
        replace(&self.path, &bytes)?;
        let file = OpenOptions::new().append(true).mode(0o600).open(&self.path)?;
        self.file = Some(Open { file, protection });
        self.length = bytes.len() as u64;
        self.limit = LONG + 2 * self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{
        key::{PathForm, Resource},
        store::StoreIdentity,
    };

    const IDENTITY: Identity = Identity { tier: [7; 16], epoch: 3, secret: [1, 2] };

    fn floors(identity: &Identity) -> PurgeFloors {
        PurgeFloors::new(StoreIdentity { epoch: identity.epoch, secret: identity.secret })
    }

    fn entry(number: u64, purge: Purge, mode: PurgeMode) -> PurgeEntry {
        let change = PurgeChange::Purge { distribution: "media".into(), purge, mode };
        PurgeEntry { position: LogPosition::new(2, number), change }
    }

    /// A log of purges of `/0`, `/1`, …, one record each.
    fn log(purges: u64, keys: &EncryptionKeys) -> Vec<u8> {
        let last = Identity { epoch: IDENTITY.epoch - 1, ..IDENTITY };
        let (mut bytes, protection) = head(&last, keys).expect("random");
        for n in 0..purges {
            let entry = entry(n + 1, Purge::Exact(format!("/{n}")), PurgeMode::Hard);
            append_record(&mut bytes, 0, &entry, &protection).expect("sealed");
        }
        bytes
    }

    const BEGINNING: usize = 8 + 16 + KeyNote::LENGTH + 8;

    /// How many purges are in force, from the first on; `None` if the log is not trusted.
    fn replayed(bytes: &[u8], keys: &EncryptionKeys) -> Option<usize> {
        let floors = floors(&IDENTITY);
        replay(bytes, &IDENTITY, keys, &floors).ok()?;
        let entries = floors.entries();
        for (number, found) in (1..).zip(&entries) {
            let purge = Purge::Exact(format!("/{}", number - 1));
            assert_eq!(*found, entry(number, purge, PurgeMode::Hard));
        }
        Some(entries.len())
    }

    /// Without encryption, and with it.
    fn keys() -> [EncryptionKeys; 2] {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), format!("{}=\n", "A".repeat(43))).expect("written");
        [EncryptionKeys::default(), EncryptionKeys::read(file.path()).expect("a key")]
    }

    #[test]
    fn a_cut_loses_only_what_was_cut() {
        for keys in keys() {
            let whole = log(5, &keys);
            let record = (whole.len() - BEGINNING) / 5;
            for length in 0..=whole.len() {
                let expected = length.checked_sub(BEGINNING).map(|rest| rest / record);
                assert_eq!(replayed(&whole[..length], &keys), expected, "{length} bytes");
            }
        }
    }

    /// A file that a power failure extended with zeros has lost nothing.
    #[test]
    fn zeros_at_the_end_are_cut_off() {
        for keys in keys() {
            for zeros in [1, 19, 20, 21, 40, 4096] {
                let extended = [log(5, &keys), vec![0; zeros]].concat();
                assert_eq!(replayed(&extended, &keys), Some(5), "{zeros}");
            }
        }
    }

    /// The last record may look like one that was cut off. Damage to any other is noticed.
    #[test]
    fn every_flipped_bit_is_noticed() {
        for keys in keys() {
            let whole = log(5, &keys);
            let last = BEGINNING + (whole.len() - BEGINNING) / 5 * 4;
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let expected = (bit / 8 >= last).then_some(4);
                assert_eq!(replayed(&flipped, &keys), expected, "bit {bit}");
            }
        }
    }

    /// A write that was cut off is shorter than a record. In longer garbage, no record is looked for.
    #[test]
    fn a_log_with_much_garbage_is_not_trusted() {
        for keys in keys() {
            let whole = log(2, &keys);
            for (garbage, expected) in [(LONGEST, Some(2)), (100 << 20, None)] {
                let garbage = [0xff, 0xff, 0, 1].into_iter().cycle().take(garbage);
                let bytes: Vec<u8> = whole.iter().copied().chain(garbage).collect();
                assert_eq!(replayed(&bytes, &keys), expected);
            }
        }
    }

    /// What was purged cannot be read from the file.
    #[test]
    fn the_paths_are_encrypted() {
        let [clear, encrypted] = keys().map(|keys| log(1, &keys));
        let has_name = |bytes: &[u8]| bytes.windows(5).any(|window| window == b"media");
        assert!(has_name(&clear) && !has_name(&encrypted));
    }

    fn store(
        path: &Path,
        identity: Identity,
        keys: &EncryptionKeys,
    ) -> (Arc<PurgeFloors>, FilePurgeJournal) {
        let floors = Arc::new(floors(&identity));
        let log = FilePurgeJournal::open_at(path, identity, keys, Arc::clone(&floors));
        (floors, log.expect("opened"))
    }

    /// A long file is replaced by one with the floors, and later entries follow.
    #[tokio::test]
    async fn a_log_stays_short_and_loses_nothing() {
        for keys in keys() {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("purge.log");
            let (floors, log) = store(&path, Identity { epoch: 1, ..IDENTITY }, &keys);
            let name = "media".into();
            let position = LogPosition::new(2, 0);
            let new_log = PurgeEntry { position, change: PurgeChange::NewLog { name } };
            log.add(vec![new_log]).await.await.expect("added");
            let tag = entry(1, Purge::Tag(Tag::new("product")), PurgeMode::Soft);
            log.add(vec![tag]).await.await.expect("added");
            let filler = "x".repeat(1000);
            for number in 2..3000 {
                let purge = Purge::Prefix(format!("/{}/{filler}", number % 7));
                log.add(vec![entry(number, purge, PurgeMode::Hard)]).await.await.expect("added");
            }
            let last = entry(3000, Purge::Exact("/last".into()), PurgeMode::Hard);
            log.add(vec![last]).await.await.expect("added");
            let length = std::fs::metadata(&path).expect("a file").len();
            assert!(length < LONG + (64 << 10), "{length} bytes");
            let before = floors.entries();
            let (after, _) = store(&path, Identity { epoch: 2, ..IDENTITY }, &keys);
            assert_eq!(after.entries(), before);
            assert_eq!((before.len(), after.newest()), (10, LogPosition::new(2, 3000)));
            let resource = Resource { distribution: b"media", path: "/last", form: PathForm::Key };
            assert!(!after.untouched(&resource, super::super::purge_mark::PurgeMark::default()));
        }
    }

    #[test]
    fn a_log_of_another_tier_or_none_is_not_trusted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("purge.log");
        let [clear, encrypted] = keys();
        let open = |identity: Identity, keys: &EncryptionKeys| {
            let floors = Arc::new(floors(&identity));
            FilePurgeJournal::open_at(&path, identity, keys, floors)
        };
        let missing = open(IDENTITY, &clear);
        assert!(matches!(missing, Err(PurgeLogError::Damaged("it is missing"))));
        std::fs::write(&path, log(2, &clear)).expect("written");
        assert!(open(IDENTITY, &clear).is_ok());
        // The identity of an earlier start was put back.
        let newer = open(IDENTITY, &clear);
        assert!(matches!(newer, Err(PurgeLogError::Damaged(why)) if why.contains("newer")));
        let other = Identity { tier: [8; 16], ..IDENTITY };
        assert!(matches!(open(other, &clear), Err(PurgeLogError::Damaged(_))));
        let without_key = open(IDENTITY, &encrypted);
        assert!(matches!(without_key, Err(PurgeLogError::Damaged(_))));
    }
}
