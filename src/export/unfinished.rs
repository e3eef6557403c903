//! The files of an export that is not complete: renamed when all of them are, and removed if the export fails.
//!
//! Each file is locked, so two exports never write the same one. Before Ctrl-C ends the process, [`Unfinished::abandon`] removes them all.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Clones share the files.
#[derive(Clone, Default)]
pub struct Unfinished(Arc<Mutex<Made>>);

#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// Directories that this export created, outer ones first.
    dirs: Vec<PathBuf>,
    /// The first file. Its lock stays until all are renamed, so no other export gets past its own first file.
    first: Option<File>,
    written: u64,
}

impl Unfinished {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an empty file, or empties the one that a killed export left.
    ///
    /// # Errors
    /// If it cannot be created, or another export is writing it. The error names the file.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let mut made = self.made();
        let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: cannot be written: {error}", path.display()));
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(said)?;
        if file.try_lock().is_err() {
            return Err(io::Error::other(format!("{}: another export is writing it", path.display())));
        }
        file.set_len(0).map_err(said)?;
        if made.first.is_none() {
            made.first = Some(file.try_clone().map_err(said)?);
        }
        made.files.push(path.to_owned());
        Ok(file)
    }

    /// Creates a directory with its ancestors.
    ///
    /// # Errors
    /// If it cannot be created. The error names it.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut made = self.made();
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        made.dirs.extend(missing.into_iter().rev().map(Path::to_owned));
        fs::create_dir_all(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Finishes the files: `name` renames them and returns how many bytes they have. From its start on, an interrupt removes none of them.
    ///
    /// # Errors
    /// Errors of `name`; the files then stay unfinished.
    pub fn finish(&self, name: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
        let mut made = self.made();
        let written = name()?;
        *made = Made { written: made.written + written, ..Made::default() };
        Ok(written)
    }

    /// Bytes of the finished files.
    pub fn written(&self) -> u64 {
        self.made().written
    }

    /// Removes the unfinished files.
    pub fn remove(&self) {
        self.made().remove();
    }

    /// Removes the unfinished files before the process ends, and returns their paths. A thread that still writes is blocked until that end.
    pub fn abandon(&self) -> Vec<PathBuf> {
        let mut made = self.made();
        let removed = made.remove();
        std::mem::forget(made);
        removed
    }
}

impl Made {
    fn remove(&mut self) -> Vec<PathBuf> {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // Directories into which others have put files stay.
        for dir in std::mem::take(&mut self.dirs).iter().rev() {
            let _ = fs::remove_dir(dir);
        }
        self.first = None;
        std::mem::take(&mut self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_export_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join("new/sub").join(name));
        let one = Unfinished::default();
        one.create_dir(a.parent().unwrap()).unwrap();
        // The first file keeps its lock while others are written, also when it is closed.
        drop(one.create(&a).unwrap());
        drop(one.create(&b).unwrap());
        let other = Unfinished::default();
        let error = other.create(&a).unwrap_err().to_string();
        assert!(error.ends_with("a: another export is writing it"), "{error}");
        other.remove();
        assert!(a.exists() && b.exists(), "what it did not make it does not remove");
        // What could not be named is unfinished still, what was named is not.
        one.finish(|| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        one.finish(|| Ok(7)).unwrap();
        one.remove();
        assert!(a.exists() && one.written() == 7);
        other.create(&a).unwrap();
        other.create(&b).unwrap();
        assert_eq!(other.abandon(), [a, b]);
        assert!(dir.path().join("new/sub").exists(), "a directory that was there stays");
    }
}
