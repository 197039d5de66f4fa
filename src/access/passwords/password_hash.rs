//! The bcrypt hash of a password.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    sync::{Arc, OnceLock, Weak},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use parking_lot::Mutex;

use crate::base::sha256;

/// The bcrypt hash of a password. It remembers a password once it is verified, because a verification takes many milliseconds.
/// Equal hashes share what they remember, so a reload of the configuration forgets nothing.
#[derive(Clone)]
pub(crate) struct PasswordHash(Arc<Inner>);

struct Inner {
    text: Box<str>,
    cost: u32,
    /// A key of this process and the code of the password under it. The password itself is not kept.
    verified: OnceLock<(hmac::Key, hmac::Tag)>,
}

/// All hashes that are in use.
static IN_USE: Mutex<InUse> = Mutex::new(InUse { hashes: BTreeMap::new(), most: 0 });

struct InUse {
    hashes: BTreeMap<Box<str>, Weak<Inner>>,
    /// With more hashes than this, those that are not in use any more are removed.
    most: usize,
}

impl PasswordHash {
    /// The lowest cost that bcrypt has, and the highest that is accepted. At 14, a verification takes about a second.
    const COSTS: RangeInclusive<u32> = 4..=14;

    /// The most bytes of a password. bcrypt ignores further ones, so two passwords could be the same.
    pub(crate) const MAX_PASSWORD: usize = 71;

    /// The hash with this text, whose cost is valid.
    fn of(text: &str, cost: u32) -> Self {
        let mut in_use = IN_USE.lock();
        if let Some(known) = in_use.hashes.get(text).and_then(Weak::upgrade) {
            return Self(known);
        }
        if in_use.hashes.len() >= in_use.most {
            in_use.hashes.retain(|_, hash| hash.strong_count() > 0);
            in_use.most = 2 * in_use.hashes.len() + 16;
        }
        let inner = Arc::new(Inner { text: text.into(), cost, verified: OnceLock::new() });
        in_use.hashes.insert(text.into(), Arc::downgrade(&inner));
        Self(inner)
    }

    pub(super) fn cost(&self) -> u32 {
        self.0.cost
    }

    /// Whether the password is known to be the right one. Takes less than a microsecond.
    pub(super) fn is_known(&self, password: &[u8]) -> bool {
        self.0.verified.get().is_some_and(|(key, tag)| {
            let own = hmac::sign(key, password);
            verify_slices_are_equal(own.as_ref(), tag.as_ref()).is_ok()
        })
    }

    /// Verifies a password, and remembers it if it is right. Takes as long as the cost of the hash says.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let is_right = self.matches(password);
        if is_right && let Ok(key) = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()) {
            self.0.verified.get_or_init(|| {
                let tag = hmac::sign(&key, password);
                (key, tag)
            });
        }
        is_right
    }

    /// Whether a password is the right one. Longer ones than [`Self::MAX_PASSWORD`] and those with a NUL never are.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let is_whole = password.len() <= Self::MAX_PASSWORD && !password.contains(&0);
        bcrypt::verify(password, &self.0.text).unwrap_or(false) && is_whole
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
    /// A verification would take too long, or bcrypt does not have the cost.
    #[error(
        "the cost of the bcrypt hash is {0}, but only 4 to 14 are accepted: make one with `htpasswd -B -C 10`"
    )]
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
        if !Self::COSTS.contains(&cost) {
            return Err(PasswordHashError::Cost(cost));
        }
        Ok(Self::of(text, cost))
    }
}

/// A digest: digests of configurations are made of such texts, and logs must not have the hash.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:016x})", sha256::first_64(&*self.0.text))
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
        let again: PasswordHash = HASH.parse().expect("a hash");
        assert!(again.is_known(b"open sesame"), "equal hashes share what they know");
    }

    #[test]
    fn passwords_that_bcrypt_takes_for_another_are_wrong() {
        let long = "a".repeat(72);
        let text = bcrypt::hash(&long, 4).expect("a hash");
        let hash: PasswordHash = text.parse().expect("a hash");
        for password in [long.clone(), long + "b"] {
            assert!(!hash.verify(password.as_bytes()) && !hash.is_known(password.as_bytes()));
        }
        let hash: PasswordHash = bcrypt::hash("a", 4).expect("a hash").parse().expect("a hash");
        assert!(!hash.verify(b"a\0a") && hash.verify(b"a"));
    }

    #[test]
    fn other_hashes_are_refused() {
        let refused = |text: &str| text.parse::<PasswordHash>().expect_err("an error");
        for other in ["", "secret", "$apr1$a$b", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="] {
            assert_eq!(refused(other), PasswordHashError::NotBcrypt, "{other}");
        }
        assert_eq!(refused(&HASH[..40]), PasswordHashError::Incomplete);
        assert_eq!(refused("$2y$"), PasswordHashError::Incomplete);
        for cost in [3, 15] {
            let text = HASH.replace("$04$", &format!("${cost:02}$"));
            assert_eq!(refused(&text), PasswordHashError::Cost(cost));
        }
    }
}
