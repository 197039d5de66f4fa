//! Reading of the files that rules name.

use std::{path::Path, sync::Arc};

use super::RedirectList;
use crate::{access::passwords::Users, cache::key::PathForm};

/// Reads the files that rules name.
pub(crate) trait RuleFiles {
    /// The reason why a file cannot be used.
    type Error;

    /// Reads a list of redirects.
    ///
    /// # Errors
    /// If the file cannot be read, or a line cannot be used.
    fn redirects(&mut self, file: &Path, form: PathForm) -> Result<Arc<RedirectList>, Self::Error>;

    /// Reads users.
    ///
    /// # Errors
    /// If the file cannot be read, or a line cannot be used.
    fn users(&mut self, file: &Path) -> Result<Arc<Users>, Self::Error>;
}
