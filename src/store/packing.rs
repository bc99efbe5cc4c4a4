//! Bytes made small: as they are, by zstd, or by zstd with a dictionary that the store was trained with. Packed
//! bytes name their own codec, so that each can be read whatever is used for new ones. Knows no table but the
//! dictionaries'.

use std::{collections::HashMap, sync::Arc};

use rusqlite::Connection;

use super::{
    dictionaries::{self, Kind},
    numbers::{pull_id, push, take},
};
use crate::model::Error;

/// As it is.
const RAW: u8 = 0;
/// A zstd frame without its magic number, which all have in common.
const ZSTD: u8 = 1;
/// The dictionary's id, then as `ZSTD`.
const TRAINED: u8 = 2;

/// Below this many bytes zstd's frame costs more than it saves; with a dictionary it pays sooner.
const SMALLEST_ZSTD: usize = 96;
const SMALLEST_TRAINED: usize = 24;

/// Room for a frame that is kept between two, bytes.
const LARGEST_FRAME: usize = 1 << 20;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

type Compressor = zstd::bulk::Compressor<'static>;
type Decompressor = zstd::bulk::Decompressor<'static>;

/// Packs new bytes; one thread's own.
pub(super) struct Packer {
    level: i32,
    plain: Compressor,
    trained: HashMap<Kind, (i64, Compressor)>,
    frame: Vec<u8>,
}

impl Packer {
    pub(super) fn new(level: i32) -> Result<Self, Error> {
        Ok(Self { level, plain: compressor(level, None)?, trained: HashMap::new(), frame: Vec::new() })
    }

    /// Takes the newest dictionary of each kind into use.
    pub(super) fn use_newest(&mut self, connection: &Connection) -> Result<(), Error> {
        self.trained.clear();
        for kind in Kind::ALL {
            if let Some((id, dictionary)) = dictionaries::newest(connection, kind)? {
                self.trained.insert(kind, (id, compressor(self.level, Some(&dictionary))?));
            }
        }
        Ok(())
    }

    /// The dictionary that is in use for a kind.
    pub(super) fn dictionary(&self, kind: Kind) -> Option<i64> {
        self.trained.get(&kind).map(|(id, _)| *id)
    }

    /// Appends the packed bytes to `out`.
    pub(super) fn pack(&mut self, kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!("expected to compress {} bytes, found: {error}", bytes.len()))
        };
        let before = out.len();
        let compressor = match self.trained.get_mut(&kind) {
            Some((id, compressor)) if bytes.len() >= SMALLEST_TRAINED => {
                out.push(TRAINED);
                push(out, *id as u64);
                Some(compressor)
            }
            _ if bytes.len() >= SMALLEST_ZSTD => {
                out.push(ZSTD);
                Some(&mut self.plain)
            }
            _ => None,
        };
        if let Some(compressor) = compressor {
            compress(compressor, bytes, &mut self.frame).map_err(failed)?;
            out.extend_from_slice(frame(&self.frame)?);
        }
        if out.len() == before || out.len() - before > bytes.len() {
            out.truncate(before);
            out.push(RAW);
            out.extend_from_slice(bytes);
        }
        Ok(())
    }
}

fn compress(compressor: &mut Compressor, bytes: &[u8], frame: &mut Vec<u8>) -> std::io::Result<()> {
    if frame.capacity() > LARGEST_FRAME {
        *frame = Vec::new();
    }
    frame.clear();
    frame.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
    compressor.compress_to_buffer(bytes, frame)?;
    Ok(())
}

fn frame(packed: &[u8]) -> Result<&[u8], Error> {
    packed
        .strip_prefix(&MAGIC)
        .ok_or_else(|| Error::internal("expected a frame with zstd's magic number, found another"))
}

fn compressor(level: i32, dictionary: Option<&[u8]>) -> Result<Compressor, Error> {
    use zstd::zstd_safe::CParameter;
    let made = match dictionary {
        None => Compressor::new(level),
        Some(dictionary) => Compressor::with_dictionary(level, dictionary),
    };
    // Sizes and dictionaries are told beside the frame.
    let set = made.and_then(|mut compressor| {
        compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
        compressor.set_parameter(CParameter::DictIdFlag(false))?;
        Ok(compressor)
    });
    set.map_err(|error| {
        Error::internal(format!("expected a zstd compressor of level {level}, found: {error}"))
    })
}

/// A compressor as the training measures one.
pub(super) fn measuring(level: i32, dictionary: Option<&[u8]>) -> Result<Compressor, Error> {
    compressor(level, dictionary)
}

/// The dictionary that packed bytes need.
pub(super) fn dictionary_of(mut packed: &[u8]) -> Option<i64> {
    (take(&mut packed) == Some(TRAINED)).then(|| pull_id(&mut packed)).flatten()
}

/// Unpacks what one reading needs; dictionaries are loaded as they are met, and what many payloads share is kept.
#[derive(Default)]
pub(super) struct Unpacker {
    plain: Option<Decompressor>,
    trained: HashMap<i64, Decompressor>,
    framed: Vec<u8>,
    shared: HashMap<i64, Arc<[u8]>>,
}

/// Shared contents that a reading keeps, and the largest of them in bytes.
const MOST_SHARED: usize = 256;
const LARGEST_SHARED: usize = 64 << 10;

impl Unpacker {
    pub(super) fn shared(&self, content: i64) -> Option<Arc<[u8]>> {
        self.shared.get(&content).map(Arc::clone)
    }

    /// Keeps a content that is likely asked for again in this reading.
    pub(super) fn share(&mut self, content: i64, bytes: &Arc<[u8]>) {
        if bytes.len() <= LARGEST_SHARED && self.shared.len() < MOST_SHARED {
            self.shared.insert(content, Arc::clone(bytes));
        }
    }

    /// Appends to `out` the `size` bytes that were packed.
    pub(super) fn unpack(
        &mut self,
        connection: &Connection,
        packed: &[u8],
        size: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let damaged = |found: &dyn std::fmt::Display| {
            Error::damaged(format!("expected {size} packed bytes, found {found}"))
        };
        let mut input = packed;
        let decompressor = match take(&mut input) {
            Some(RAW) if input.len() == size => {
                out.extend_from_slice(input);
                return Ok(());
            }
            Some(ZSTD) => match &mut self.plain {
                Some(plain) => plain,
                none => none.insert(Decompressor::new().map_err(|error| damaged(&error))?),
            },
            Some(TRAINED) => {
                let id = pull_id(&mut input).ok_or_else(|| damaged(&"damage"))?;
                match self.trained.entry(id) {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(new) => {
                        let dictionary = dictionaries::body(connection, id)?;
                        new.insert(
                            Decompressor::with_dictionary(&dictionary).map_err(|error| damaged(&error))?,
                        )
                    }
                }
            }
            _ => return Err(damaged(&"damage")),
        };
        self.framed.clear();
        self.framed.extend_from_slice(&MAGIC);
        self.framed.extend_from_slice(input);
        let bytes = decompressor.decompress(&self.framed, size).map_err(|error| damaged(&error))?;
        if bytes.len() != size {
            return Err(damaged(&bytes.len()));
        }
        out.extend_from_slice(&bytes);
        Ok(())
    }
}
