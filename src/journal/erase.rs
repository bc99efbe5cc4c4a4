//! Erasing calls from segments that still stand: their frames keep their place and length, so that everything
//! around them is read as before, and say nothing any more.

use std::{
    collections::HashSet,
    fs::OpenOptions,
    io::{self, Seek, SeekFrom, Write},
};

use super::{
    Shared, frame,
    segment::{self, HEADER},
};
use crate::model::CallId;

/// Overwrites the frames of these calls in every segment, as far as it is written and was read; returns how many
/// that were. A call that is still open goes on behind that place: erase what has ended.
pub(super) fn erase(shared: &Shared, calls: &HashSet<CallId>) -> io::Result<u64> {
    let (segments, read) = {
        let state = shared.ledger.lock();
        (state.segments.iter().copied().collect::<Vec<_>>(), state.read)
    };
    let mut erased = 0;
    for found in segments {
        let end = found.end.min(read);
        if end <= found.start {
            continue;
        }
        let mut scan = match segment::open(&shared.directory, found.start, HEADER) {
            // Released meanwhile, with all that was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        scan.set_limit(HEADER + (end - found.start));
        let mut file = None;
        while let Some(range) = scan.next()? {
            let bytes = scan.bytes(range);
            if !frame::call(bytes).is_some_and(|call| calls.contains(&call)) {
                continue;
            }
            let (at, blank) = (scan.offset() - bytes.len() as u64, frame::erased(bytes));
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(
                    OpenOptions::new().write(true).open(segment::path(&shared.directory, found.start))?,
                ),
            };
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&blank)?;
            erased += 1;
        }
        if let Some(file) = file {
            file.sync_all()?;
        }
    }
    Ok(erased)
}
