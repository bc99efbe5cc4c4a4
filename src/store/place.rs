//! Where the store's file is: whether the one that is open is still the one under its name. What is written to
//! a file that was removed or replaced is gone with the process, without any error.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Which file was opened last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    opened: Arc<Mutex<Option<Identity>>>,
}

/// Device and inode; elsewhere than on Unix an open file cannot be removed.
type Identity = (u64, u64);

impl Place {
    /// `file` was opened just now.
    pub(super) fn note(&self, file: &Path) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = identity(file);
    }

    /// Whether what stands under the name is what was opened; true as long as that cannot be told.
    pub(super) fn holds(&self, file: &Path) -> bool {
        let opened = *self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match (opened, identity(file)) {
            (Some(opened), Some(found)) => opened == found,
            (Some(_), None) => file.try_exists().unwrap_or(true),
            (None, _) => true,
        }
    }
}

fn identity(file: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        file.metadata().ok().map(|found| (found.dev(), found.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_removed_or_replaced_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        let place = Place::default();
        assert!(place.holds(&file), "nothing is open");
        std::fs::write(&file, "a").unwrap();
        place.note(&file);
        std::fs::write(&file, "b").unwrap();
        assert!(place.holds(&file));
        std::fs::rename(&file, directory.path().join("g")).unwrap();
        assert!(!place.holds(&file));
        std::fs::write(&file, "c").unwrap();
        assert!(!place.holds(&file));
        place.note(&file);
        assert!(place.holds(&file));
    }
}
