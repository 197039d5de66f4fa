//! A reader: the bytes of one range of a stored response, from the store if it has them, otherwise from the
//! origin.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Store,
    content_state::ContentState,
    fill::{At, Attachment, End, Fill, FillTask, FillsOf},
    hold::Hold,
    ledger::with,
    receive::{receive_exactly, to_usize},
    response::StoredResponse,
    source::{SliceSource, SourceError},
};
use crate::{cache::key::CacheKey, http::body::Body};

/// The source of a reader's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Presence {
    /// In memory.
    Stored,
    /// On disk, at least in part.
    OnDisk,
    /// Being fetched, for another reader.
    Arriving,
    /// At the origin only.
    Missing,
}

/// Reads a range of a stored response.
///
/// Cancel-safe: a fill that it started continues without it until the current slice is complete.
pub(crate) struct Reader {
    store: Arc<Store>,
    key: CacheKey,
    response: Arc<StoredResponse>,
    source: Arc<dyn SliceSource>,
    left: Range<u64>,
    attachment: Option<Attachment>,
    keeping: Keeping,
}

/// How a reader keeps the content in memory.
enum Keeping {
    /// Slice by slice.
    Slices,
    /// The whole content, which is one slice.
    Whole(Hold),
    /// Not at all, because viewers hold too much: it reads in parts, and its response has no content.
    Nothing,
}

/// The number of slices that one step checks; an object may have four billion.
const NEAR: u32 = 1024;

fn near(slices: Range<u32>) -> Range<u32> {
    slices.start..slices.end.min(slices.start.saturating_add(NEAR))
}

impl Reader {
    /// A reader of `bytes`, which are within the content.
    #[must_use]
    pub(crate) fn new(
        store: Arc<Store>,
        key: CacheKey,
        response: Arc<StoredResponse>,
        source: Arc<dyn SliceSource>,
        bytes: Range<u64>,
    ) -> Self {
        Self {
            store,
            key,
            response,
            source,
            left: bytes,
            attachment: None,
            keeping: Keeping::Slices,
        }
    }

    /// The current source of the given bytes: the slowest slice decides.
    #[must_use]
    pub(crate) fn presence(&self, bytes: &Range<u64>) -> Presence {
        let content = &self.response.content;
        if self.response.content_state == ContentState::Released {
            let stored = self.store.same_version(&self.key, &self.response);
            return stored.map_or(Presence::Missing, |_| Presence::Stored);
        }
        // Read first: a slice that is completed meanwhile is found in the store.
        let fills: Vec<Arc<Fill>> = self.store.fills.of(content.id).iter().cloned().collect();
        let mut slices = near(self.store.layout(content).slices_of(bytes));
        let mut presence = Presence::Stored;
        while let Some(index) = slices.next() {
            if self.store.has_slice(content, index) {
                continue;
            }
            if self.store.is_on_disk(content.id, index) {
                presence = presence.max(Presence::OnDisk);
                continue;
            }
            match fills.iter().find(|fill| fill.slices.contains(&index)) {
                Some(fill) => {
                    presence = Presence::Arriving;
                    slices.start = fill.slices.end;
                }
                None => return Presence::Missing,
            }
        }
        presence
    }

    /// The body of a response. Waits for its first bytes, so that an origin's failure becomes an error
    /// response and not a truncated transfer.
    ///
    /// # Errors
    /// If the origin fails or the object has changed.
    pub(crate) async fn into_body(mut self) -> Result<Body, SourceError> {
        self.keep();
        self.confirm().await?;
        let length = self.left.end - self.left.start;
        let first = self.next().await?;
        if self.left.is_empty() {
            return Ok(first.map_or_else(Body::empty, Body::full));
        }
        let chunks = futures_util::stream::try_unfold((first, self), |(first, mut reader)| async {
            if let Some(bytes) = first {
                return Ok(Some((bytes, (None, reader))));
            }
            let bytes = reader.next().await?;
            Ok(bytes.map(|bytes| (bytes, (None, reader))))
        });
        Ok(Body::stream(Some(length), chunks))
    }

    /// If the first slices are stored and later ones are missing, waits until the origin confirms that it
    /// still has this version. Otherwise the transfer would be truncated after the stored slices.
    async fn confirm(&mut self) -> Result<(), SourceError> {
        let content = Arc::clone(&self.response.content);
        if !matches!(self.keeping, Keeping::Slices) {
            return Ok(());
        }
        let mut slices = near(self.store.layout(&content).slices_of(&self.left));
        let first = slices.start;
        let is_missing = |index: &u32| {
            !self.store.has_slice(&content, *index) && !self.store.is_on_disk(content.id, *index)
        };
        let Some(missing) = slices.find(is_missing) else {
            return Ok(());
        };
        // The first bytes read confirm the version, and so does a fill in progress.
        if missing == first || self.store.fills.of(content.id).iter().any(|fill| fill.is_open()) {
            return Ok(());
        }
        let Some(attachment) = self.join_or_start(missing) else { return Ok(()) };
        match attachment.opened().await {
            None | Some(End::Done) => {
                // Far ahead of this reader, the fill ends after its slice instead of waiting with its connection.
                let is_near = missing - first <= self.store.options.read_ahead;
                self.attachment = is_near.then_some(attachment);
                Ok(())
            }
            Some(End::Failed(failure)) => Err(SourceError::Failed(failure)),
            Some(End::Changed) => {
                self.store.forget(&self.key, &content);
                Err(SourceError::Changed)
            }
        }
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        if matches!(self.keeping, Keeping::Nothing) {
            return self.next_part().await.map(Some);
        }
        let content = Arc::clone(&self.response.content);
        let layout = self.store.layout(&content);
        let index = layout.slice_at(self.left.start);
        let offset = self.left.start - layout.bytes_of(&(index..index + 1)).start;
        loop {
            if let Some(slice) = self.store.slice(&content, index) {
                self.store.touch(&self.key, &content);
                if let Some(attachment) = &self.attachment {
                    attachment.move_to(index);
                }
                return Ok(Some(self.take(&slice, to_usize(offset))));
            }
            // If the slice was completed since the lookup, look it up again.
            let Some(attachment) = self.attached(index) else { continue };
            match attachment.wait(index, offset).await {
                At::Bytes(bytes, from) => return Ok(Some(self.take(&bytes, from))),
                At::Passed | At::NotYet | At::Ended(End::Done) => self.attachment = None,
                At::Ended(End::Failed(failure)) => return Err(SourceError::Failed(failure)),
                At::Ended(End::Changed) => {
                    self.store.forget(&self.key, &content);
                    return Err(SourceError::Changed);
                }
            }
        }
    }

    /// Takes bytes for the viewer from a slice or a chunk of one.
    fn take(&mut self, slice: &Bytes, from: usize) -> Bytes {
        let left = to_usize(self.left.end - self.left.start);
        let bytes = slice.slice(from..slice.len().min(from.saturating_add(left)));
        let bytes = match &self.keeping {
            Keeping::Whole(hold) => hold.of(bytes),
            Keeping::Slices | Keeping::Nothing => self.store.lend(slice, bytes),
        };
        self.left.start += bytes.len() as u64;
        bytes
    }

    /// Keeps a content that is one slice, or releases it if viewers hold too much.
    fn keep(&mut self) {
        if self.response.content_state != ContentState::Released
            && self.store.layout(&self.response.content).is_single()
        {
            let (response, hold) = self.store.keep(Arc::clone(&self.response));
            if response.content_state == ContentState::Released {
                // Bytes that are not stored yet are stored for the next readers, too.
                self.attachment = self.join_or_start(0);
            }
            self.response = response;
            self.keeping = hold.map_or(Keeping::Slices, Keeping::Whole);
        }
        if self.response.content_state == ContentState::Released {
            self.keeping = Keeping::Nothing;
        }
    }

    /// The next part of a content that this reader does not keep.
    async fn next_part(&mut self) -> Result<Bytes, SourceError> {
        let part = match self.part().await {
            Err(SourceError::Changed) => {
                self.store.forget(&self.key, &self.response.content);
                return Err(SourceError::Changed);
            }
            part => part?,
        };
        self.left.start += part.len() as u64;
        Ok(part)
    }

    /// A part as it arrives, a copy from a stored response of the same version, or bytes from the origin.
    async fn part(&mut self) -> Result<Bytes, SourceError> {
        let start = self.left.start;
        if let Some(attachment) = &self.attachment {
            match attachment.wait(0, start).await {
                At::Bytes(slice, from) => {
                    let left = to_usize(self.left.end - start);
                    let arrived = slice.slice(from..slice.len().min(from.saturating_add(left)));
                    return Ok(self.store.lend(&slice, arrived));
                }
                At::Ended(End::Failed(failure)) => return Err(SourceError::Failed(failure)),
                At::Ended(End::Changed) => return Err(SourceError::Changed),
                At::Passed | At::NotYet | At::Ended(End::Done) => self.attachment = None,
            }
        }
        if let Some(whole) = self.store.same_version(&self.key, &self.response) {
            return Ok(self.store.copy(&whole[to_usize(start)..to_usize(self.left.end)]));
        }
        let (length, share) = self.store.next_part();
        let end = self.left.end.min(start + length);
        let opened = self.source.open(&self.response, start..end);
        let part = receive_exactly(&self.store, opened, end - start).await?;
        Ok(with(part, share))
    }

    /// The fill that fills slice `index`: the attached one, another, or a new one.
    fn attached(&mut self, index: u32) -> Option<&mut Attachment> {
        let at_hand = self.attachment.take().filter(|attachment| attachment.covers(index));
        let attachment = match at_hand {
            Some(attachment) => {
                attachment.move_to(index);
                attachment
            }
            None => self.join_or_start(index)?,
        };
        Some(self.attachment.insert(attachment))
    }

    fn join_or_start(&self, index: u32) -> Option<Attachment> {
        let content = &self.response.content;
        let read_ahead = self.store.options.read_ahead;
        let fills = self.store.fills.of(content.id);
        if let Some(attachment) = fills.iter().find_map(|fill| fill.attach(index, read_ahead)) {
            return Some(attachment);
        }
        if self.store.has_slice(content, index) {
            return None;
        }
        // Slices from the disk are read one at a time.
        if self.store.is_on_disk(content.id, index) {
            return Some(self.start(fills, index..index + 1));
        }
        let mut wanted = near(index + 1..self.store.layout(content).slices_of(&self.left).end);
        let last = wanted.end;
        let covered = |at: &u32| {
            self.store.has_slice(content, *at)
                || self.store.is_on_disk(content.id, *at)
                || fills.iter().any(|fill| fill.slices.start == *at)
        };
        let end = wanted.find(covered).unwrap_or(last);
        Some(self.start(fills, index..end))
    }

    /// Starts a fill with this reader at its first slice.
    fn start(&self, mut fills: FillsOf<'_>, slices: Range<u32>) -> Attachment {
        let (fill, attachment) = Fill::with_reader(slices);
        fills.push(Arc::clone(&fill));
        drop(fills);
        self.spawn(fill);
        attachment
    }

    fn spawn(&self, fill: Arc<Fill>) {
        let (response, source) = (Arc::clone(&self.response), Arc::clone(&self.source));
        let filling = FillTask::new(fill, Arc::clone(&response.content), Arc::clone(&self.store));
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let recalled = match filling.only_slice() {
                Some(index) => store.recall_slice(&response.content, index).await,
                None => None,
            };
            if let Some((slice, charge)) = recalled {
                return filling.fill_recalled(slice, charge).await;
            }
            let body = source.open(&response, filling.bytes()).await;
            let body = body.map_err(|error| match error {
                SourceError::Changed => End::Changed,
                SourceError::Failed(failure) => End::Failed(failure),
            });
            // This notifies the readers.
            let _ = filling.fill(body).await;
        });
    }
}
