//! Names of objects.

use super::section::Section;
use crate::cache::key::{CanonicalPath, PathForm};

/// The name of an object that is served for a folder.
pub(super) fn object(section: &Section<'_>, key: &'static str) -> Option<String> {
    let object = section.string(key)?;
    let url = format!("/{}", object.value);
    if object.value.is_empty()
        || object.value.starts_with('/')
        || object.value.contains("://")
        || CanonicalPath::resolve(&url, PathForm::Key).is_err()
    {
        let message = format!("`{}` is not valid for `{key}`", object.value);
        let help = "write the name of an object without a leading slash, such as \"index.html\"";
        section.fault(object.span, message, "not an object name", help.to_owned());
        return None;
    }
    Some(object.value.to_owned())
}
