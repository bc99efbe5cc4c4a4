//! Files that a crash or a bad disk left.

use proptest::prelude::*;

use super::*;
use crate::journal::segment::HEADER;

/// Where each frame of `all` lies in the segment file.
fn frames(all: &[Record]) -> Vec<std::ops::Range<usize>> {
    let mut at = HEADER as usize;
    all.iter()
        .map(|record| {
            let start = at;
            at += Frames::of(1, record.clone()).unwrap().length() as usize;
            start..at
        })
        .collect()
}

/// A directory whose only segment holds `bytes`.
fn only(path: &Path, bytes: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("journal")).unwrap();
    fs::write(directory.path().join("journal").join(path.file_name().unwrap()), bytes).unwrap();
    directory
}

#[test]
fn inv4_a_torn_end_costs_only_the_torn_frame() {
    let source = tempfile::tempdir().unwrap();
    let all: Vec<_> = [opened(1), answered(1), received(1, &b"data: 1\n\n"[..])].into();
    let path = written(source.path(), &all);
    let bytes = fs::read(&path).unwrap();
    let last = frames(&all).pop().unwrap();
    assert_eq!(last.end, bytes.len());
    for cut in last.clone() {
        let torn = only(&path, &bytes[..cut]);
        let (found, stats) = recover(torn.path());
        assert_eq!(found, all[..2], "cut at {cut}");
        assert_eq!(stats.torn_bytes, (cut - last.start) as u64);
        assert_eq!(stats.corrupt_frames, 0);
        // What was cut does not come back as damage at the next start.
        assert_eq!(recover(torn.path()).1.torn_bytes, 0);
    }
}

#[test]
fn a_segment_that_was_only_begun_is_begun_again() {
    let source = tempfile::tempdir().unwrap();
    let path = written(source.path(), &a_call(1));
    let bytes = fs::read(&path).unwrap();
    for length in 0..=HEADER as usize {
        let directory = only(&path, &bytes[..length]);
        let (found, stats) = recover(directory.path());
        assert_eq!(found, [], "{length} bytes of a header");
        assert_eq!(stats.torn_bytes, (length % HEADER as usize) as u64);
        assert_eq!(written(directory.path(), &a_call(2)), segments(directory.path())[0]);
        assert_eq!(recover(directory.path()).0, a_call(2));
    }
}

#[test]
fn a_flipped_bit_costs_only_its_frame() {
    let source = tempfile::tempdir().unwrap();
    let all = a_call(1);
    let path = written(source.path(), &all);
    let bytes = fs::read(&path).unwrap();
    for (n, frame) in frames(&all).into_iter().enumerate() {
        let mut expected = all.clone();
        expected.remove(n);
        for at in frame {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << (at % 8);
            let directory = only(&path, &bent);
            let (found, stats) = recover(directory.path());
            assert_eq!(found, expected, "bit of byte {at}, frame {n}");
            let last = n == all.len() - 1;
            assert_eq!(stats.corrupt_frames, u64::from(!last));
            assert_eq!(stats.torn_bytes > 0, last);
        }
    }
}

#[test]
fn a_damaged_header_costs_nothing() {
    let source = tempfile::tempdir().unwrap();
    let path = written(source.path(), &a_call(1));
    let bytes = fs::read(&path).unwrap();
    for at in 0..HEADER as usize {
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        let (found, stats) = recover(only(&path, &bent).path());
        assert_eq!(found, a_call(1), "header byte {at}");
        assert_eq!(stats.torn_bytes, 0);
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let source = tempfile::tempdir().unwrap();
    let path = written(source.path(), &a_call(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
    let directory = only(&path, &bytes);
    let error = Journal::open(&config(), directory.path(), UnixNanos(0)).unwrap_err();
    assert!(error.message.contains("found format 2"), "{error}");
    assert_eq!(fs::read(segments(directory.path()).pop().unwrap()).unwrap(), bytes);
}

#[test]
fn damage_in_an_old_segment_is_skipped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    // Written at the close only: full blocks, seven frames to a segment.
    let config = Config { segment_bytes: 1_000, tick: Duration::from_secs(3_600), ..config() };
    let all: Vec<_> = (0..40).map(|n| sent(n, vec![n; 100])).collect();
    let (journal, _) = open(&config, directory.path());
    all.iter().for_each(|record| assert!(journal.append(record.clone())));
    journal.close();
    let paths = segments(directory.path());
    assert!(paths.len() > 4);
    let held = |path: &Path| (fs::metadata(path).unwrap().len() - HEADER) as usize / (29 + 100);
    // One segment gone, one cut short, one with a hole of zeroes from its second frame to its last.
    let gone = held(&paths[1]);
    fs::remove_file(&paths[1]).unwrap();
    let short = fs::read(&paths[2]).unwrap();
    fs::write(&paths[2], &short[..short.len() - 1]).unwrap();
    let mut holed = fs::read(&paths[3]).unwrap();
    let hole = HEADER as usize + 129..holed.len() - 129;
    holed[hole.clone()].fill(0);
    fs::write(&paths[3], holed).unwrap();
    let (found, stats) = recover(directory.path());
    assert_eq!(found.len(), all.len() - gone - 1 - hole.len() / 129);
    assert!(found.iter().all(|record| all.contains(record)));
    assert!(stats.corrupt_frames >= 3, "{stats:?}");
}

#[test]
fn bytes_of_a_client_cannot_pass_for_frames() {
    let directory = tempfile::tempdir().unwrap();
    // A whole frame as a client could build it: everything but the mark, which it has to guess.
    let forged = Frames::of(0x5eed_5eed, closed(3)).unwrap().first;
    let body = [forged.head(), &forged.payload].concat();
    let all = [opened(1), sent(1, body), closed(1)];
    let path = written(directory.path(), &all);
    let mut bytes = fs::read(&path).unwrap();
    bytes[frames(&all)[1].start + 13] ^= 1;
    assert_eq!(recover(only(&path, &bytes).path()).0, [opened(1), closed(1)]);
}

#[test]
fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    fs::create_dir_all(journal.join("0000000000000007.seg")).unwrap();
    for name in ["note.txt", "x.seg", "ffffffffffffffff.seg", "00.seg"] {
        fs::write(journal.join(name), "mine").unwrap();
    }
    written(directory.path(), &a_call(1));
    assert_eq!(recover(directory.path()).0, a_call(1));
    for name in ["note.txt", "x.seg", "ffffffffffffffff.seg", "00.seg"] {
        assert_eq!(fs::read(journal.join(name)).unwrap(), b"mine");
    }
}

/// Frames and noise in any mixture, cut anywhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let frame = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(good, bytes)| {
        let mark = if good { 0x0102_0304 } else { 5 };
        let frame = Frames::of(mark, sent(1, bytes)).unwrap().first;
        [frame.head(), &frame.payload].concat()
    });
    let mark = Just(0x0102_0304_u32.to_le_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..60);
    prop::collection::vec(prop_oneof![3 => frame, 1 => mark, 2 => noise], 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_as_segments_are_read_without_panic_and_written_behind(
        first in prop::collection::vec(any::<u8>(), 0..200),
        second in pieces(),
        headed in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        segment::create(&journal, 100, 0x0102_0304, false).unwrap();
        let path = segment::path(&journal, 100);
        let mut bytes = if headed { fs::read(&path).unwrap() } else { Vec::new() };
        bytes.extend_from_slice(&second);
        bytes.truncate(cut.index(bytes.len() + 1));
        fs::write(&path, &bytes).unwrap();
        fs::write(segment::path(&journal, 50), &first).unwrap();
        let (journal, mut reader) = open(&config(), directory.path());
        prop_assert!(journal.append(closed(9)));
        journal.close();
        let entries = drain(&mut reader);
        prop_assert!(entries.windows(2).all(|pair| pair[0].end <= pair[1].start));
        prop_assert_eq!(&entries.last().unwrap().record, &closed(9));
    }
}
