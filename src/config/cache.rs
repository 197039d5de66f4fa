//! `[cache]`.

use std::path::Path;

use super::section::Section;
use crate::cache::{
    disk::DiskOptions,
    store::{self, Eviction},
};

/// The minimum size of the memory, in slices.
const MIN_SLICES: u64 = 16;

/// `[cache]`, and `[cache.disk]` in it.
pub(super) fn cache(root: &Section<'_>, directory: &Path) -> (store::Options, Option<DiskOptions>) {
    let mut options = store::Options::default();
    let Some(section) = root.table("cache") else { return (options, None) };
    let memory = section.size("memory");
    if let Some(eviction) = section.string("eviction") {
        match eviction.value {
            "lru" => options.eviction = Eviction::Lru,
            "tiny-lfu" => options.eviction = Eviction::TinyLfu,
            other => {
                let message = format!("`{other}` is not valid for `eviction`");
                section.fault(eviction.span, message, "expected lru or tiny-lfu", None);
            }
        }
    }
    if let Some(slice) = section.size("slice") {
        match u32::try_from(slice.value) {
            Ok(bytes) if (64 << 10..=64 << 20).contains(&bytes) => options.slice = bytes,
            _ => section.fault(
                slice.span,
                "`cache.slice` is out of range",
                "expected 64KiB to 64MiB",
                "leave it out: 1MiB suits most buckets".to_owned(),
            ),
        }
    }
    if let Some(read_ahead) = section.number("read_ahead", 1..257) {
        options.read_ahead = u32::try_from(read_ahead).unwrap_or(options.read_ahead);
    }
    if let Some(memory) = memory {
        options.memory = memory.value;
        let least = u64::from(options.slice) * MIN_SLICES;
        if memory.value < least {
            section.fault(
                memory.span,
                "`cache.memory` is too small",
                format!("must hold at least {MIN_SLICES} slices"),
                format!(
                    "give it at least {}MiB, or make `cache.slice` smaller",
                    least.div_ceil(1 << 20)
                ),
            );
        }
    }
    let disk = section.table("disk").and_then(|section| disk(&section, directory));
    section.unknown();
    (options, disk)
}

fn disk(section: &Section<'_>, directory: &Path) -> Option<DiskOptions> {
    let path = section
        .required("path", "add a directory of its own, such as `path = \"/var/cache/forebay\"`");
    let capacity = section.size("capacity");
    let key_file = section.string("encryption_key_file");
    let write_budget = section.size("write_budget");
    if !section.has("capacity") {
        let help = "add the space that the disk cache may take: `capacity = \"100GiB\"`".to_owned();
        section.fault(section.span(), "`cache.disk.capacity` is missing", "in this table", help);
    }
    section.unknown();
    for text in path.iter().chain(&key_file).filter(|text| text.value.is_empty()) {
        section.fault(
            text.span.clone(),
            "a path is empty",
            "here",
            "name it, or remove the line".to_owned(),
        );
    }
    let (path, capacity) = (directory.join(path?.value), capacity?);
    if capacity.value < DiskOptions::MIN_CAPACITY {
        let help = format!("give it at least {}MiB", DiskOptions::MIN_CAPACITY >> 20);
        section.fault(capacity.span, "`cache.disk.capacity` is too small", "too small", help);
        return None;
    }
    let write_budget = write_budget.map(|budget| budget.value);
    let encryption_key_file = key_file.map(|file| directory.join(file.value));
    let options = DiskOptions::new(path, capacity.value);
    Some(DiskOptions { encryption_key_file, write_budget, ..options })
}
