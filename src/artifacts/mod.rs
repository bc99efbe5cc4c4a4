//! Files that belong to runs and models (layer 2): a folder of this machine by default, an S3 bucket by
//! configuration. Contents are streamed both ways and never held whole; a file appears whole or not at all.
//! Nothing here knows runs, HTTP or a protocol: a name is a path below one root, and no path leaves it.

mod bucket;
mod folder;
mod path;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use self::path::ArtifactPath;
use self::{bucket::Bucket, folder::Folder};
use crate::model::Error;

/// What is sent or received, piece by piece.
pub type Content = BoxStream<'static, std::io::Result<Bytes>>;

/// Pieces that are read from a disk; small enough for flat memory, large enough to keep a disk busy.
const PIECE: usize = 256 << 10;

/// Where artifacts are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A folder, or `s3://bucket/prefix`; empty: `artifacts` in the data directory. An S3 store takes its key,
    /// region and endpoint from the `AWS_…` variables that every S3 tool reads.
    pub location: String,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Last component of the path.
    pub name: String,
    /// Bytes; `None` is a directory.
    pub size: Option<u64>,
}

/// A file that was found. Size, time and tag are of what `read` gives, whatever happens to the name meanwhile
/// (of a bucket: as far as the bucket holds on to it).
#[derive(Debug)]
pub struct Artifact {
    pub size: u64,
    pub modified: SystemTime,
    /// Another tag, another content; without quotes.
    pub etag: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(std::fs::File),
    Object(bucket::Object),
}

impl Artifact {
    /// The bytes of a range that lies within the size.
    pub fn read(self, range: Range<u64>) -> Content {
        match self.source {
            Source::File(file) => folder::read(file, range),
            Source::Object(object) => object.read(range),
        }
    }
}

/// An upload in parts that have come so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// As `put_part` gave it.
    pub etag: String,
}

/// The one place where artifacts are kept.
#[derive(Debug, Clone)]
pub struct Artifacts {
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Folder(Arc<Folder>),
    Bucket(Arc<Bucket>),
}

impl Artifacts {
    /// Opens the place that is configured; a folder is made when it is missing. `data` is the data directory.
    pub fn open(config: &Config, data: &Path) -> Result<Self, Error> {
        let backend = match config.location.as_str() {
            location if location.starts_with("s3://") => Backend::Bucket(Arc::new(Bucket::open(location)?)),
            location if location.contains("://") => {
                return Err(Error::invalid(format!(
                    "artifacts.location: expected a folder or s3://bucket/prefix, found {location:?}"
                )));
            }
            "" => Backend::Folder(Arc::new(Folder::open(&data.join("artifacts"))?)),
            folder => Backend::Folder(Arc::new(Folder::open(&PathBuf::from(folder))?)),
        };
        Ok(Self { backend })
    }

    /// Keeps a file; what was there under that name is replaced in one step, at the end. An error in the
    /// content leaves nothing behind.
    pub async fn put(&self, path: &ArtifactPath, content: Content) -> Result<u64, Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.put(path, content).await,
            Backend::Bucket(bucket) => bucket.put(path, content).await,
        }
    }

    pub async fn find(&self, path: &ArtifactPath) -> Result<Artifact, Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.find(path).await,
            Backend::Bucket(bucket) => bucket.find(path).await,
        }
    }

    /// What is in a directory, by name; nothing when it is missing or a file. `None` is the root.
    pub async fn list(&self, directory: Option<&ArtifactPath>) -> Result<Vec<Entry>, Error> {
        let mut entries = match &self.backend {
            Backend::Folder(folder) => folder.list(directory).await,
            Backend::Bucket(bucket) => bucket.list(directory).await,
        }?;
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    /// Takes away a file, or a directory with all that is in it; nothing when it is not there.
    pub async fn delete(&self, path: &ArtifactPath) -> Result<(), Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.delete(path).await,
            Backend::Bucket(bucket) => bucket.delete(path).await,
        }
    }

    /// Begins an upload in parts and gives its id.
    pub async fn begin(&self, path: &ArtifactPath) -> Result<String, Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.begin(path).await,
            Backend::Bucket(bucket) => bucket.begin(path).await,
        }
    }

    /// Takes part `number` (from 1); a part that comes again replaces itself. Gives the part's tag.
    pub async fn put_part(
        &self,
        path: &ArtifactPath,
        upload: &str,
        number: u32,
        content: Content,
    ) -> Result<String, Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.put_part(path, upload, number, content).await,
            Backend::Bucket(bucket) => bucket.put_part(path, upload, number, content).await,
        }
    }

    /// Makes the file of its parts, in the order of their numbers.
    pub async fn complete(&self, path: &ArtifactPath, upload: &str, parts: &[Part]) -> Result<(), Error> {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| part.number);
        let in_row = parts.iter().zip(1..).all(|(part, number)| part.number == number);
        if parts.is_empty() || !in_row {
            let found: Vec<u32> = parts.iter().map(|part| part.number).collect();
            return Err(Error::invalid(format!(
                "expected the parts from 1 on without a gap, found {found:?}"
            )));
        }
        match &self.backend {
            Backend::Folder(folder) => folder.complete(path, upload, &parts).await,
            Backend::Bucket(bucket) => bucket.complete(path, upload, &parts).await,
        }
    }

    /// Forgets an upload and its parts.
    pub async fn abort(&self, path: &ArtifactPath, upload: &str) -> Result<(), Error> {
        match &self.backend {
            Backend::Folder(folder) => folder.abort(path, upload).await,
            Backend::Bucket(bucket) => bucket.abort(path, upload).await,
        }
    }
}
