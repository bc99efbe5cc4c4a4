//! One process per directory: the lock file that says who holds it.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::segment::private_file;
use crate::model::{Error, UnixNanos};

const NAME: &str = "tapline.lock";

/// Held until dropped. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(super) struct DirectoryLock(
    #[expect(dead_code, reason = "the lock lives as long as the file is open")] File,
);

impl DirectoryLock {
    pub(super) fn take(directory: &Path, now: UnixNanos) -> Result<Self, Error> {
        let path = directory.join(NAME);
        let refused = |error: &dyn std::fmt::Display| {
            Error::internal(format!("cannot lock the data directory with {}: {error}", path.display()))
        };
        let mut file =
            private_file().read(true).write(true).create(true).open(&path).map_err(|e| refused(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&mut file, &path, directory)),
            Err(TryLockError::Error(error)) => return Err(refused(&error)),
        }
        // For people only; a full disk must not keep tapline from starting.
        let note = format!("process {} since {}\n", std::process::id(), now.rfc3339());
        if let Err(error) = file.set_len(0).and_then(|()| file.write_all(note.as_bytes())) {
            tracing::warn!(%error, path = %path.display(), "the lock file does not say who holds it");
        }
        Ok(Self(file))
    }

    /// Takes the lock again for a moment, to tidy up after `close`; `None` when someone else has it.
    pub(super) fn retake(directory: &Path) -> Option<Self> {
        let path: PathBuf = directory.join(NAME);
        let file = private_file().read(true).write(true).open(path).ok()?;
        file.try_lock().ok()?;
        Some(Self(file))
    }
}

fn held(file: &mut File, path: &Path, directory: &Path) -> Error {
    let mut note = String::new();
    let read = file.rewind().and_then(|()| (&*file).take(256).read_to_string(&mut note));
    let holder = match read {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        _ => "another process".to_owned(),
    };
    Error::busy(format!(
        "expected {} to be free, found it in use by {holder} ({} is locked); stop that process or choose \
         another data directory",
        directory.display(),
        path.display()
    ))
}
