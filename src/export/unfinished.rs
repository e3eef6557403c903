//! Files that have no name yet: made while an export goes on, named when all are whole, removed where they will never be.
//!
//! Input: paths. Output: files, each with a lock on it, so that no two exports write the same. Whoever ends the process before its time (Ctrl-C) takes them all
//! away: [`Unfinished::abandon`]. Called by the dataset, and by the command line for every other file.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Clones are of the same files.
#[derive(Clone, Default)]
pub struct Unfinished(Arc<Mutex<Made>>);

#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// Directories that were not there before, outer ones first.
    dirs: Vec<PathBuf>,
    /// The first file: its lock stays until all have their names, so that no other export gets as far as its second one.
    first: Option<File>,
    written: u64,
}

impl Unfinished {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty file; what another export left there, which was killed, is of no use to anybody.
    ///
    /// # Errors
    /// Where it cannot be made, or an export that goes on has it; the error names it.
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

    /// A directory, with all that it is in.
    ///
    /// # Errors
    /// Where it cannot be made; the error names it.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut made = self.made();
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        made.dirs.extend(missing.into_iter().rev().map(Path::to_owned));
        fs::create_dir_all(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// All are whole: `name` gives them their names, and tells how many bytes they have. Nobody takes them away meanwhile, nor from then on.
    ///
    /// # Errors
    /// Those of `name`; then they are unfinished still.
    pub fn finish(&self, name: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
        let mut made = self.made();
        let written = name()?;
        *made = Made { written: made.written + written, ..Made::default() };
        Ok(written)
    }

    /// Bytes of the files that have their names.
    pub fn written(&self) -> u64 {
        self.made().written
    }

    /// Takes away what has no name yet.
    pub fn remove(&self) {
        self.made().remove();
    }

    /// The same, before the process ends; which files these were. Whoever goes on writing in another thread waits for that end.
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
        // Those in which somebody has put something stay.
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
