//! Artifacts in a folder. Every name is resolved by the kernel below the folder's own handle, so that neither a
//! link nor a race leads out of it; links themselves, pipes and devices are no artifacts. An upload is written
//! aside, in a folder that no path names, and renamed when it is whole.

use std::{
    io::{self, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{Artifact, ArtifactPath, Content, Entry, PIECE, Part, Source};
use crate::model::Error;

/// Where uploads wait until they are whole; on the same file system as what they become.
pub(super) const INCOMING: &str = ".tapline-incoming";
/// Name of the file that says what an upload in parts is to become.
const TARGET: &str = "target";
/// After this an upload in parts that nobody completed is taken away.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Folder {
    root: Dir,
    incoming: Dir,
    shown: PathBuf,
}

impl Folder {
    /// What an earlier process left unfinished is taken away: nobody will finish it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let opened = || -> io::Result<(Dir, Dir)> {
            std::fs::create_dir_all(path)?;
            let root = Dir::open_ambient_dir(path, ambient_authority())?;
            if root.exists(INCOMING) {
                root.remove_dir_all(INCOMING)?;
            }
            root.create_dir(INCOMING)?;
            let incoming = root.open_dir(INCOMING)?;
            Ok((root, incoming))
        };
        let (root, incoming) = opened().map_err(|error| {
            Error::invalid(format!(
                "artifacts: expected a folder that can be written at {}: {error}",
                path.display()
            ))
        })?;
        Ok(Self { root, incoming, shown: path.to_owned() })
    }

    pub(super) async fn put(self: &Arc<Self>, path: &ArtifactPath, content: Content) -> Result<u64, Error> {
        let aside = Aside::new(self, PathBuf::from(Uuid::new_v4().simple().to_string()));
        let size = self.write(&aside.name, content).await?;
        let path = path.clone();
        self.blocking(move |folder| folder.place(&aside.name, &path)).await?;
        Ok(size)
    }

    pub(super) async fn find(self: &Arc<Self>, path: &ArtifactPath) -> Result<Artifact, Error> {
        let path = path.clone();
        self.blocking(move |folder| {
            let mut options = OpenOptions::new();
            // Without `nonblock` the opening of a pipe would wait for its writer.
            options.read(true).follow(FollowSymlinks::No).nonblock(true);
            let file = match folder.root.open_with(path.as_str(), &options) {
                Ok(file) => file,
                Err(error) => return Err(missing(&error, &path)),
            };
            let metadata = file.metadata().map_err(|error| broken(&error, &path))?;
            if metadata.is_dir() {
                return Err(Error::invalid(format!(
                    "Artifact path refers to a directory, not a file: '{path}'"
                )));
            }
            if !metadata.is_file() {
                return Err(no_such(&path));
            }
            let modified = metadata.modified().map(cap_std::time::SystemTime::into_std).unwrap_or(UNIX_EPOCH);
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            let size = metadata.len();
            Ok(Artifact {
                size,
                modified,
                etag: format!("{:x}-{size:x}", since.as_nanos()),
                source: Source::File(file.into_std()),
            })
        })
        .await
    }

    pub(super) async fn list(
        self: &Arc<Self>,
        directory: Option<&ArtifactPath>,
    ) -> Result<Vec<Entry>, Error> {
        let directory = directory.map_or_else(|| ".".to_owned(), |path| path.as_str().to_owned());
        self.blocking(move |folder| {
            let entries = match folder.root.read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if is_missing(&error) => return Ok(Vec::new()),
                Err(error) => return Err(broken(&error, &directory)),
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| broken(&error, &directory))?;
                // Names that are no text cannot have come over HTTP, and cannot be asked for.
                let Ok(name) = entry.file_name().into_string() else { continue };
                if directory == "." && name == INCOMING {
                    continue;
                }
                // Of the entry itself, not of what a link points at. Gone meanwhile: not there.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    found.push(Entry { name, size: None });
                } else if metadata.is_file() {
                    found.push(Entry { name, size: Some(metadata.len()) });
                }
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn delete(self: &Arc<Self>, path: &ArtifactPath) -> Result<(), Error> {
        let path = path.clone();
        self.blocking(move |folder| {
            let metadata = match folder.root.symlink_metadata(path.as_str()) {
                Ok(metadata) => metadata,
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(broken(&error, &path)),
            };
            let removed = match metadata.is_dir() {
                true => folder.root.remove_dir_all(path.as_str()),
                false => folder.root.remove_file(path.as_str()),
            };
            match removed {
                Err(error) if !is_missing(&error) => Err(broken(&error, &path)),
                _ => Ok(()),
            }
        })
        .await
    }

    pub(super) async fn begin(self: &Arc<Self>, path: &ArtifactPath) -> Result<String, Error> {
        let path = path.clone();
        self.blocking(move |folder| {
            folder.sweep(SystemTime::now());
            let id = Uuid::new_v4().simple().to_string();
            folder
                .incoming
                .create_dir(&id)
                .and_then(|()| folder.incoming.write(Path::new(&id).join(TARGET), path.as_str()))
                .map_err(|error| broken(&error, &path))?;
            Ok(id)
        })
        .await
    }

    pub(super) async fn put_part(
        self: &Arc<Self>,
        path: &ArtifactPath,
        upload: &str,
        number: u32,
        content: Content,
    ) -> Result<String, Error> {
        let id = self.upload(path, upload).await?;
        let aside = Aside::new(self, id.join(Uuid::new_v4().simple().to_string()));
        let size = self.write(&aside.name, content).await?;
        self.blocking(move |folder| {
            folder
                .incoming
                .rename(&aside.name, &folder.incoming, id.join(number.to_string()))
                .map_err(|error| broken(&error, &id.display()))
        })
        .await?;
        Ok(format!("{number:x}-{size:x}"))
    }

    pub(super) async fn complete(
        self: &Arc<Self>,
        path: &ArtifactPath,
        upload: &str,
        parts: &[Part],
    ) -> Result<(), Error> {
        let id = self.upload(path, upload).await?;
        let (path, parts) = (path.clone(), parts.to_vec());
        self.blocking(move |folder| {
            let aside = Aside::new(folder, id.join(Uuid::new_v4().simple().to_string()));
            let mut whole = folder.incoming.create(&aside.name).map_err(|error| broken(&error, &path))?;
            for Part { number, etag } in &parts {
                let mut part =
                    folder.incoming.open(id.join(number.to_string())).map_err(|error| match error.kind() {
                        io::ErrorKind::NotFound => Error::invalid(format!(
                            "expected part {number} of the upload to have come, found none; send it, or abort"
                        )),
                        _ => broken(&error, &path),
                    })?;
                let size = io::copy(&mut part, &mut whole).map_err(|error| broken(&error, &path))?;
                let found = format!("{number:x}-{size:x}");
                if etag.trim_matches('"') != found {
                    return Err(Error::invalid(format!(
                        "expected part {number} with the tag {found:?} that its upload was answered with, found \
                         {etag:?}"
                    )));
                }
            }
            drop(whole);
            folder.place(&aside.name, &path)?;
            drop(folder.incoming.remove_dir_all(&id));
            Ok(())
        })
        .await
    }

    pub(super) async fn abort(self: &Arc<Self>, path: &ArtifactPath, upload: &str) -> Result<(), Error> {
        let id = self.upload(path, upload).await?;
        self.blocking(move |folder| {
            folder.incoming.remove_dir_all(&id).map_err(|error| broken(&error, &id.display()))
        })
        .await
    }

    /// The folder of an upload in parts, if it is one of this path.
    async fn upload(self: &Arc<Self>, path: &ArtifactPath, upload: &str) -> Result<PathBuf, Error> {
        let unknown = || {
            Error::not_found(format!(
                "expected an upload in parts of {path} that is under way, found none with the id {upload:?}"
            ))
        };
        let id = Uuid::try_parse(upload).map_err(|_| unknown())?.simple().to_string();
        let (target, folder) = (path.clone(), PathBuf::from(&id));
        let known = self
            .blocking(move |here| {
                let found = here.incoming.read_to_string(Path::new(&id).join(TARGET));
                Ok(found.is_ok_and(|found| found == target.as_str()))
            })
            .await?;
        if known { Ok(folder) } else { Err(unknown()) }
    }

    /// Writes a file among the incoming. Whoever calls it sees to its removal.
    async fn write(self: &Arc<Self>, name: &Path, mut content: Content) -> Result<u64, Error> {
        let wrong = |error: &io::Error| {
            Error::internal(format!("cannot write an artifact in {}: {error}", self.shown.display()))
        };
        let file = self
            .blocking({
                let name = name.to_owned();
                move |folder| folder.incoming.create(&name).map_err(|error| broken(&error, &name.display()))
            })
            .await?;
        let mut file = BufWriter::with_capacity(PIECE, tokio::fs::File::from_std(file.into_std()));
        let mut size = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| {
                Error::invalid(format!("expected the whole content, found it broken off: {error}"))
            })?;
            size += piece.len() as u64;
            file.write_all(&piece).await.map_err(|error| wrong(&error))?;
        }
        file.flush().await.map_err(|error| wrong(&error))?;
        Ok(size)
    }

    /// Gives a whole file its name.
    fn place(&self, aside: &Path, path: &ArtifactPath) -> Result<(), Error> {
        let mut again = true;
        loop {
            if let Some(parent) = path.parent() {
                self.root.create_dir_all(parent).map_err(|error| unplaced(&error, path))?;
            }
            match self.incoming.rename(aside, &self.root, path.as_str()) {
                // A delete came between the two.
                Err(error) if error.kind() == io::ErrorKind::NotFound && again => again = false,
                placed => return placed.map_err(|error| unplaced(&error, path)),
            }
        }
    }

    /// Takes away uploads in parts that were begun long ago.
    fn sweep(&self, now: SystemTime) {
        let Ok(entries) = self.incoming.entries() else { return };
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .ok()
                .filter(cap_std::fs::Metadata::is_dir)
                .and_then(|metadata| metadata.modified().ok())
                .and_then(|begun| now.duration_since(begun.into_std()).ok());
            if age.is_some_and(|age| age > ABANDONED) {
                drop(self.incoming.remove_dir_all(entry.file_name()));
            }
        }
    }

    /// Work that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let folder = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .map_err(|error| Error::internal(format!("an artifact was not handled: {error}")))?
    }
}

/// A file among the incoming that goes when it is dropped, unless it has been renamed by then.
#[derive(Debug)]
struct Aside {
    folder: Arc<Folder>,
    name: PathBuf,
}

impl Aside {
    fn new(folder: &Arc<Folder>, name: PathBuf) -> Self {
        Self { folder: Arc::clone(folder), name }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.folder.incoming.remove_file(&self.name));
    }
}

pub(super) fn read(mut file: std::fs::File, range: Range<u64>) -> Content {
    let from = range.start;
    if from > 0
        && let Err(error) = file.seek(SeekFrom::Start(from))
    {
        return futures_util::stream::once(async move { Err(error) }).boxed();
    }
    let file = tokio::fs::File::from_std(file).take(range.end.saturating_sub(from));
    ReaderStream::with_capacity(file, PIECE).boxed()
}

fn no_such(path: &ArtifactPath) -> Error {
    Error::not_found(format!("No such artifact: '{path}'"))
}

/// Not there, behind something that is no directory, or a link, or beyond one that leads out.
fn is_missing(error: &io::Error) -> bool {
    let kind = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    );
    // ENXIO is a socket's; ELOOP a link's, 40 on Linux and 62 on the BSDs. They have no stable kinds.
    kind || matches!(error.raw_os_error(), Some(6 | 40 | 62))
}

fn missing(error: &io::Error, path: &ArtifactPath) -> Error {
    if is_missing(error) { no_such(path) } else { broken(error, path) }
}

fn broken(error: &io::Error, path: &impl std::fmt::Display) -> Error {
    Error::internal(format!("the artifact {path} cannot be reached: {error}"))
}

fn unplaced(error: &io::Error, path: &ArtifactPath) -> Error {
    match error.kind() {
        io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::PermissionDenied => Error::invalid(format!(
            "expected a path for a file below directories, found {path}, which is or goes through something else: \
             {error}"
        )),
        _ => broken(error, path),
    }
}
