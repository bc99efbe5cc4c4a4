//! Artifacts of a run or model at their source: files below one root, listed with their sizes and read in
//! pieces.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use futures_util::TryStreamExt;
use reqwest::Method;

use super::tracking::Tracking;
use crate::{
    artifacts::{ArtifactPath, Artifacts, Config, Content},
    model::Error,
};

/// Pieces that are read from a disk.
const PIECE: usize = 256 << 10;

#[derive(Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    /// Through the server that has them, below this path.
    Served {
        tracking: Tracking,
        root: String,
    },
    /// In a bucket, below this path.
    Bucket {
        bucket: Artifacts,
        root: String,
    },
    /// Where a server kept them, and nobody said where that is.
    Unknown,
    /// In a place that only its own clients reach: they stay there, and what refers to them goes on doing so.
    Elsewhere,
}

/// A file by its path below the root, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) size: u64,
}

/// The buckets that were opened, by name: a client of one serves all runs.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<String, Artifacts>>);

impl Buckets {
    /// `s3://bucket/path`.
    fn files(&self, uri: &str) -> Result<Files, Error> {
        let rest = uri.trim_start_matches(S3);
        let (name, root) = rest.split_once('/').unwrap_or((rest, ""));
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match opened.entry(name.to_owned()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let config = Config { location: format!("{S3}{name}") };
                // It is in no folder, so it needs none.
                unknown.insert(Artifacts::open(&config, Path::new(""))?).clone()
            }
        };
        Ok(Files::Bucket { bucket, root: root.trim_matches('/').to_owned() })
    }
}

const S3: &str = "s3://";

pub(super) fn is_bucket(uri: &str) -> bool {
    uri.starts_with(S3)
}

impl Files {
    /// What a URI means: `served` is the server to ask for its own, `kept` the folder or bucket where it has them.
    pub(super) fn of(
        uri: &str,
        served: Option<&Tracking>,
        kept: Option<&str>,
        buckets: &Buckets,
    ) -> Result<Self, Error> {
        if is_bucket(uri) {
            return buckets.files(uri);
        }
        if let Some(rest) = uri.strip_prefix("mlflow-artifacts:") {
            // A host may stand before the path.
            let path = match rest.strip_prefix("//") {
                Some(after) => after.split_once('/').map_or("", |(_, path)| path),
                None => rest,
            };
            let root = path.trim_matches('/').to_owned();
            return Ok(match (kept, served) {
                (Some(bucket), _) if is_bucket(bucket) => {
                    buckets.files(&format!("{}/{root}", bucket.trim_end_matches('/')))?
                }
                (Some(folder), _) => Self::Folder(Path::new(folder).join(root)),
                (None, Some(tracking)) => Self::Served { tracking: tracking.clone(), root },
                (None, None) => Self::Unknown,
            });
        }
        Ok(match uri.strip_prefix("file://").or_else(|| (!uri.contains("://")).then_some(uri)) {
            Some(path) if Path::new(path).is_dir() => Self::Folder(PathBuf::from(path)),
            _ => Self::Elsewhere,
        })
    }

    /// Every file, by path.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<File>> {
        let mut found = match self {
            Self::Elsewhere | Self::Unknown => Vec::new(),
            Self::Folder(folder) => {
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || walk(&folder)).await??
            }
            Self::Served { tracking, root } => served(tracking, root).await?,
            Self::Bucket { bucket, root } => in_bucket(bucket, root).await?,
        };
        found.sort();
        Ok(found)
    }

    pub(super) async fn open(&self, file: &File) -> anyhow::Result<Content> {
        match self {
            Self::Elsewhere | Self::Unknown => {
                anyhow::bail!("expected a file that can be read, found one elsewhere")
            }
            Self::Folder(folder) => {
                let path = folder.join(&file.path);
                let opened = tokio::fs::File::open(&path)
                    .await
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                Ok(Box::pin(pieces(opened)))
            }
            Self::Bucket { bucket, root } => {
                let path = format!("{root}/{}", file.path);
                let found = bucket.find(&ArtifactPath::parse(path.trim_start_matches('/'))?).await?;
                let size = found.size;
                Ok(found.read(0..size))
            }
            Self::Served { tracking, root } => {
                let path = format!("/api/2.0/mlflow-artifacts/artifacts/{root}/{}", file.path);
                let response = tracking.send(tracking.request(Method::GET, &path)).await?;
                Ok(Box::pin(response.bytes_stream().map_err(std::io::Error::other)))
            }
        }
    }
}

fn pieces(file: tokio::fs::File) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        match tokio::io::AsyncReadExt::read_buf(&mut file, &mut piece).await? {
            0 => Ok(None),
            _ => Ok(Some((piece.freeze(), file))),
        }
    })
}

/// Files below a folder; links are not followed.
fn walk(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", folder.display())),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                found.push(File { path, size: entry.metadata()?.len() });
            }
        }
    }
    Ok(found)
}

async fn served(tracking: &Tracking, root: &str) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let directory = format!("{root}/{prefix}");
        let request = tracking.request(Method::GET, "/api/2.0/mlflow-artifacts/artifacts");
        let request = request.query(&[("path", directory.trim_end_matches('/'))]);
        let bytes = tracking.send(request).await?.bytes().await?;
        let page: serde_json::Value = serde_json::from_slice(&bytes)?;
        for entry in page["files"].as_array().into_iter().flatten() {
            let Some(name) = entry["path"].as_str() else { continue };
            let path = format!("{prefix}{name}");
            if entry["is_dir"] == true {
                folders.push(format!("{path}/"));
            } else {
                found.push(File { path, size: entry["file_size"].as_u64().unwrap_or(0) });
            }
        }
    }
    Ok(found)
}

async fn in_bucket(bucket: &Artifacts, root: &str) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let directory = format!("{root}/{prefix}");
        let directory = match directory.trim_matches('/') {
            "" => None,
            path => Some(ArtifactPath::parse(path)?),
        };
        for entry in bucket.list(directory.as_ref()).await? {
            let path = format!("{prefix}{}", entry.name);
            match entry.size {
                None => folders.push(format!("{path}/")),
                Some(size) => found.push(File { path, size }),
            }
        }
    }
    Ok(found)
}
