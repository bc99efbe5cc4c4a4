//! A folder of artifacts, used and abused: everything goes through the same door that the faces use.

use std::{fs, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::*;
use crate::model::ErrorCode;

fn opened(data: &Path) -> Artifacts {
    Artifacts::open(&Config::default(), data).unwrap()
}

fn path(text: &str) -> ArtifactPath {
    ArtifactPath::parse(text).unwrap()
}

fn content(pieces: &[&'static [u8]]) -> Content {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    futures_util::stream::iter(pieces).boxed()
}

async fn bytes(artifacts: &Artifacts, name: &str, range: Option<Range<u64>>) -> Vec<u8> {
    let artifact = artifacts.find(&path(name)).await.unwrap();
    let range = range.unwrap_or(0..artifact.size);
    artifact.read(range).try_collect::<Vec<_>>().await.unwrap().concat()
}

async fn names(artifacts: &Artifacts, directory: Option<&str>) -> Vec<String> {
    let directory = directory.map(path);
    let entries = artifacts.list(directory.as_ref()).await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap().path();
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push(entry.display().to_string()),
        }
    }
    found
}

#[tokio::test]
async fn a_file_is_kept_listed_read_in_part_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    assert_eq!(artifacts.put(&path("0/r/artifacts/a/b.txt"), content(&[b"hello ", b"world"])).await, Ok(11));
    artifacts.put(&path("0/r/artifacts/empty"), content(&[])).await.unwrap();

    assert_eq!(bytes(&artifacts, "0/r/artifacts/a/b.txt", None).await, b"hello world");
    assert_eq!(bytes(&artifacts, "0/r/artifacts/a/b.txt", Some(6..9)).await, b"wor");
    assert_eq!(bytes(&artifacts, "0/r/artifacts/empty", None).await, b"");
    let listed = artifacts.list(Some(&path("0/r/artifacts"))).await.unwrap();
    let entry = |name: &str, size| Entry { name: name.to_owned(), size };
    assert_eq!(listed, [entry("a", None), entry("empty", Some(0))]);
    assert_eq!(names(&artifacts, None).await, ["0"], "the incoming are not shown");
    assert!(names(&artifacts, Some("0/r/artifacts/empty")).await.is_empty(), "a file is no directory");
    assert!(names(&artifacts, Some("nowhere")).await.is_empty());

    artifacts.delete(&path("0/r")).await.unwrap();
    let gone = artifacts.find(&path("0/r/artifacts/empty")).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    assert_eq!(artifacts.delete(&path("0/r")).await, Ok(()), "what is gone may go again");
}

#[tokio::test]
async fn a_replaced_file_has_another_tag_and_old_readers_keep_theirs() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    artifacts.put(&path("a"), content(&[b"old"])).await.unwrap();
    let old = artifacts.find(&path("a")).await.unwrap();
    let tag = old.etag.clone();
    artifacts.put(&path("a"), content(&[b"newer"])).await.unwrap();
    assert_ne!(artifacts.find(&path("a")).await.unwrap().etag, tag);
    assert_eq!(old.read(0..3).try_collect::<Vec<_>>().await.unwrap().concat(), b"old");
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing_and_keeps_what_was_there() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    artifacts.put(&path("a/b"), content(&[b"kept"])).await.unwrap();
    let pieces = vec![Ok(Bytes::from_static(b"half")), Err(io::Error::other("the client left"))];
    let broken = futures_util::stream::iter(pieces).boxed();
    assert_eq!(artifacts.put(&path("a/b"), broken).await.unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(bytes(&artifacts, "a/b", None).await, b"kept");

    // A handler that is dropped in the middle, as when its connection closes.
    let endless = futures_util::stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    });
    let target = path("c");
    let put = artifacts.put(&target, endless.boxed());
    drop(tokio::time::timeout(std::time::Duration::from_millis(20), put).await);
    let left = files(data.path());
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn what_a_crash_left_is_taken_away_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    artifacts.begin(&path("a")).await.unwrap();
    assert_eq!(files(data.path()).len(), 1);
    drop(artifacts);
    opened(data.path());
    assert!(files(data.path()).is_empty());
}

#[tokio::test]
async fn a_file_and_a_directory_do_not_take_each_others_place() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    artifacts.put(&path("a/b"), content(&[b"x"])).await.unwrap();
    for wrong in ["a", "a/b/c", "a/b/c/d"] {
        let refused = artifacts.put(&path(wrong), content(&[b"y"])).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Invalid, "{wrong}: {refused}");
    }
    assert_eq!(artifacts.find(&path("a")).await.unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(artifacts.find(&path("a/b/c")).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(bytes(&artifacts, "a/b", None).await, b"x");
    assert_eq!(files(data.path()).len(), 1);
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_file() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = opened(data.path());
    let target = path("m/big.bin");
    let upload = artifacts.begin(&target).await.unwrap();
    // Out of order, and one of them twice.
    let second = artifacts.put_part(&target, &upload, 2, content(&[b"world"])).await.unwrap();
    artifacts.put_part(&target, &upload, 1, content(&[b"gone"])).await.unwrap();
    let first = artifacts.put_part(&target, &upload, 1, content(&[b"hello "])).await.unwrap();
    let parts = [Part { number: 2, etag: second.clone() }, Part { number: 1, etag: first.clone() }];

    let missing = [Part { number: 2, etag: second }];
    assert!(artifacts.complete(&target, &upload, &missing).await.is_err(), "a gap");
    let other = artifacts.complete(&path("other"), &upload, &parts).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::NotFound, "an upload belongs to its path");
    let wrong = [Part { number: 1, etag: "0".to_owned() }];
    assert!(artifacts.complete(&target, &upload, &wrong).await.is_err(), "another part's tag");
    artifacts.complete(&target, &upload, &parts).await.unwrap();
    assert_eq!(bytes(&artifacts, "m/big.bin", None).await, b"hello world");
    assert_eq!(artifacts.abort(&target, &upload).await.unwrap_err().code, ErrorCode::NotFound);

    let upload = artifacts.begin(&target).await.unwrap();
    artifacts.put_part(&target, &upload, 1, content(&[b"x"])).await.unwrap();
    artifacts.abort(&target, &upload).await.unwrap();
    assert!(artifacts.put_part(&target, "../../etc", 1, content(&[b"x"])).await.is_err());
    assert_eq!(files(data.path()).len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn links_pipes_and_devices_are_no_artifacts() {
    let data = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let artifacts = opened(data.path());
    artifacts.put(&path("r/real"), content(&[b"x"])).await.unwrap();
    let root = data.path().join("artifacts/r");
    std::os::unix::fs::symlink(outside.path(), root.join("dir")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("file")).unwrap();
    std::os::unix::fs::symlink("real", root.join("inside")).unwrap();
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());

    assert_eq!(names(&artifacts, Some("r")).await, ["real"]);
    for name in ["r/file", "r/dir/secret", "r/inside", "r/loop", "r/pipe"] {
        let refused = artifacts.find(&path(name)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotFound, "{name}: {refused}");
    }
    assert!(names(&artifacts, Some("r/dir")).await.is_empty());
    for name in ["r/dir/new", "r/dir/sub/new"] {
        let refused = artifacts.put(&path(name), content(&[b"y"])).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Invalid, "{name}: {refused}");
    }
    // A link that is written to is replaced, not followed.
    artifacts.put(&path("r/file"), content(&[b"mine"])).await.unwrap();
    assert_eq!(bytes(&artifacts, "r/file", None).await, b"mine");
    artifacts.delete(&path("r/dir")).await.unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(files(outside.path()).len(), 1);
}

/// One side swaps a directory for a link to the outside and back, the other reads and writes through it.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_for_a_directory_does_not_lead_outside() {
    let data = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "secret").unwrap();
    let artifacts = opened(data.path());
    artifacts.put(&path("d/f"), content(&[b"mine"])).await.unwrap();
    let root = data.path().join("artifacts");
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (done, target) = (Arc::clone(&done), outside.path().to_owned());
        std::thread::spawn(move || {
            std::os::unix::fs::symlink(&target, root.join("link")).unwrap();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(root.join("d"), root.join("real")).unwrap();
                fs::rename(root.join("link"), root.join("d")).unwrap();
                fs::rename(root.join("d"), root.join("link")).unwrap();
                fs::rename(root.join("real"), root.join("d")).unwrap();
            }
        })
    };
    for round in 0..500 {
        if let Ok(found) = artifacts.find(&path("d/f")).await {
            let size = found.size;
            let read = found.read(0..size).try_collect::<Vec<_>>().await.unwrap().concat();
            assert_eq!(read, b"mine");
        }
        // While `d` is away a directory of that name would stop the swapping.
        drop(artifacts.list(Some(&path("d"))).await);
        drop(artifacts.find(&path(&format!("d/{round}"))).await);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(files(outside.path()).len(), 1);
}

#[test]
fn a_location_that_is_none_says_so() {
    let data = tempfile::tempdir().unwrap();
    for location in ["ftp://host/x", "s3://", "s3:///prefix"] {
        let config = Config { location: location.to_owned() };
        let refused = Artifacts::open(&config, data.path()).unwrap_err();
        assert!(refused.message.contains(location), "{refused}");
    }
    fs::write(data.path().join("file"), "").unwrap();
    let config = Config { location: data.path().join("file").display().to_string() };
    assert!(Artifacts::open(&config, data.path()).is_err());
}
