//! A fill: one origin response that fills consecutive slices of a content. Readers attach to it and
//! stream its bytes as they arrive. A fill always completes its current slice; it begins a later one
//! when a reader is near it.

mod task;

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    FetchError, Store,
    content::{Content, ContentId},
    ledger::{Charge, with},
    receive::{NO_ROOM, ROOM, join, receive, to_usize},
};
use crate::http::body::Body;
pub(super) use task::FillTask;

/// How long a new fill waits for its first reader.
const FIRST_READER: Duration = Duration::from_secs(1);

/// How long a fill keeps its origin connection while its readers are far behind.
const SLOW_READERS: Duration = Duration::from_secs(30);

/// A fill ended before its content was complete.
const DROPPED: FetchError = FetchError { status: StatusCode::BAD_GATEWAY, detail: "fill-dropped" };

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The fill is complete, or no reader wants the rest.
    Done,
    /// The object changed: the stored slices belong to an old version.
    Changed,
    /// The origin failed.
    Failed(FetchError),
}

/// One origin response that is being stored.
#[derive(Debug)]
pub(super) struct Fill {
    /// The first slice to be filled, and the one after the last.
    pub(super) slices: Range<u32>,
    state: Mutex<State>,
    /// Notified of every change that readers wait for.
    progress: Notify,
    /// Notified when a reader moves or detaches.
    demand: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The slice being filled.
    cursor: u32,
    /// The chunks of the current slice that have arrived, each with its offset.
    chunks: Vec<(u64, Bytes)>,
    arrived: u64,
    /// The last completed slice, for readers one step behind if it is evicted at once.
    previous: Option<Bytes>,
    /// The current slice of each attached reader.
    readers: HashMap<u64, u32>,
    next_reader: u64,
    /// Whether the origin has confirmed the version by beginning its response.
    opened: bool,
    end: Option<End>,
}

impl State {
    fn admit(&mut self, index: u32) -> u64 {
        let reader = self.next_reader;
        self.next_reader += 1;
        self.readers.insert(reader, index);
        reader
    }
}

/// The outcome of a read at a reader's position.
pub(super) enum At {
    /// A slice or a chunk of one, and the position's offset in it.
    Bytes(Bytes, usize),
    /// The bytes have not arrived yet.
    NotYet,
    /// The fill has passed the slice, which is in the store or was evicted.
    Passed,
    /// The fill ended before the position.
    Ended(End),
}

impl Fill {
    pub(super) fn new(slices: Range<u32>) -> Arc<Self> {
        let state = State { cursor: slices.start, ..State::default() };
        Arc::new(Self {
            slices,
            state: Mutex::new(state),
            progress: Notify::new(),
            demand: Notify::new(),
        })
    }

    /// A new fill with a reader at its first slice.
    pub(super) fn with_reader(slices: Range<u32>) -> (Arc<Self>, Attachment) {
        let fill = Self::new(slices);
        let reader = fill.state.lock().admit(fill.slices.start);
        let attachment = fill.attachment(reader);
        (fill, attachment)
    }

    /// Attaches a reader at slice `index`, if this fill will reach it soon.
    pub(super) fn attach(self: &Arc<Self>, index: u32, read_ahead: u32) -> Option<Attachment> {
        let mut state = self.state.lock();
        // The first response for a content may hold more than was requested; its reader then waits further
        // ahead. Any other reader is better served by a separate fill.
        let near = state.cursor.saturating_add(read_ahead).max(self.slices.start + read_ahead);
        let comes = state.end.is_none() && state.cursor <= index && index < self.slices.end;
        if !comes || (index > near && state.next_reader > 0) {
            return None;
        }
        let reader = state.admit(index);
        drop(state);
        self.demand.notify_one();
        Some(self.attachment(reader))
    }

    fn attachment(self: &Arc<Self>, reader: u64) -> Attachment {
        Attachment { fill: Arc::clone(self), reader }
    }

    fn look(&self, index: u32, offset: u64) -> At {
        let state = self.state.lock();
        if state.cursor == index {
            if offset < state.arrived {
                return At::Bytes(chunk_at(&state.chunks, offset), 0);
            }
        } else if state.cursor > index {
            let previous = state.previous.as_ref().filter(|_| state.cursor == index + 1);
            return previous.map_or(At::Passed, |bytes| At::Bytes(bytes.clone(), to_usize(offset)));
        }
        state.end.map_or(At::NotYet, At::Ended)
    }

    async fn fill_slices(
        &self,
        store: &Store,
        content: &Arc<Content>,
        mut body: Body,
    ) -> Result<End, End> {
        for index in self.slices.clone() {
            if index > self.slices.start && !self.wanted(index, store.options.read_ahead).await {
                return Ok(End::Done);
            }
            let bytes = store.layout(content).bytes_of(&(index..index + 1));
            let length = bytes.end - bytes.start;
            let charge = store.memory.reserve(length, ROOM).await;
            let charge = charge.ok_or(End::Failed(NO_ROOM))?;
            self.receive(&mut body, length).await?;
            self.complete(store, content, index, charge).await;
        }
        Ok(End::Done)
    }

    /// Stores the current slice, whose chunks have all arrived, and begins the next.
    async fn complete(&self, store: &Store, content: &Arc<Content>, index: u32, charge: Charge) {
        let slice = charge.hold(join(&store.pages, &self.chunks()).await);
        let completed = store.put_slice(content, index, slice);
        // Many fills with slow readers would keep as many slices in memory.
        let pin = store.pin_slice(content, &completed);
        self.advance(pin.map(|pin| with(completed, pin)));
    }

    /// Reads one slice from the origin, chunk by chunk.
    async fn receive(&self, body: &mut Body, length: u64) -> Result<(), End> {
        let mut missing = length;
        while missing > 0 {
            let data = receive(body, missing).await.map_err(End::Failed)?;
            missing -= data.len() as u64;
            self.arrived(data);
        }
        Ok(())
    }

    /// Gives a chunk of the current slice to readers.
    fn arrived(&self, data: Bytes) {
        let mut state = self.state.lock();
        let offset = state.arrived;
        state.arrived += data.len() as u64;
        if !data.is_empty() {
            state.chunks.push((offset, data));
        }
        drop(state);
        self.progress.notify_waiters();
    }

    /// The chunks of the current slice.
    fn chunks(&self) -> Vec<Bytes> {
        self.state.lock().chunks.iter().map(|(_, chunk)| chunk.clone()).collect()
    }

    fn advance(&self, completed: Option<Bytes>) {
        let mut state = self.state.lock();
        state.cursor += 1;
        state.chunks.clear();
        state.arrived = 0;
        state.previous = completed;
        drop(state);
        self.progress.notify_waiters();
    }

    /// Records that the origin's response has begun.
    fn open(&self) {
        self.state.lock().opened = true;
        self.progress.notify_waiters();
    }

    /// Whether the origin's response has begun, and has not failed since.
    pub(super) fn is_open(&self) -> bool {
        let state = self.state.lock();
        state.opened && matches!(state.end, None | Some(End::Done))
    }

    /// Waits until a reader is at most `read_ahead` slices behind `index`. False if all readers have
    /// detached or stay too far behind for too long.
    async fn wanted(&self, index: u32, read_ahead: u32) -> bool {
        let wait = async {
            loop {
                let moved = self.demand.notified();
                {
                    let state = self.state.lock();
                    if state.readers.values().any(|&at| at.saturating_add(read_ahead) >= index) {
                        return true;
                    }
                    if state.readers.is_empty() && state.next_reader > 0 {
                        return false;
                    }
                }
                moved.await;
            }
        };
        let patience = if self.state.lock().next_reader == 0 { FIRST_READER } else { SLOW_READERS };
        tokio::time::timeout(patience, wait).await.unwrap_or(false)
    }
}

/// The fills in progress, by content.
#[derive(Debug, Default)]
pub(super) struct Fills([Mutex<HashMap<ContentId, Vec<Arc<Fill>>>>; 16]);

impl Fills {
    /// The fills of `content`. The lock keeps others from starting or ending one meanwhile.
    pub(super) fn of(&self, content: ContentId) -> FillsOf<'_> {
        let shard = usize::try_from(content.0 % self.0.len() as u64).unwrap_or(0);
        FillsOf { content, fills: self.0[shard].lock() }
    }
}

/// The fills of one content.
pub(super) struct FillsOf<'a> {
    content: ContentId,
    fills: MutexGuard<'a, HashMap<ContentId, Vec<Arc<Fill>>>>,
}

impl FillsOf<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Fill>> {
        self.fills.get(&self.content).into_iter().flatten()
    }

    pub(super) fn push(&mut self, fill: Arc<Fill>) {
        self.fills.entry(self.content).or_default().push(fill);
    }

    pub(super) fn remove(&mut self, gone: &Arc<Fill>) {
        if let Entry::Occupied(mut fills) = self.fills.entry(self.content) {
            fills.get_mut().retain(|fill| !Arc::ptr_eq(fill, gone));
            if fills.get().is_empty() {
                fills.remove();
            }
        }
    }
}

fn chunk_at(chunks: &[(u64, Bytes)], offset: u64) -> Bytes {
    let place = chunks.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
    chunks
        .get(place)
        .map(|(start, chunk)| chunk.slice(to_usize(offset - start)..))
        .unwrap_or_default()
}

/// A reader's position at a fill. Dropping it detaches the reader.
#[derive(Debug)]
pub(super) struct Attachment {
    fill: Arc<Fill>,
    reader: u64,
}

impl Attachment {
    /// Whether the fill fills slice `index`. False for a fill that has ended: its failure does not concern
    /// a reader that reaches the slice later.
    pub(super) fn covers(&self, index: u32) -> bool {
        self.fill.slices.contains(&index) && self.fill.state.lock().end.is_none()
    }

    /// Reports that the reader has reached slice `index`.
    pub(super) fn move_to(&self, index: u32) {
        self.fill.state.lock().readers.insert(self.reader, index);
        self.fill.demand.notify_one();
    }

    /// Waits until the origin's response has begun. Returns how the fill ended, if it ended before that.
    pub(super) async fn opened(&self) -> Option<End> {
        loop {
            // Created first: it reports every change from here on.
            let changed = self.fill.progress.notified();
            {
                let state = self.fill.state.lock();
                if state.opened || state.end.is_some() {
                    return state.end;
                }
            }
            changed.await;
        }
    }

    /// Waits for bytes of slice `index` at `offset`; never returns [`At::NotYet`].
    pub(super) async fn wait(&self, index: u32, offset: u64) -> At {
        loop {
            // Created first: it reports every change from here on.
            let changed = self.fill.progress.notified();
            match self.fill.look(index, offset) {
                At::NotYet => changed.await,
                found => return found,
            }
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.fill.state.lock().readers.remove(&self.reader);
        self.fill.demand.notify_one();
    }
}
