//! Artifacts in an S3-compatible bucket. Contents pass through this process in pieces; keys, region and endpoint
//! come from the environment as with every S3 tool.

use std::{ops::Range, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    Error as StoreError, MultipartId, ObjectStore, ObjectStoreExt as _, PutPayload,
    aws::{AmazonS3, AmazonS3Builder},
    buffered::BufWriter,
    multipart::{MultipartStore as _, PartId},
    path::Path as Key,
};

use super::{Artifact, ArtifactPath, Content, Entry, Part, Source};
use crate::model::Error;

/// Piece that goes up at once; S3 takes none under 5 MiB but the last, and 10,000 of them make 80 GiB.
const PIECE: usize = 8 << 20;
/// How many of them are on their way together.
const PIECES_AT_ONCE: usize = 2;
/// Largest part that a client may send at once, since a part is held until the bucket has it.
const LARGEST_PART: usize = 256 << 20;
/// Endpoint as MLflow's own variable names it, for those who move over.
const MLFLOW_ENDPOINT: &str = "MLFLOW_S3_ENDPOINT_URL";

#[derive(Debug)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    /// Without slashes at its ends; may be empty.
    prefix: String,
}

/// An object that was found.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<AmazonS3>,
    key: Key,
}

impl Object {
    pub(super) fn read(self, range: Range<u64>) -> Content {
        // S3 refuses an empty range.
        if range.is_empty() {
            return futures_util::stream::empty().boxed();
        }
        let options = object_store::GetOptions { range: Some(range.into()), ..Default::default() };
        let pieces = async move {
            let found = self.store.get_opts(&self.key, options).await.map_err(std::io::Error::from)?;
            Ok::<_, std::io::Error>(found.into_stream().map_err(std::io::Error::from))
        };
        futures_util::stream::once(pieces).try_flatten().boxed()
    }
}

impl Bucket {
    pub(super) fn open(location: &str) -> Result<Self, Error> {
        let wrong =
            |why: &dyn std::fmt::Display| Error::invalid(format!("artifacts.location {location:?}: {why}"));
        let rest = location.trim_start_matches("s3://");
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong(&"expected s3://bucket or s3://bucket/prefix"));
        }
        // The HTTP client takes the process's TLS provider; the first to install it wins, and that is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Ok(endpoint) = std::env::var(MLFLOW_ENDPOINT) {
            builder = builder.with_endpoint(endpoint);
        }
        // An endpoint of one's own that is named with http:// is meant that way.
        let named = [MLFLOW_ENDPOINT, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        let plain =
            named.iter().filter_map(|name| std::env::var(name).ok()).any(|url| url.starts_with("http:"));
        let store = builder.with_allow_http(plain).build().map_err(|error| wrong(&error))?;
        Ok(Self { store: Arc::new(store), prefix: prefix.trim_matches('/').to_owned() })
    }

    fn key(&self, path: Option<&ArtifactPath>) -> Result<Key, Error> {
        let path = path.map_or("", ArtifactPath::as_str);
        let key = match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        };
        Key::parse(&key).map_err(|error| Error::invalid(format!("artifact path {path:?}: {error}")))
    }

    pub(super) async fn put(&self, path: &ArtifactPath, mut content: Content) -> Result<u64, Error> {
        let key = self.key(Some(path))?;
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.store) as _;
        let mut writer = BufWriter::with_capacity(store, key, PIECE).with_max_concurrency(PIECES_AT_ONCE);
        let mut size = 0;
        while let Some(piece) = content.next().await {
            let put = match piece {
                Ok(piece) => {
                    size += piece.len() as u64;
                    writer.put(piece).await.map_err(|error| failed(error, path))
                }
                Err(error) => {
                    Err(Error::invalid(format!("expected the whole content, found it broken off: {error}")))
                }
            };
            if let Err(error) = put {
                drop(writer.abort().await);
                return Err(error);
            }
        }
        tokio::io::AsyncWriteExt::shutdown(&mut writer)
            .await
            .map_err(|error| Error::busy(format!("the bucket did not take the artifact {path}: {error}")))?;
        Ok(size)
    }

    pub(super) async fn find(&self, path: &ArtifactPath) -> Result<Artifact, Error> {
        let key = self.key(Some(path))?;
        let meta = self.store.head(&key).await.map_err(|error| failed(error, path))?;
        let tag =
            meta.e_tag.unwrap_or_else(|| format!("{:x}-{:x}", meta.last_modified.timestamp(), meta.size));
        Ok(Artifact {
            size: meta.size,
            modified: SystemTime::from(meta.last_modified),
            etag: tag.trim_matches('"').to_owned(),
            source: Source::Object(Object { store: Arc::clone(&self.store), key }),
        })
    }

    pub(super) async fn list(&self, directory: Option<&ArtifactPath>) -> Result<Vec<Entry>, Error> {
        let key = self.key(directory)?;
        let found = self
            .store
            .list_with_delimiter(Some(&key))
            .await
            .map_err(|error| Error::busy(format!("the bucket did not list {key}: {error}")))?;
        let name = |key: &Key| key.filename().unwrap_or_default().to_owned();
        let directories = found.common_prefixes.iter().map(|prefix| Entry { name: name(prefix), size: None });
        let files = found.objects.iter().map(|one| Entry { name: name(&one.location), size: Some(one.size) });
        Ok(directories.chain(files).filter(|entry| !entry.name.is_empty()).collect())
    }

    pub(super) async fn delete(&self, path: &ArtifactPath) -> Result<(), Error> {
        let key = self.key(Some(path))?;
        let below = self.store.list(Some(&key)).map_ok(|one| one.location).boxed();
        // `list` of a prefix gives what is below it, not the object of that very name.
        let own = futures_util::stream::once({
            let key = key.clone();
            async move { Ok(key) }
        });
        let mut deleted = self.store.delete_stream(own.chain(below).boxed());
        while let Some(one) = deleted.next().await {
            match one {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(failed(error, path)),
            }
        }
        Ok(())
    }

    pub(super) async fn begin(&self, path: &ArtifactPath) -> Result<String, Error> {
        self.store.create_multipart(&self.key(Some(path))?).await.map_err(|error| failed(error, path))
    }

    pub(super) async fn put_part(
        &self,
        path: &ArtifactPath,
        upload: &str,
        number: u32,
        mut content: Content,
    ) -> Result<String, Error> {
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut size = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| {
                Error::invalid(format!("expected the whole part, found it broken off: {error}"))
            })?;
            size += piece.len();
            if size > LARGEST_PART {
                return Err(Error::invalid(format!(
                    "expected a part of at most {LARGEST_PART} bytes, found more; send smaller parts"
                )));
            }
            pieces.push(piece);
        }
        let index =
            number.checked_sub(1).ok_or_else(|| Error::invalid("parts are counted from 1, found 0"))?;
        let part = self
            .store
            .put_part(
                &self.key(Some(path))?,
                &MultipartId::from(upload),
                index as usize,
                PutPayload::from_iter(pieces),
            )
            .await
            .map_err(|error| failed(error, path))?;
        Ok(part.content_id)
    }

    pub(super) async fn complete(
        &self,
        path: &ArtifactPath,
        upload: &str,
        parts: &[Part],
    ) -> Result<(), Error> {
        let parts = parts.iter().map(|part| PartId { content_id: part.etag.clone() }).collect();
        self.store
            .complete_multipart(&self.key(Some(path))?, &MultipartId::from(upload), parts)
            .await
            .map_err(|error| failed(error, path))?;
        Ok(())
    }

    pub(super) async fn abort(&self, path: &ArtifactPath, upload: &str) -> Result<(), Error> {
        self.store
            .abort_multipart(&self.key(Some(path))?, &MultipartId::from(upload))
            .await
            .map_err(|error| failed(error, path))
    }
}

fn failed(error: StoreError, path: &ArtifactPath) -> Error {
    match error {
        StoreError::NotFound { .. } => Error::not_found(format!("No such artifact: '{path}'")),
        StoreError::InvalidPath { .. } => Error::invalid(format!("artifact path {path}: {error}")),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Error::internal(format!(
            "the bucket does not let tapline at {path}: {error}; check the AWS_ variables that it was started with"
        )),
        error => Error::busy(format!("the bucket did not serve the artifact {path}: {error}")),
    }
}
