//! Any bytes as what a process before left in the journal: replayed, assembled and settled without a panic, and the
//! journal takes and gives back new records behind them.
#![no_main]

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapline::{
    capture::{assemble::Assembler, settle::Settler},
    journal::{Config, Fsync, Journal},
    model::{CallId, UnixNanos, record::Record},
    pricing::PriceTable,
    wire::Limits,
};

fuzz_target!(|segments: Vec<(u16, Vec<u8>)>| {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let folder = directory.path().join("journal");
    fs::create_dir_all(&folder).expect("a folder");
    for (start, bytes) in segments.iter().take(4) {
        fs::write(folder.join(format!("{start:016x}.seg")), bytes).expect("a segment");
    }
    let config = Config { fsync: Fsync::Never, tick: Duration::from_millis(1), ..Config::default() };
    // A segment of another format is refused; anything else is read.
    let Ok((journal, mut reader)) = Journal::open(&config, directory.path(), UnixNanos(1)) else { return };
    let last = Record::Sent { call: CallId([7; 16]), bytes: Bytes::from_static(b"behind all that") };
    assert!(journal.append(last.clone()));
    journal.close();
    let prices = Arc::new(PriceTable::embedded().expect("the table is compiled in"));
    let settler = Settler::new(prices, Limits::default());
    let mut assembler = Assembler::default();
    let mut newest = None;
    loop {
        let entries = reader.next(1 << 20, Duration::from_secs(5)).expect("files of our own");
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            newest = Some(entry.record.clone());
            for mut finished in assembler.take(entry) {
                drop(settler.settle(&mut finished));
            }
        }
    }
    assert_eq!(newest, Some(last));
});
