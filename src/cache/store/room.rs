//! Memory for bytes that are not cached.

use super::{Store, ledger::Charge, receive::ROOM};

/// A reservation of the cache's memory, released when dropped.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "it is held, not read")] Charge);

impl Store {
    /// Reserves memory for in-flight bytes that are not cached. `None` after ten seconds.
    pub async fn room(&self, bytes: u64) -> Option<Room> {
        self.memory.reserve(bytes, ROOM).await.map(Room)
    }
}
