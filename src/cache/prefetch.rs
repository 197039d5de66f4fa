//! Prefetching of data that will be read soon. With many stored responses, none of it is in a CPU
//! cache, and other work can overlap the load.

/// Length of a CPU cache line in bytes.
const LINE: usize = 64;

/// The most bytes to prefetch; the CPU detects longer sequential reads itself.
const MOST: usize = 8 * LINE;

/// Prefetches the beginning of `bytes`.
pub(crate) fn load(bytes: &[u8]) {
    for line in bytes.chunks(LINE).take(MOST / LINE) {
        load_line(line.as_ptr());
    }
}

/// Prefetches `value`.
pub(crate) fn load_value<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        load_line(start.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
fn load_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    #[expect(unsafe_code, reason = "there is no other way to name this instruction")]
    // SAFETY: a hint. It reads nothing into the program and faults at no address.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn load_line(_address: *const u8) {}
