//! A doubly linked list of objects, in arrays.

/// No object.
const NONE: u32 = u32::MAX;

/// A list of objects with their sizes, newest first. Every operation takes constant time.
#[derive(Debug)]
pub(super) struct Links {
    newer: Vec<u32>,
    older: Vec<u32>,
    sizes: Vec<u64>,
    newest: u32,
    oldest: u32,
    /// Bytes of all objects in the list.
    pub(super) bytes: u64,
}

impl Links {
    pub(super) fn new(objects: usize) -> Self {
        let none = vec![NONE; objects];
        let (newer, older, sizes) = (none.clone(), none, vec![0; objects]);
        Self { newer, older, sizes, newest: NONE, oldest: NONE, bytes: 0 }
    }

    /// Adds an object that is not in the list.
    pub(super) fn add(&mut self, object: u32, size: u64) {
        let at = object as usize;
        (self.older[at], self.newer[at], self.sizes[at]) = (self.newest, NONE, size);
        match self.newest {
            NONE => self.oldest = object,
            newest => self.newer[newest as usize] = object,
        }
        self.newest = object;
        self.bytes += size;
    }

    /// Removes an object that is in the list.
    pub(super) fn remove(&mut self, object: u32) {
        let at = object as usize;
        let (newer, older) = (self.newer[at], self.older[at]);
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
        self.bytes -= self.sizes[at];
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        Some(self.oldest).filter(|object| *object != NONE)
    }

    /// The object that was added after this one.
    pub(super) fn newer(&self, object: u32) -> Option<u32> {
        Some(self.newer[object as usize]).filter(|object| *object != NONE)
    }

    /// The size with which an object was added.
    pub(super) fn size(&self, object: u32) -> u64 {
        self.sizes[object as usize]
    }
}
