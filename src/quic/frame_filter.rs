//! The frames on a stream of HTTP/3 (RFC 9114 §7), checked before the HTTP/3 library reads them.

use std::collections::VecDeque;

use bytes::Bytes;

/// The longest frame that is not content, in bytes. The library keeps it in memory until it is complete.
const MAX_FRAME: u64 = 64 << 10;

/// The most bytes of a message that are not content: heads, trailers, frames without content and unknown frames.
const MAX_OTHER: u64 = 256 << 10;

/// The longest type and length of a frame, each of which has up to eight bytes (RFC 9000 §16).
const MAX_START: usize = 16;

/// Types of frames (RFC 9114 §11.2.1). Those of HTTP/2 are reserved; the library refuses them.
const DATA: u64 = 0;
const KNOWN: [u64; 10] = [0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd];

/// The type of the stream with a peer's settings (RFC 9114 §6.2.1).
const CONTROL: u64 = 0;

/// A peer sent more than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Passes on what the HTTP/3 library can take: content, and other frames of limited length. Frames without content and
/// frames of unknown types, which mean nothing (RFC 9114 §9), are dropped.
#[derive(Debug)]
pub(super) struct FrameFilter {
    state: State,
    /// The bytes of an incomplete number or start of a frame.
    start: [u8; MAX_START],
    length: usize,
    /// Bytes so far that are not content, if they are limited.
    other: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The type of a unidirectional stream follows.
    StreamType,
    /// A frame follows.
    Start,
    /// Bytes of a frame follow.
    Frame { left: u64, is_kept: bool },
    /// The stream has no frames.
    NoFrames,
}

impl FrameFilter {
    /// For the stream of a request or a response.
    pub(super) const fn of_message() -> Self {
        Self { state: State::Start, start: [0; MAX_START], length: 0, other: Some(0) }
    }

    /// For a unidirectional stream. The frames of a control stream have no limit together: it lasts as long as the
    /// connection.
    pub(super) const fn of_unidirectional() -> Self {
        Self { state: State::StreamType, start: [0; MAX_START], length: 0, other: None }
    }

    /// Whether the stream may end here: not within a frame.
    pub(super) fn may_end(&self) -> bool {
        match self.state {
            State::Start | State::StreamType => self.length == 0,
            State::Frame { .. } => false,
            State::NoFrames => true,
        }
    }

    /// Adds the bytes to pass on to `out`.
    ///
    /// # Errors
    /// If the peer sent more than it may.
    pub(super) fn filter(
        &mut self,
        mut read: &[u8],
        out: &mut VecDeque<Bytes>,
    ) -> Result<(), TooMuch> {
        let mut kept = Vec::with_capacity(read.len() + MAX_START);
        while !read.is_empty() {
            match self.state {
                State::NoFrames => kept.extend_from_slice(std::mem::take(&mut read)),
                State::Frame { left, is_kept } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(read.len());
                    let (bytes, rest) = read.split_at(length);
                    read = rest;
                    if is_kept {
                        kept.extend_from_slice(bytes);
                    }
                    let left = left - length as u64;
                    self.state =
                        if left == 0 { State::Start } else { State::Frame { left, is_kept } };
                }
                State::StreamType | State::Start => {
                    self.start[self.length] = read[0];
                    self.length += 1;
                    read = &read[1..];
                    self.started(&mut kept)?;
                }
            }
        }
        if !kept.is_empty() {
            out.push_back(kept.into());
        }
        Ok(())
    }

    /// Enters the next state if the type of the stream, or type and length of a frame, are complete.
    fn started(&mut self, kept: &mut Vec<u8>) -> Result<(), TooMuch> {
        let start = &self.start[..self.length];
        let Some((kind, rest)) = number(start) else { return Ok(()) };
        if self.state == State::StreamType {
            kept.extend_from_slice(start);
            self.length = 0;
            self.state = if kind == CONTROL { State::Start } else { State::NoFrames };
            return Ok(());
        }
        let Some((left, _)) = number(rest) else { return Ok(()) };
        let is_content = kind == DATA && left > 0;
        let is_kept = is_content || (kind != DATA && KNOWN.contains(&kind));
        if is_kept {
            kept.extend_from_slice(start);
            if !is_content && left > MAX_FRAME {
                return Err(TooMuch);
            }
        }
        if !is_content && let Some(other) = &mut self.other {
            *other = other.saturating_add(left).saturating_add(self.length as u64);
            if *other > MAX_OTHER {
                return Err(TooMuch);
            }
        }
        self.length = 0;
        self.state = if left == 0 { State::Start } else { State::Frame { left, is_kept } };
        Ok(())
    }
}

/// The integer at the beginning of the bytes, and what follows it (RFC 9000 §16); `None` if it is incomplete.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 << (bytes.first()? >> 6);
    let (own, rest) = bytes.split_at_checked(length)?;
    let value = own.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    // The first two bits are the length.
    Some((value & (u64::MAX >> (66 - 8 * length)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: u64 = 1;
    const UNKNOWN: u64 = 0x21;

    /// An integer in as few bytes as possible.
    fn encoded(value: u64) -> Vec<u8> {
        let (length, mark): (usize, u64) = match value {
            0..64 => (1, 0),
            64..16_384 => (2, 1),
            16_384..0x4000_0000 => (4, 2),
            _ => (8, 3),
        };
        let value = value | mark << (8 * length - 2);
        value.to_be_bytes()[8 - length..].to_vec()
    }

    fn frame(kind: u64, content: &[u8]) -> Vec<u8> {
        [encoded(kind), encoded(content.len() as u64), content.to_vec()].concat()
    }

    /// Filters the parts of a stream. Returns what is passed on, and whether the stream may end.
    fn filtered(mut filter: FrameFilter, parts: &[&[u8]]) -> Result<(Vec<u8>, bool), TooMuch> {
        let mut out = VecDeque::new();
        for part in parts {
            filter.filter(part, &mut out)?;
        }
        Ok((Vec::from(out).concat(), filter.may_end()))
    }

    fn of_message(parts: &[&[u8]]) -> Result<(Vec<u8>, bool), TooMuch> {
        filtered(FrameFilter::of_message(), parts)
    }

    #[test]
    fn heads_and_content_pass_unchanged() {
        let message =
            [frame(HEADERS, b"head"), frame(DATA, &vec![7; 100_000]), frame(HEADERS, b"end")]
                .concat();
        assert_eq!(of_message(&[&message]), Ok((message.clone(), true)));
        let bytes: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(of_message(&bytes), Ok((message.clone(), true)));
    }

    #[test]
    fn unknown_frames_and_frames_without_content_are_dropped() {
        let message = [
            frame(UNKNOWN, b"grease"),
            frame(HEADERS, b"head"),
            frame(DATA, b""),
            frame(UNKNOWN, b""),
            frame(DATA, b"content"),
            frame(DATA, b""),
        ];
        let expected = [frame(HEADERS, b"head"), frame(DATA, b"content")].concat();
        assert_eq!(of_message(&[&message.concat()]), Ok((expected, true)));
    }

    #[test]
    fn a_message_does_not_end_within_a_frame() {
        let message = [frame(HEADERS, b"head"), frame(DATA, b"content")].concat();
        for end in 1..message.len() {
            let (_, may_end) = of_message(&[&message[..end]]).expect("little enough");
            assert_eq!(may_end, end == frame(HEADERS, b"head").len(), "{end}");
        }
    }

    #[test]
    fn long_frames_are_refused_before_they_arrive() {
        let begin = |kind: u64, length: u64| [encoded(kind), encoded(length)].concat();
        assert_eq!(of_message(&[&begin(HEADERS, MAX_FRAME + 1)]), Err(TooMuch));
        assert_eq!(of_message(&[&begin(HEADERS, (1 << 62) - 1)]), Err(TooMuch));
        assert_eq!(of_message(&[&begin(UNKNOWN, (1 << 62) - 1)]), Err(TooMuch));
        assert_eq!(of_message(&[&begin(DATA, (1 << 62) - 1)]).map(|(_, end)| end), Ok(false));
        let settings = [encoded(CONTROL), begin(4, MAX_FRAME + 1)].concat();
        assert_eq!(filtered(FrameFilter::of_unidirectional(), &[&settings]), Err(TooMuch));
    }

    #[test]
    fn all_that_is_not_content_is_limited_in_a_message() {
        let empty = frame(DATA, b"").repeat(130_000);
        assert!(of_message(&[&empty]).is_ok());
        assert_eq!(of_message(&[&empty, &empty]), Err(TooMuch));
        // A control stream lasts.
        let control = [encoded(CONTROL), frame(UNKNOWN, &[0; 1000]).repeat(1000)].concat();
        let (passed, may_end) =
            filtered(FrameFilter::of_unidirectional(), &[&control]).expect("no limit");
        assert_eq!((passed, may_end), (encoded(CONTROL), true));
    }

    #[test]
    fn other_unidirectional_streams_have_no_frames() {
        let stream = [encoded(2), vec![0xFF; 100]].concat();
        let passed = filtered(FrameFilter::of_unidirectional(), &[&stream]);
        assert_eq!(passed, Ok((stream, true)));
    }

    proptest! {
        #[test]
        fn the_parts_of_a_stream_make_no_difference(
            stream in proptest::collection::vec(0..70_u8, 0..300),
            cuts in proptest::collection::vec(0..300_usize, 0..8),
            is_message: bool,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let filter = || {
                if is_message { FrameFilter::of_message() } else { FrameFilter::of_unidirectional() }
            };
            prop_assert_eq!(filtered(filter(), &parts), filtered(filter(), &[&stream]));
        }
    }
}
