//! The frames on a stream of HTTP/3 (RFC 9114 §7), checked before the HTTP/3 library reads them.

use bytes::{Buf, Bytes, BytesMut};
use h3::error::Code;

/// The longest frame that is not content, in bytes.
const MAX_FRAME: u64 = 64 << 10;

/// The most bytes of a message that are neither its head nor content: frames without content, unknown frames, trailers.
const MAX_OTHER: u64 = 256 << 10;

/// The most frames of a control stream that mean something. The library handles all that have arrived at once.
const MAX_CONTROL: u32 = 1000;

/// The longest type and length of a frame, each of which has up to eight bytes (RFC 9000 §16).
const MAX_START: usize = 16;

/// Types of frames (RFC 9114 §7.2).
const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;

/// Types of HTTP/2, which HTTP/3 does not use (RFC 9114 §11.2.1).
const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// Types of unidirectional streams (RFC 9114 §6.2).
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;

/// Passes on one frame at a time: content in pieces, and other frames whole. Frames that mean nothing are dropped: those
/// without content, trailers of requests, and unknown ones (RFC 9114 §9).
#[derive(Debug)]
pub(super) struct FrameFilter {
    stream: Stream,
    state: State,
    /// The bytes of an incomplete number or start of a frame.
    start: [u8; MAX_START],
    length: usize,
    /// The frame that is being collected, with its start.
    frame: BytesMut,
}

#[derive(Debug)]
enum Stream {
    /// A request, or a response.
    Message(Message),
    Control(Control),
    /// A unidirectional stream whose type follows.
    Unknown,
    /// A stream without frames.
    Other,
}

/// The part of a control stream that has arrived.
#[derive(Debug, Default)]
struct Control {
    has_settings: bool,
    /// Frames so far that mean something.
    frames: u32,
}

/// The part of a message that has arrived.
#[derive(Debug, Default)]
struct Message {
    is_response: bool,
    has_head: bool,
    has_trailers: bool,
    /// Bytes so far that are neither head nor content.
    other: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A frame or the type of the stream follows.
    Start,
    /// Content follows.
    Content { left: u64 },
    /// The rest of a frame follows, which is collected.
    Collected { kind: u64, left: u64 },
    /// The rest of a frame follows, which is dropped.
    Dropped { left: u64 },
}

/// What becomes of a frame.
enum Use {
    Content,
    Collect,
    Drop,
}

impl FrameFilter {
    pub(super) fn of_request() -> Self {
        Self::new(Stream::Message(Message::default()))
    }

    pub(super) fn of_response() -> Self {
        Self::new(Stream::Message(Message { is_response: true, ..Message::default() }))
    }

    pub(super) fn of_unidirectional() -> Self {
        Self::new(Stream::Unknown)
    }

    fn new(stream: Stream) -> Self {
        let (start, frame) = ([0; MAX_START], BytesMut::new());
        Self { stream, state: State::Start, start, length: 0, frame }
    }

    /// Whether the stream may end here: not within a frame.
    pub(super) const fn may_end(&self) -> bool {
        match self.stream {
            // RFC 9114 §6.2.
            Stream::Unknown | Stream::Other => true,
            _ => matches!(self.state, State::Start) && self.length == 0,
        }
    }

    /// Takes bytes from `unread` until there is something to pass on. `None` once all are taken.
    ///
    /// # Errors
    /// The code with which the connection must be closed.
    pub(super) fn next(&mut self, unread: &mut Bytes) -> Result<Option<Bytes>, Code> {
        while !unread.is_empty() {
            if matches!(self.stream, Stream::Other) {
                return Ok(Some(std::mem::take(unread)));
            }
            let piece = match self.state {
                State::Start => {
                    self.start[self.length] = unread.get_u8();
                    self.length += 1;
                    self.started()?
                }
                State::Content { left } => {
                    let (piece, left) = take(unread, left);
                    self.state = or_start(left, |left| State::Content { left });
                    Some(piece)
                }
                State::Dropped { left } => {
                    let (_, left) = take(unread, left);
                    self.state = or_start(left, |left| State::Dropped { left });
                    None
                }
                State::Collected { kind, left } => {
                    let (piece, left) = take(unread, left);
                    self.frame.extend_from_slice(&piece);
                    self.state = or_start(left, |left| State::Collected { kind, left });
                    if left == 0 { Some(self.collected(kind)?) } else { None }
                }
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// Enters the next state if the type of the stream, or type and length of a frame, are complete. Returns what is
    /// passed on.
    fn started(&mut self) -> Result<Option<Bytes>, Code> {
        let start = &self.start[..self.length];
        let Some((kind, rest)) = number(start) else { return Ok(None) };
        if matches!(self.stream, Stream::Unknown) {
            self.stream = match kind {
                CONTROL => Stream::Control(Control::default()),
                // Clients send none, and servers only what was allowed.
                PUSH => return Err(Code::H3_STREAM_CREATION_ERROR),
                _ => Stream::Other,
            };
            let start = Bytes::copy_from_slice(start);
            self.length = 0;
            return Ok(Some(start));
        }
        let Some((left, _)) = number(rest) else { return Ok(None) };
        let start = Bytes::copy_from_slice(start);
        self.length = 0;
        let length = left.saturating_add(start.len() as u64);
        let becomes = match &mut self.stream {
            Stream::Message(message) => message.frame(kind, left, length)?,
            Stream::Control(control) => control.frame(kind)?,
            Stream::Unknown | Stream::Other => Use::Drop,
        };
        match becomes {
            Use::Content => {
                self.state = State::Content { left };
                Ok(Some(start))
            }
            Use::Drop => {
                self.state = or_start(left, |left| State::Dropped { left });
                Ok(None)
            }
            Use::Collect if left > MAX_FRAME => Err(Code::H3_EXCESSIVE_LOAD),
            Use::Collect => {
                self.frame.extend_from_slice(&start);
                self.state = or_start(left, |left| State::Collected { kind, left });
                if left == 0 { self.collected(kind).map(Some) } else { Ok(None) }
            }
        }
    }

    /// A collected frame, if its content is what its type says. The library waits for more if a number is incomplete.
    fn collected(&mut self, kind: u64) -> Result<Bytes, Code> {
        let frame = std::mem::take(&mut self.frame).freeze();
        let content = number(&frame).and_then(|(_, rest)| number(rest)).map(|(_, content)| content);
        let is_valid = content.is_some_and(|content| match kind {
            SETTINGS => is_pairs(content),
            CANCEL_PUSH | GOAWAY | MAX_PUSH_ID => {
                number(content).is_some_and(|(_, rest)| rest.is_empty())
            }
            _ => true,
        });
        if is_valid { Ok(frame) } else { Err(Code::H3_FRAME_ERROR) }
    }
}

impl Message {
    /// What becomes of a frame whose content has `left` bytes, and `length` with its start.
    fn frame(&mut self, kind: u64, left: u64, length: u64) -> Result<Use, Code> {
        let becomes = match kind {
            DATA if !self.has_head || self.has_trailers => return Err(Code::H3_FRAME_UNEXPECTED),
            DATA if left > 0 => return Ok(Use::Content),
            HEADERS if !self.has_head || self.is_response => {
                self.has_head = true;
                return Ok(Use::Collect);
            }
            HEADERS => {
                self.has_trailers = true;
                Use::Drop
            }
            CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID => {
                return Err(Code::H3_FRAME_UNEXPECTED);
            }
            kind if OF_HTTP2.contains(&kind) => return Err(Code::H3_FRAME_UNEXPECTED),
            _ => Use::Drop,
        };
        self.other = self.other.saturating_add(length);
        if self.other > MAX_OTHER { Err(Code::H3_EXCESSIVE_LOAD) } else { Ok(becomes) }
    }
}

impl Control {
    /// What becomes of a frame.
    fn frame(&mut self, kind: u64) -> Result<Use, Code> {
        match kind {
            SETTINGS if self.has_settings => return Err(Code::H3_FRAME_UNEXPECTED),
            SETTINGS => self.has_settings = true,
            CANCEL_PUSH | GOAWAY | MAX_PUSH_ID => {}
            DATA | HEADERS | PUSH_PROMISE => return Err(Code::H3_FRAME_UNEXPECTED),
            kind if OF_HTTP2.contains(&kind) => return Err(Code::H3_FRAME_UNEXPECTED),
            _ => return Ok(Use::Drop),
        }
        self.frames += 1;
        if self.frames > MAX_CONTROL { Err(Code::H3_EXCESSIVE_LOAD) } else { Ok(Use::Collect) }
    }
}

/// Takes up to `wanted` bytes. Returns them, and how many are left to take.
fn take(unread: &mut Bytes, wanted: u64) -> (Bytes, u64) {
    let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(unread.len());
    (unread.split_to(length), wanted - length as u64)
}

/// The state while bytes are left, and after that.
fn or_start(left: u64, state: impl FnOnce(u64) -> State) -> State {
    if left == 0 { State::Start } else { state(left) }
}

/// Whether the bytes are pairs of integers.
fn is_pairs(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let rest = number(bytes).and_then(|(_, rest)| number(rest));
        let Some((_, rest)) = rest else { return false };
        bytes = rest;
    }
    true
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

    fn start(kind: u64, length: u64) -> Vec<u8> {
        [encoded(kind), encoded(length)].concat()
    }

    fn frame(kind: u64, content: &[u8]) -> Vec<u8> {
        [&start(kind, content.len() as u64), content].concat()
    }

    /// Filters the parts of a stream. Returns the pieces that are passed on, and whether the stream may end.
    fn filtered(mut filter: FrameFilter, parts: &[&[u8]]) -> Result<(Vec<Bytes>, bool), Code> {
        let mut pieces = Vec::new();
        for part in parts {
            let mut unread = Bytes::copy_from_slice(part);
            while let Some(piece) = filter.next(&mut unread)? {
                pieces.push(piece);
            }
        }
        Ok((pieces, filter.may_end()))
    }

    fn request(parts: &[&[u8]]) -> Result<(Vec<u8>, bool), Code> {
        let (pieces, may_end) = filtered(FrameFilter::of_request(), parts)?;
        Ok((pieces.concat(), may_end))
    }

    fn control(frames: &[u8]) -> Result<(Vec<u8>, bool), Code> {
        let filter = FrameFilter::of_unidirectional();
        let (pieces, may_end) = filtered(filter, &[&encoded(CONTROL), frames])?;
        Ok((pieces.concat(), may_end))
    }

    #[test]
    fn heads_and_content_pass_unchanged() {
        let message = [frame(HEADERS, b"head"), frame(DATA, &vec![7; 100_000])].concat();
        assert_eq!(request(&[&message]), Ok((message.clone(), true)));
        let bytes: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(request(&bytes), Ok((message.clone(), true)));
    }

    #[test]
    fn each_piece_is_of_one_frame_and_heads_are_whole() {
        let message = [frame(HEADERS, b"head"), frame(DATA, b"one"), frame(DATA, b"two")].concat();
        let (head, rest) = message.split_at(3);
        let pieces = filtered(FrameFilter::of_request(), &[head, rest]).expect("valid").0;
        let expected =
            [&frame(HEADERS, b"head")[..], &start(DATA, 3), b"one", &start(DATA, 3), b"two"];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn unknown_and_empty_frames_and_trailers_are_dropped() {
        let message = [
            frame(UNKNOWN, b"grease"),
            frame(HEADERS, b"head"),
            frame(DATA, b""),
            frame(UNKNOWN, b""),
            frame(DATA, b"content"),
            frame(DATA, b""),
            frame(HEADERS, b"trailers"),
            frame(UNKNOWN, b"grease"),
        ];
        let expected = [frame(HEADERS, b"head"), frame(DATA, b"content")].concat();
        assert_eq!(request(&[&message.concat()]), Ok((expected, true)));
    }

    #[test]
    fn interim_responses_pass() {
        let message = [frame(HEADERS, b"103"), frame(HEADERS, b"200"), frame(DATA, b"content")];
        let (pieces, _) =
            filtered(FrameFilter::of_response(), &[&message.concat()]).expect("valid");
        assert_eq!(pieces.concat(), message.concat());
    }

    #[test]
    fn a_message_does_not_end_within_a_frame() {
        let message = [frame(HEADERS, b"head"), frame(DATA, b"content")].concat();
        for end in 1..message.len() {
            let (_, may_end) = request(&[&message[..end]]).expect("valid so far");
            assert_eq!(may_end, end == frame(HEADERS, b"head").len(), "{end}");
        }
    }

    #[test]
    fn frames_at_the_wrong_place_are_refused() {
        let head = frame(HEADERS, b"head");
        let unexpected = Err(Code::H3_FRAME_UNEXPECTED);
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 0xd] {
            assert_eq!(request(&[&head, &start(kind, 0)]), unexpected, "{kind}");
        }
        assert_eq!(request(&[&frame(DATA, b"early")]), unexpected);
        assert_eq!(request(&[&frame(DATA, b"")]), unexpected);
        assert_eq!(request(&[&head, &head, &frame(DATA, b"late")]), unexpected);
        for kind in [0, 1, 2, 5, 6, 8, 9] {
            assert_eq!(control(&start(kind, 0)), unexpected, "{kind}");
        }
        assert_eq!(control(&[frame(SETTINGS, b""), frame(SETTINGS, b"")].concat()), unexpected);
        let push = filtered(FrameFilter::of_unidirectional(), &[&encoded(PUSH)]);
        assert_eq!(push, Err(Code::H3_STREAM_CREATION_ERROR));
    }

    #[test]
    fn contents_that_are_too_short_or_too_long_are_refused() {
        let settings = frame(SETTINGS, &[6, 0x40, 1]);
        for kind in [CANCEL_PUSH, GOAWAY, MAX_PUSH_ID] {
            let frames = |content: &[u8]| [settings.clone(), frame(kind, content)].concat();
            assert_eq!(control(&frames(&[0x40, 1])).map(|(_, end)| end), Ok(true));
            for content in [&[][..], &[0x40], &[1, 2], &[0, 0x21, 0xFF, 0xFF, 0xFF]] {
                assert_eq!(control(&frames(content)), Err(Code::H3_FRAME_ERROR), "{content:?}");
            }
        }
        for content in [&[6][..], &[6, 0x40], &[6, 1, 0xC0]] {
            assert_eq!(control(&frame(SETTINGS, content)), Err(Code::H3_FRAME_ERROR));
        }
    }

    #[test]
    fn long_frames_are_refused_before_they_arrive() {
        let (head, excessive) = (frame(HEADERS, b"head"), Err(Code::H3_EXCESSIVE_LOAD));
        assert_eq!(request(&[&start(HEADERS, MAX_FRAME + 1)]), excessive);
        assert_eq!(request(&[&start(HEADERS, (1 << 62) - 1)]), excessive);
        assert_eq!(request(&[&start(UNKNOWN, (1 << 62) - 1)]), excessive);
        assert_eq!(request(&[&head, &start(HEADERS, (1 << 62) - 1)]), excessive);
        assert_eq!(request(&[&head, &start(DATA, (1 << 62) - 1)]).map(|(_, end)| end), Ok(false));
        assert_eq!(control(&start(SETTINGS, MAX_FRAME + 1)), excessive);
    }

    #[test]
    fn what_is_neither_head_nor_content_is_limited_in_a_message() {
        let (head, empty) = (frame(HEADERS, b"head"), frame(DATA, b"").repeat(130_000));
        assert!(request(&[&head, &empty]).is_ok());
        assert_eq!(request(&[&head, &empty, &empty]), Err(Code::H3_EXCESSIVE_LOAD));
        // A control stream lasts as long as the connection.
        let passed = control(&frame(UNKNOWN, &[0; 1000]).repeat(1000));
        assert_eq!(passed, Ok((encoded(CONTROL), true)));
        let more = frame(MAX_PUSH_ID, &[1]).repeat(1001);
        assert_eq!(control(&more), Err(Code::H3_EXCESSIVE_LOAD));
    }

    #[test]
    fn other_unidirectional_streams_have_no_frames() {
        let stream = [encoded(2), vec![0xFF; 100]].concat();
        let (pieces, may_end) =
            filtered(FrameFilter::of_unidirectional(), &[&stream]).expect("no frames");
        assert_eq!((pieces.concat(), may_end), (stream, true));
        // RFC 9114 §6.2: it may end before its type is known.
        let begun = filtered(FrameFilter::of_unidirectional(), &[&[0x40]]);
        assert_eq!(begun, Ok((Vec::new(), true)));
    }

    proptest! {
        #[test]
        fn the_parts_of_a_stream_make_no_difference(
            stream in proptest::collection::vec(0..70_u8, 0..300),
            cuts in proptest::collection::vec(0..300_usize, 0..8),
            kind in 0..3,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let passed = |parts: &[&[u8]]| {
                let filter = match kind {
                    0 => FrameFilter::of_request(),
                    1 => FrameFilter::of_response(),
                    _ => FrameFilter::of_unidirectional(),
                };
                filtered(filter, parts).map(|(pieces, may_end)| (pieces.concat(), may_end))
            };
            prop_assert_eq!(passed(&parts), passed(&[&stream]));
        }
    }
}
