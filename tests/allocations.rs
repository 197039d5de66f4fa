//! How often a hit asks for memory: counted, for times are not to be trusted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use fixture::Stored;

#[path = "../benches/fixture/mod.rs"]
mod fixture;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // A thread that ends has no counter any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is unsafe")]
// SAFETY: everything is the system allocator's; counting touches no memory but the counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// From a parsed head to the record in the log: the cache key alone is made anew.
#[test]
fn a_hit_allocates_once() {
    let (stored, connection) = (Stored::start(), Stored::connection());
    let mut head = Vec::with_capacity(4096);
    let mut hit = || {
        let request = Stored::request();
        let before = ALLOCATIONS.get();
        stored.hit(request, &connection, &mut head);
        ALLOCATIONS.get() - before
    };
    // The first make what the others find ready.
    let counts: Vec<u64> = (0..100).map(|_| hit()).skip(10).collect();
    let once = counts.iter().filter(|count| **count == 1).count();
    // Now and then the cache looks after its order, and the log's buffer, which its writer took, grows anew. How often
    // depends on the machine's load.
    let most = once * 10 >= counts.len() * 7;
    assert!(most && counts.iter().all(|count| *count >= 1), "{counts:?}");
    stored.runtime.block_on(stored.running.stop());
}
