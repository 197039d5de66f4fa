//! Values in a function, as far as they are known before a request.

use super::conditions::{Condition, Subject, Test};

/// The header field that every request has.
pub(super) const HOST: &str = "host";

/// A value in a function.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Undefined,
    Null,
    Number(f64),
    Event,
    Request,
    Response,
    RequestHeaders,
    ResponseHeaders,
    /// A header field of the request, which may be missing: an object with a `value`.
    Header(String),
    Text(Vec<Piece>),
    /// A text as bytes.
    Bytes(Vec<Piece>),
    Condition(Condition),
    /// The position of a text in what a subject has, or -1.
    Position(Subject, String),
    Object(Vec<(String, Self)>),
    /// A regular expression.
    Pattern(String),
    /// The function `Buffer.from`, or a method of a value.
    Method(Box<Self>, String),
    Buffer,
    Console,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    /// The path of the request, as the viewer sent it.
    Path,
    /// The host of the request.
    Host,
    /// The host without `www.` at its beginning.
    BareHost,
    /// The value of a header field.
    Header(String),
}

impl Value {
    pub(super) fn literal(text: &str) -> Self {
        Self::Text(vec![Piece::Literal(text.to_owned())])
    }

    /// The text, if it is the same for all requests.
    pub(super) fn as_literal(&self) -> Option<&str> {
        match self {
            Self::Text(pieces) => as_literal(pieces),
            _ => None,
        }
    }

    /// The property of the request that the value is.
    pub(super) fn subject(&self) -> Option<Subject> {
        let Self::Text(pieces) = self else { return None };
        match &pieces[..] {
            [Piece::Path] => Some(Subject::Path),
            [Piece::Host] => Some(Subject::Host),
            [Piece::Header(name)] => Some(Subject::Header(name.clone())),
            _ => None,
        }
    }

    /// Whether the value counts as true; `None` if that is not known.
    pub(super) fn truth(&self) -> Option<Condition> {
        match self {
            Self::Condition(condition) => Some(condition.clone()),
            Self::Undefined | Self::Null => Some(Condition::Known(false)),
            Self::Header(name) if name == HOST => Some(Condition::Known(true)),
            Self::Header(name) => Some(Condition::is(Subject::Header(name.clone()), Test::Present)),
            Self::Text(pieces) => match &pieces[..] {
                [Piece::Header(name)] => {
                    Some(Condition::is(Subject::Header(name.clone()), Test::Present))
                }
                _ => as_literal(pieces).map(|text| Condition::Known(!text.is_empty())),
            },
            _ => None,
        }
    }

    /// A property of an object literal.
    pub(super) fn property(&self, name: &str) -> Option<&Self> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

fn as_literal(pieces: &[Piece]) -> Option<&str> {
    match pieces {
        [] => Some(""),
        [Piece::Literal(text)] => Some(text),
        _ => None,
    }
}

/// The most bytes of a text.
const MAX_TEXT: usize = 10 << 10;

/// Joins two texts; `None` if the result is too long.
pub(super) fn checked_join(first: Vec<Piece>, second: Vec<Piece>) -> Option<Vec<Piece>> {
    let length = |piece: &Piece| match piece {
        Piece::Literal(text) => text.len(),
        _ => 1,
    };
    let pieces = first.iter().chain(&second);
    (pieces.map(length).sum::<usize>() <= MAX_TEXT).then(|| joined(first, second))
}

/// Joins two texts.
pub(super) fn joined(mut first: Vec<Piece>, second: Vec<Piece>) -> Vec<Piece> {
    for piece in second {
        match (first.last_mut(), piece) {
            (Some(Piece::Literal(text)), Piece::Literal(more)) => text.push_str(&more),
            (_, piece) => first.push(piece),
        }
    }
    first
}
