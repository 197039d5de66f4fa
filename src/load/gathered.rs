//! Targets while they are collected.

use std::{collections::HashMap, path::Path};

use http::{HeaderValue, uri::PathAndQuery};

use super::{log_files::for_each_line, logged, target::Target, targets_error::TargetsError};
use crate::{access_log::LoggedRequest, base::clock::Timestamp};

/// Log lines that yield no target.
#[derive(Clone, Copy, Default)]
pub(crate) struct LeftOut {
    /// Lines with no GET, or none that can be sent.
    pub(crate) no_get: usize,
    /// Lines that cannot be read.
    pub(crate) unreadable: usize,
}

/// Targets while they are collected: each one once, however often it is listed.
#[derive(Default)]
pub(super) struct Gathered {
    places: HashMap<(PathAndQuery, Option<HeaderValue>), u32>,
    pub(super) all: Vec<Target>,
    pub(super) order: Vec<u32>,
    /// As many as in `order`, if all come from logs with times.
    pub(super) times: Vec<Timestamp>,
    pub(super) left_out: LeftOut,
}

impl Gathered {
    pub(super) fn with_left_out(left_out: LeftOut) -> Self {
        Self { left_out, ..Self::default() }
    }

    pub(super) fn add(&mut self, path: PathAndQuery, range: Option<HeaderValue>) {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let place = *self.places.entry((path.clone(), range.clone())).or_insert(next);
        if place == next {
            self.all.push(Target::new(path, range));
        }
        self.order.push(place);
    }

    /// Adds the GETs of a log that are wanted, each with the range that `range` returns for it.
    pub(super) fn add_log(
        &mut self,
        file: &Path,
        is_wanted: impl Fn(&LoggedRequest) -> bool,
        range: impl Fn(&LoggedRequest) -> Option<HeaderValue>,
    ) -> Result<(), TargetsError> {
        let (mut unread, mut read) = (None, 0);
        for_each_line(file, |number, line| {
            if line.starts_with('#') || line.trim().is_empty() {
                return Ok(());
            }
            let Some(request) = LoggedRequest::parse(line) else {
                unread.get_or_insert(number);
                self.left_out.unreadable += 1;
                return Ok(());
            };
            read += 1;
            let target = logged::target(&request).filter(|_| is_wanted(&request));
            match target.and_then(|target| target.parse().ok()) {
                Some(target) => {
                    self.add(target, range(&request));
                    self.times.extend(request.time);
                }
                None => self.left_out.no_get += 1,
            }
            Ok(())
        })?;
        match unread {
        Some(line) if read == 0 => Err(TargetsError::Line {
            path: file.to_owned(),
            line,
            reason: "it is neither Forebay's JSON, CloudFront's standard log nor the combined format (compressed logs need a name that ends in .gz)".into(),
        }),
        _ => Ok(()),
    }
    }
}
