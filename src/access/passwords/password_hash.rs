//! The bcrypt hash of a password.

use std::{fmt, str::FromStr, sync::OnceLock};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};

/// The bcrypt hash of a password. It remembers a password once it is verified, because a verification takes many milliseconds.
pub(crate) struct PasswordHash {
    text: String,
    /// A key of this process and the code of the password under it. The password itself is not kept.
    verified: OnceLock<(hmac::Key, hmac::Tag)>,
}

impl PasswordHash {
    /// Highest cost. At 14, a verification takes about a second.
    const MAX_COST: u32 = 14;

    /// Whether the password is known to be the right one. Takes less than a microsecond.
    pub(super) fn is_known(&self, password: &[u8]) -> bool {
        self.verified.get().is_some_and(|(key, tag)| {
            let own = hmac::sign(key, password);
            verify_slices_are_equal(own.as_ref(), tag.as_ref()).is_ok()
        })
    }

    /// Verifies a password, and remembers it if it is right. Takes as long as the cost of the hash says.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let is_right = self.matches(password);
        if is_right && let Ok(key) = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()) {
            self.verified.get_or_init(|| {
                let tag = hmac::sign(&key, password);
                (key, tag)
            });
        }
        is_right
    }

    /// Whether a password is the right one.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        bcrypt::verify(password, &self.text).unwrap_or(false)
    }
}

/// The reason for rejecting a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordHashError {
    /// Another algorithm.
    #[error("it is not a bcrypt hash, which begins with `$2y$`: make one with `htpasswd -B`")]
    NotBcrypt,
    /// A bcrypt hash that is cut off or has other characters.
    #[error("the bcrypt hash is not complete: make one with `htpasswd -B`")]
    Incomplete,
    /// A verification would take too long.
    #[error("the cost of the bcrypt hash is {0}, the highest is {max}: make one with `htpasswd -B -C 10`", max = PasswordHash::MAX_COST)]
    Cost(u32),
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        if !["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return Err(PasswordHashError::NotBcrypt);
        }
        let parts = text.parse::<bcrypt::HashParts>();
        let cost = parts.map_err(|_| PasswordHashError::Incomplete)?.get_cost();
        if cost > Self::MAX_COST {
            return Err(PasswordHashError::Cost(cost));
        }
        Ok(Self { text: text.to_owned(), verified: OnceLock::new() })
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "open sesame", made by `htpasswd -nbB -C 4`.
    const HASH: &str = "$2y$04$0iFEvCgTLMzm.vLj2R85teYY8cHCR78CCXdaLWhg43ClnyxWBKLHG";

    #[test]
    fn a_right_password_is_remembered() {
        let hash: PasswordHash = HASH.parse().expect("a hash");
        assert!(!hash.is_known(b"open sesame"));
        assert!(!hash.verify(b"open"));
        assert!(!hash.is_known(b"open"));
        assert!(hash.verify(b"open sesame"));
        assert!(hash.is_known(b"open sesame"));
        assert!(!hash.is_known(b"open"));
        assert!(!format!("{hash:?}").contains("$2y$"));
    }

    #[test]
    fn other_hashes_are_refused() {
        let refused = |text: &str| text.parse::<PasswordHash>().expect_err("an error");
        for other in ["", "secret", "$apr1$a$b", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="] {
            assert_eq!(refused(other), PasswordHashError::NotBcrypt, "{other}");
        }
        assert_eq!(refused(&HASH[..40]), PasswordHashError::Incomplete);
        assert_eq!(refused("$2y$"), PasswordHashError::Incomplete);
        assert_eq!(refused(&HASH.replace("$04$", "$15$")), PasswordHashError::Cost(15));
    }
}
