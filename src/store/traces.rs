//! What erased bytes have in common with dictionaries. A dictionary is made of stretches of what was stored; one
//! that holds a stretch which only erased bytes had must go.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{
    dictionaries::{self, Kind},
    packing::Unpacker,
    payloads, training,
};
use crate::model::{Error, error::sound};

/// Bytes of a stretch: shorter ones are in anything.
const STRETCH: usize = 12;

/// Stretches of the dictionaries, and those of them that erased bytes had.
#[derive(Debug, Default)]
pub struct Traces {
    known: HashSet<[u8; STRETCH]>,
    found: HashSet<[u8; STRETCH]>,
}

impl Traces {
    pub(super) fn of_dictionaries(connection: &Connection) -> Result<Self, Error> {
        let mut traces = Self::default();
        for dictionary in dictionaries::all(connection)? {
            let body = dictionaries::body(connection, dictionary.id)?;
            traces.known.extend(body.windows(STRETCH).filter_map(|window| window.first_chunk().copied()));
        }
        Ok(traces)
    }

    /// Looks at bytes that go.
    pub(super) fn look(&mut self, bytes: &[u8]) {
        if self.known.is_empty() {
            return;
        }
        for window in bytes.windows(STRETCH).filter_map(|window| window.first_chunk()) {
            if self.known.contains(window) {
                self.found.insert(*window);
            }
        }
    }

    /// Looks at what is packed in a payload itself.
    pub(super) fn payload(&mut self, connection: &Connection, sequence: i64) -> Result<(), Error> {
        if self.known.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        // Of what is damaged as much as can be read.
        sound(payloads::packed_bytes(connection, &mut Unpacker::default(), sequence, &mut bytes))?;
        self.look(&bytes);
        Ok(())
    }

    /// Whether a dictionary has a stretch of erased bytes that nothing which is looked at still has.
    pub(super) fn remain(&mut self, connection: &Connection) -> Result<bool, Error> {
        for kind in Kind::ALL {
            if self.found.is_empty() {
                break;
            }
            for sample in training::samples(connection, kind)? {
                for window in sample.windows(STRETCH).filter_map(|window| window.first_chunk()) {
                    self.found.remove(window);
                }
            }
        }
        Ok(!self.found.is_empty())
    }
}
