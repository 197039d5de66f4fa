//! A segment of the disk cache: its header, records, list and trailer. Whatever a disk returns, reading it neither
//! panics nor allocates more than the file has.
//!
//! Checksums would end every attempt early, so those of headers, contents, list and trailer are made right first.

#![no_main]

use crc_fast::{CrcAlgorithm, checksum};
use forebay::cache::store::read_segment;
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;
const UNIT: usize = 64;

fn sum(bytes: &[u8]) -> [u8; 8] {
    checksum(CrcAlgorithm::Crc64Nvme, bytes).to_le_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// The checksum of the content behind the header at `at`, and that of the header.
fn repair_record(bytes: &mut [u8], at: usize) {
    let key = u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]) as usize;
    let length = key + u32_at(bytes, at + 8) + u32_at(bytes, at + 12);
    if let Some(content) = bytes.get(at + UNIT..at + UNIT + length) {
        let sum = sum(content);
        bytes[at + 40..at + 48].copy_from_slice(&sum);
        bytes[at + 48..at + 56].fill(0);
    }
    let sum = sum(&bytes[at..at + 56]);
    bytes[at + 56..at + 64].copy_from_slice(&sum);
}

fn repair_trailer(bytes: &mut [u8]) {
    let at = bytes.len() - BLOCK;
    let (end, count) = (u64_at(bytes, at + 16), u64_at(bytes, at + 24));
    let list = end.checked_add(count.saturating_mul(32)).and_then(|to| bytes.get(end..to));
    if let Some(list) = list {
        let sum = sum(list);
        bytes[at + 32..at + 40].copy_from_slice(&sum);
    }
    let sum = sum(&bytes[at..at + 40]);
    bytes[at + 40..at + 48].copy_from_slice(&sum);
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = vec![0; BLOCK];
    bytes.extend_from_slice(input);
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(3 * BLOCK), 0);
    for at in (BLOCK..bytes.len()).step_by(UNIT) {
        if bytes[at..].starts_with(b"FBR1") {
            repair_record(&mut bytes, at);
        }
    }
    let trailer = bytes.len() - BLOCK;
    if bytes[trailer..].starts_with(b"FBSEALED") {
        repair_trailer(&mut bytes);
    }
    let [listed, valid, usable] = read_segment(&bytes);
    assert!(usable <= valid && valid <= listed && listed <= bytes.len() / 32);
});
