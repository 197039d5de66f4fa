//! The program that this process runs, for a process that replaces it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::app::Program;

/// The program with the arguments of this process. It is looked for as this one was, because another version may have its
/// path by then. Must be called before the working directory changes.
pub(super) fn this_program() -> Program {
    let mut arguments = std::env::args_os();
    let called = arguments.next().map(PathBuf::from);
    let found = called.and_then(|called| find(&called, std::env::var_os("PATH").as_deref()));
    let path = found.or_else(|| std::env::current_exe().ok());
    Program { path: path.unwrap_or_else(|| "forebay".into()), arguments: arguments.collect() }
}

/// The absolute path of a program as it was called. Links are kept: they may lead to another version later.
fn find(called: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if called.components().count() > 1 || called.is_absolute() {
        return Some(working_directory()?.join(called)).filter(|path| path.is_file());
    }
    let folders = std::env::split_paths(path?);
    folders.map(|folder| folder.join(called)).find(|path| path.is_file())
}

/// The working directory, as the shell names it: it may be a link that leads to another version later.
fn working_directory() -> Option<PathBuf> {
    let current = std::env::current_dir().ok()?;
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|named| named.is_absolute());
    let is_same = |named: &PathBuf| named.canonicalize().is_ok_and(|real| real == current);
    named.filter(is_same).or(Some(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_it_was_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("forebay");
        std::fs::write(&program, "").expect("a file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&program, &link).expect("a link");
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).expect("a path");
        assert_eq!(find(Path::new("forebay"), Some(&path)), Some(program.clone()));
        assert_eq!(find(Path::new("other"), Some(&path)), None);
        assert_eq!(find(&link, None), Some(link.clone()));
        assert_eq!(find(Path::new("/nowhere/forebay"), Some(&path)), None);
    }
}
