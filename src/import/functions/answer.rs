//! Responses that a function makes itself.

use super::{
    Unclear,
    value::{Piece, Value},
};

/// The properties of a response that are read, or make no difference.
const KNOWN: [&str; 4] = ["statusCode", "statusDescription", "headers", "body"];

/// A response that a function makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Redirect {
        status: u16,
        location: Vec<Piece>,
        /// Its other header fields.
        fields: Vec<(String, String)>,
    },
    Forbidden,
    /// A request for a password, with the realm.
    Unauthorized(String),
}

impl Answer {
    /// Reads the object that a function returns.
    pub(super) fn of(result: &Value) -> Result<Self, Unclear> {
        let unclear = || Unclear::function("it returns a response that no rule can make");
        let Some(Value::Number(status)) = result.property("statusCode") else {
            return Err(unclear());
        };
        let Value::Object(properties) = result else { return Err(unclear()) };
        if properties.iter().any(|(name, _)| !KNOWN.contains(&name.as_str())) {
            return Err(unclear());
        }
        let mut fields = Vec::new();
        if let Some(headers) = result.property("headers") {
            let Value::Object(headers) = headers else { return Err(unclear()) };
            for (name, field) in headers {
                let Some(Value::Text(text)) = field.property("value") else {
                    return Err(unclear());
                };
                fields.push((name.to_ascii_lowercase(), text.clone()));
            }
        }
        let mut take = |name: &str| {
            let index = fields.iter().position(|(own, _)| own == name)?;
            Some(fields.remove(index).1)
        };
        if [301.0, 302.0, 303.0, 307.0, 308.0].contains(status) {
            let location = take("location").ok_or_else(unclear)?;
            let literal = |(name, text): (String, Vec<Piece>)| {
                let text = Value::Text(text).as_literal().map(str::to_owned);
                Some((name, text?))
            };
            let fields: Option<Vec<_>> = fields.into_iter().map(literal).collect();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is one of these five"
            )]
            let status = *status as u16;
            return Ok(Self::Redirect { status, location, fields: fields.ok_or_else(unclear)? });
        }
        match *status {
            403.0 => Ok(Self::Forbidden),
            401.0 => {
                let challenge = take("www-authenticate").ok_or_else(unclear)?;
                let challenge = Value::Text(challenge);
                let challenge = challenge.as_literal().ok_or_else(unclear)?;
                let scheme = challenge.get(.."basic".len()).unwrap_or_default();
                if !scheme.eq_ignore_ascii_case("basic") {
                    return Err(unclear());
                }
                let realm =
                    challenge.split_once("realm=\"").and_then(|(_, rest)| rest.split_once('"'));
                Ok(Self::Unauthorized(realm.map_or("Restricted", |(realm, _)| realm).to_owned()))
            }
            _ => Err(unclear()),
        }
    }
}
