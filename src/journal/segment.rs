//! Segment files: names, headers, what is found in a directory at the start, and cutting a torn end.
//!
//! A segment begins with 28 bytes, integers little-endian: magic, format version u32, mark u32, start
//! position u64, crc32 u32 of those before. Positions count the bytes behind the headers only, so one
//! segment ends where the next starts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    frame::{self, HEAD},
    scan::Scan,
};
use crate::model::Error;

pub(super) const HEADER: u64 = 28;
const MAGIC: [u8; 8] = *b"TAPLJRNL";
const VERSION: u32 = 1;
const SUFFIX: &str = ".seg";
/// A name that says more than this is not ours: no disk holds so much.
const START_MAX: u64 = 1 << 62;

/// Options for a file that only its owner may read: it holds prompts and answers.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

pub(super) fn path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{start:016x}{SUFFIX}"))
}

/// Creates the segment that starts at `start`, in place of an empty one of that name. What could not be
/// begun is not left behind.
pub(super) fn create(directory: &Path, start: u64, mark: u32, sync: bool) -> io::Result<File> {
    private_directory(directory)?;
    let path = path(directory, start);
    // Emptied by its length, not by `truncate`: that cannot be combined with appending.
    let mut file = private_file().append(true).create(true).open(&path)?;
    let begin = |file: &mut File| {
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        file.write_all(&header(start, mark))?;
        if sync {
            file.sync_all()?;
            sync_directory(directory)?;
        }
        Ok(())
    };
    match begin(&mut file) {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(fs::remove_file(&path));
            Err(error)
        }
    }
}

/// Makes new names survive a loss of power. Elsewhere than on Unix a directory cannot be synced.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn header(start: u64, mark: u32) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&mark.to_le_bytes());
    header[16..24].copy_from_slice(&start.to_le_bytes());
    let checksum = crc32fast::hash(&header[..24]);
    header[24..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// A segment as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file_bytes: u64,
}

/// All segments by start. Only names and lengths are looked at; a segment that a newer tapline wrote is an
/// error, because cutting or skipping what we cannot read would destroy it.
pub(super) fn list(directory: &Path) -> Result<Vec<Found>, Error> {
    let failed = |error: io::Error| {
        Error::internal(format!("cannot read the journal directory {}: {error}", directory.display()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(start) = entry.file_name().to_str().and_then(start_of) else { continue };
        let metadata = entry.metadata().map_err(failed)?;
        if !metadata.is_file() {
            continue;
        }
        if let Ok(mut file) = File::open(entry.path())
            && let Ok(Head::Version(version)) = read_header(&mut file)
        {
            return Err(Error::conflict(format!(
                "expected journal segments of format {VERSION}, found format {version} in {}; start the \
                 newer tapline that wrote it, or move the journal directory away",
                entry.path().display()
            )));
        }
        let file_bytes = metadata.len();
        found.push(Found { start, end: start + file_bytes.saturating_sub(HEADER), file_bytes });
    }
    found.sort_unstable_by_key(|segment| segment.start);
    // What a process wrote beyond its last good position, and could not cut, lies behind the next start.
    for at in 1..found.len() {
        let next = found[at].start;
        found[at - 1].end = found[at - 1].end.min(next);
    }
    Ok(found)
}

fn start_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|start| *start < START_MAX)
}

enum Head {
    Mark(u32),
    /// Intact, but of another format.
    Version(u32),
    Damaged,
}

fn read_header(file: &mut File) -> io::Result<Head> {
    let mut bytes = Vec::with_capacity(HEADER as usize);
    file.rewind()?;
    (&*file).take(HEADER).read_to_end(&mut bytes)?;
    let field = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let whole = bytes.len() as u64 == HEADER
        && bytes.starts_with(&MAGIC)
        && bytes.get(..24).map(crc32fast::hash) == field(24);
    Ok(match (whole, field(8), field(12)) {
        (true, Some(VERSION), Some(mark)) => Head::Mark(mark),
        (true, Some(version), _) => Head::Version(version),
        _ => Head::Damaged,
    })
}

/// Opens a segment for reading from `offset` on. A damaged header costs nothing as long as the first frame
/// is whole: the mark stands there too.
pub(super) fn open(directory: &Path, start: u64, offset: u64) -> io::Result<Scan> {
    let mut file = File::open(path(directory, start))?;
    let mark = match read_header(&mut file)? {
        Head::Mark(mark) => mark,
        Head::Version(_) | Head::Damaged => {
            let mut head = Vec::with_capacity(HEAD);
            file.seek(SeekFrom::Start(HEADER))?;
            (&file).take(HEAD as u64).read_to_end(&mut head)?;
            let mark = head.first_chunk().map_or(0, |mark| u32::from_le_bytes(*mark));
            let length = frame::announced(mark, &head).unwrap_or(0);
            file.seek(SeekFrom::Start(HEADER))?;
            let mut first = Vec::new();
            (&file).take(length as u64).read_to_end(&mut first)?;
            // 0 marks nothing: nothing in this segment can be told from noise.
            if length > 0 && first.len() == length && frame::intact(&first) { mark } else { 0 }
        }
    };
    Ok(Scan::new(file, mark, offset))
}

/// Cuts off what stands behind the last intact frame of the newest segment (a process died while it wrote,
/// or the machine did) and returns how many bytes that were. Nothing is left of a segment without frames.
pub(super) fn cut_torn_end(directory: &Path, segment: &mut Found) -> io::Result<u64> {
    let mut scan = open(directory, segment.start, HEADER)?;
    scan.set_limit(segment.file_bytes);
    let mut end = HEADER;
    while scan.next()?.is_some() {
        end = scan.offset();
    }
    let path = path(directory, segment.start);
    // An empty segment is normal; a header that is not whole is not.
    let torn = if segment.file_bytes < HEADER { segment.file_bytes } else { segment.file_bytes - end };
    if end == HEADER {
        fs::remove_file(path)?;
        segment.file_bytes = 0;
    } else if torn > 0 {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()?;
        segment.file_bytes = end;
    }
    segment.end = segment.start + (end - HEADER);
    Ok(torn)
}

/// Whether an open segment still has its name: behind a removed one no reader and no later process finds
/// what is written. Elsewhere than on Unix an open file cannot be removed.
pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0);
    #[cfg(not(unix))]
    Ok(true)
}

/// Deletes a segment; one that is gone already is deleted.
pub(super) fn delete(directory: &Path, start: u64) -> io::Result<()> {
    match fs::remove_file(path(directory, start)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
