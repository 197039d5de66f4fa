//! Verifies passwords on threads that serve no requests.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Login;

/// Most logins that wait for a verification. Others are refused.
const MAX_WAITING: usize = 64;

/// Verifies passwords on threads that serve no requests, a few at a time: guesses cannot use all CPUs.
#[derive(Debug)]
pub(crate) struct PasswordVerifier {
    waiting: Semaphore,
    running: Arc<Semaphore>,
}

/// The result for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password is right, and known from now on.
    Right,
    /// The user is unknown, or the password is wrong.
    Wrong,
    /// Too many logins wait.
    Busy,
}

impl Default for PasswordVerifier {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let running = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { waiting: Semaphore::new(MAX_WAITING), running }
    }
}

impl PasswordVerifier {
    /// Verifies a password.
    pub(crate) async fn verify(&self, login: &Login) -> Verdict {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Verdict::Busy };
        let running = Arc::clone(&self.running).acquire_owned().await;
        let login = login.clone();
        let verify = move || {
            let is_right = login.users.verify(&login.credentials);
            // The next one starts when this one is done, even if its viewer has left.
            drop(running);
            is_right
        };
        match tokio::task::spawn_blocking(verify).await {
            Ok(true) => Verdict::Right,
            Ok(false) => Verdict::Wrong,
            Err(_) => Verdict::Busy,
        }
    }
}
