//! Segments: files of equal length that are written once, front to back.
//!
//! The first block names the tier, the segment and its key. Records follow. A sealed segment ends with a footer, which
//! lists its records, and a trailer in the last block, which has the footer's offset. A segment without a
//! trailer was being written when the process ended.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    aligned::AlignedBuffer,
    checksum::checksum,
    files::{BlockFile, Files},
    keys::{EncryptionKeys, KeyNote},
    layout::{BLOCK, FORMAT, Fields, UNIT},
    place::{MAX_SEGMENT, Place},
    protection::Protection,
    read_buffer::ReadBuffer,
    record::{Header, Invalid, Kind, Loaded},
};
use crate::cache::digest::Digest;

const MAGIC: u64 = u64::from_le_bytes(*b"FBSEGMNT");
const TRAILER: u64 = u64::from_le_bytes(*b"FBSEALED");

/// Length of a footer's entry in bytes.
const ENTRY: usize = 32;

/// The blocks that are read at a time from a segment without a trailer.
const SCAN: usize = 256 * BLOCK;

/// The identity of a tier: records of another are never read.
pub(super) type TierId = [u8; 16];

/// The tier and the start that the segments of a folder belong to.
#[derive(Clone, Debug)]
pub(super) struct Tier {
    pub(super) id: TierId,
    /// The number of this start. Files that are found are of earlier ones.
    pub(super) epoch: u16,
    pub(super) keys: EncryptionKeys,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its place in the table of segments.
    pub(super) slot: u16,
    /// Its number in the order of writing, which is never used twice in one process.
    pub(super) sequence: u64,
    length: AtomicU64,
    pub(super) file: Arc<dyn BlockFile>,
    pub(super) protection: Protection,
    is_retired: AtomicBool,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("{0}")]
    Invalid(#[from] Invalid),
}

/// A record, as the footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl Entry {
    /// Its place in the index.
    pub(super) fn place(&self, slot: u16) -> Option<Place> {
        Place::new(slot, self.offset, self.length)
    }
}

/// The name of a segment's file.
pub(super) fn name(sequence: u64) -> String {
    format!("seg-{sequence:012x}")
}

/// The number in the name of a segment's file.
pub(super) fn sequence_of(text: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(text.strip_prefix("seg-")?, 16).ok()?;
    // Numbers have twelve digits, so there is always a next one.
    (name(sequence) == text && text.len() == name(0).len()).then_some(sequence)
}

/// Bytes that seal a segment of `records` records.
pub(super) const fn sealing(records: usize) -> u64 {
    ((records * ENTRY).next_multiple_of(BLOCK) + BLOCK) as u64
}

impl Segment {
    pub(super) fn new(
        slot: u16,
        sequence: u64,
        length: u64,
        file: Arc<dyn BlockFile>,
        protection: Protection,
    ) -> Self {
        let (length, is_retired) = (AtomicU64::new(length), AtomicBool::new(false));
        Self { slot, sequence, length, file, protection, is_retired }
    }

    /// The length of its file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Its file was cut to this length.
    pub(super) fn set_length(&self, length: u64) {
        self.length.store(length, Ordering::Release);
    }

    /// Creates the file of a segment.
    pub(super) fn create(
        files: &dyn Files,
        tier: &Tier,
        slot: u16,
        sequence: u64,
        length: u64,
    ) -> io::Result<Self> {
        let (note, protection) = tier.keys.protect(tier.epoch)?;
        let file = files.create(&name(sequence), length)?;
        let mut head = AlignedBuffer::new(BLOCK);
        head.append(&MAGIC.to_le_bytes());
        head.append(&FORMAT.to_le_bytes());
        head.append(&tier.id);
        head.append(&sequence.to_le_bytes());
        head.append(&note.bytes());
        head.append(&checksum(head.bytes()).to_le_bytes());
        head.pad(BLOCK);
        if let Err(error) = file.write_at(head.bytes(), 0) {
            let _ = files.remove(&name(sequence));
            return Err(error);
        }
        Ok(Self::new(slot, sequence, length, file, protection))
    }

    /// Opens the file of a segment. `None` if it is not a segment of this tier. Its records may be encrypted with a
    /// key that the tier does not have.
    pub(super) fn open(
        files: &dyn Files,
        tier: &Tier,
        slot: u16,
        sequence: u64,
    ) -> io::Result<Option<Self>> {
        let file = files.open(&name(sequence))?;
        let length = file.length()?;
        if !(2 * BLOCK as u64..=MAX_SEGMENT).contains(&length) || length % BLOCK as u64 != 0 {
            return Ok(None);
        }
        let head = blocks(&*file, 0, BLOCK)?;
        let Some((owner, number, note)) = head_of(head.bytes()) else {
            // Sealing comes last: what was sealed had a first block.
            let unknown = Self::new(slot, sequence, length, file, Protection::KeyMissing);
            let is_sealed = unknown.footer()?.is_some();
            let damaged =
                || io::Error::new(io::ErrorKind::InvalidData, "its first block is damaged");
            return if is_sealed { Err(damaged()) } else { Ok(None) };
        };
        let is_ours = owner == tier.id && number == sequence;
        if is_ours && note.epoch >= tier.epoch {
            let newer = "it is newer than the identity of the cache";
            return Err(io::Error::new(io::ErrorKind::InvalidData, newer));
        }
        let protection = tier.keys.of(&note);
        Ok(is_ours.then(|| Self::new(slot, sequence, length, file, protection)))
    }

    fn blocks(&self, offset: u64, length: usize) -> io::Result<ReadBuffer> {
        if offset.saturating_add(length as u64) > self.length() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        blocks(&*self.file, offset, length)
    }

    /// Reads and verifies the record at a place.
    pub(super) fn record(&self, place: Place) -> Result<Loaded, ReadError> {
        let blocks = self.blocks(place.start(), place.length())?;
        let start = usize::try_from(place.offset() - place.start()).unwrap_or(usize::MAX);
        Ok(Loaded::open(blocks, start, self.sequence, place.offset(), &self.protection)?)
    }

    /// Writes the footer at `end`, which is the end of the records, and the trailer, and cuts the file behind it.
    /// Returns its length.
    pub(super) fn seal(&self, end: u64, entries: &[Entry]) -> io::Result<u64> {
        let mut footer = AlignedBuffer::new(entries.len() * ENTRY);
        for entry in entries {
            footer.append(&entry.digest.0.to_le_bytes());
            footer.append(&entry.digest.1.to_le_bytes());
            footer.append(&(entry.offset / UNIT as u64).to_le_bytes());
            let units = u32::try_from(entry.length / UNIT).unwrap_or(0);
            footer.append(&units.to_le_bytes());
            footer.append(&[entry.kind as u8, 0, 0, 0]);
        }
        let mut trailer = AlignedBuffer::new(BLOCK);
        for number in [TRAILER, self.sequence, end, entries.len() as u64, checksum(footer.bytes())]
        {
            trailer.append(&number.to_le_bytes());
        }
        trailer.append(&checksum(trailer.bytes()).to_le_bytes());
        trailer.pad(BLOCK);
        footer.pad(BLOCK);
        let length = end + sealing(entries.len());
        self.file.write_at(footer.bytes(), end)?;
        self.file.write_at(trailer.bytes(), length - BLOCK as u64)?;
        self.file.truncate(length)?;
        Ok(length)
    }

    /// The records, in the order of writing, whether the segment is sealed or not.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        match self.footer()? {
            Some(entries) => Ok(entries),
            None => Ok(self.scan()?.0),
        }
    }

    /// The records of a sealed segment, in the order of writing. `None` if it is not sealed.
    pub(super) fn footer(&self) -> io::Result<Option<Vec<Entry>>> {
        let trailer = self.blocks(self.length() - BLOCK as u64, BLOCK)?;
        let Some((end, count, sum)) = self.trailer(trailer.bytes()) else { return Ok(None) };
        let room = self.length().saturating_sub(end) / ENTRY as u64;
        if end % BLOCK as u64 != 0 || count as u64 > room {
            return Ok(None);
        }
        let length = count * ENTRY;
        let padded = length.next_multiple_of(BLOCK);
        let footer = self.blocks(end, padded)?;
        let footer = &footer.bytes()[..length];
        if checksum(footer) != sum {
            return Ok(None);
        }
        Ok(footer.chunks_exact(ENTRY).map(|bytes| entry(bytes, self.length())).collect())
    }

    fn trailer(&self, trailer: &[u8]) -> Option<(u64, usize, u64)> {
        let mut fields = Fields(trailer);
        let is_trailer = fields.u64()? == TRAILER && fields.u64()? == self.sequence;
        let (end, count, sum) = (fields.u64()?, fields.u64()?, fields.u64()?);
        fields.verify(trailer)?;
        is_trailer.then_some((end, usize::try_from(count).ok()?, sum))
    }

    /// Finds the records of a segment that is not sealed, and their end. Each flush begins with a block, and a
    /// flush whose first header is missing was never finished.
    pub(super) fn scan(&self) -> io::Result<(Vec<Entry>, u64)> {
        let (mut entries, mut offset) = (Vec::new(), BLOCK as u64);
        let (mut window, mut from) = (ReadBuffer::new(0), 0);
        loop {
            let start = offset / BLOCK as u64 * BLOCK as u64;
            let held = from + window.len() as u64;
            if start < from || offset + UNIT as u64 > held {
                let length = (self.length() - start).min(SCAN as u64);
                if length < BLOCK as u64 {
                    break;
                }
                from = start;
                window = self.blocks(from, usize::try_from(length).unwrap_or(SCAN))?;
            }
            let at = usize::try_from(offset - from).unwrap_or(usize::MAX);
            let header = Header::parse(&window.bytes()[at..]);
            match header.filter(|header| header.segment == self.sequence) {
                Some(header) if offset + header.length() as u64 <= self.length() => {
                    let (digest, kind, length) = (header.digest, header.kind, header.length());
                    entries.push(Entry { digest, kind, offset, length });
                    offset += length as u64;
                }
                // The rest of the last block of a flush.
                None if offset % BLOCK as u64 != 0 => {
                    offset = offset.next_multiple_of(BLOCK as u64);
                }
                _ => break,
            }
            if offset + BLOCK as u64 > self.length() {
                break;
            }
        }
        Ok((entries, offset.next_multiple_of(BLOCK as u64)))
    }

    /// Marks a segment whose records will be removed from the index.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }
}

/// Reads whole blocks.
fn blocks(file: &dyn BlockFile, offset: u64, length: usize) -> io::Result<ReadBuffer> {
    let mut buffer = ReadBuffer::new(length);
    let read = file.read_at(buffer.bytes_mut(), offset)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buffer)
}

/// The facts in the first block: the tier, the number of the segment, and its key.
fn head_of(head: &[u8]) -> Option<(TierId, u64, KeyNote)> {
    let mut fields = Fields(head);
    let is_head = fields.u64()? == MAGIC && fields.u32()? == FORMAT;
    let (tier, sequence) = (fields.array()?, fields.u64()?);
    let note = KeyNote::take(&mut fields)?;
    fields.verify(head)?;
    is_head.then_some((tier, sequence, note))
}

/// An entry of the list in a segment of `end` bytes.
fn entry(bytes: &[u8], end: u64) -> Option<Entry> {
    let mut fields = Fields(bytes);
    let digest = Digest(fields.u64()?, fields.u64()?);
    let offset = fields.u64()?.checked_mul(UNIT as u64)?;
    let length = usize::try_from(fields.u32()?).ok()? * UNIT;
    let kind = Kind::of(fields.u8()?)?;
    let is_within = offset.checked_add(length as u64).is_some_and(|to| to <= end);
    (length > 0 && is_within).then_some(Entry { digest, kind, offset, length })
}
