//! Dictionaries: what bodies of one kind have in common, trained from what is stored and kept with it. A new
//! one gets a new id; bytes name the one they were packed with, so old and new stand side by side.

use rusqlite::{Connection, OptionalExtension, params};

use super::{DictionaryStats, packing};
use crate::model::{Error, UnixNanos};

/// What a dictionary is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Messages, prompts, tools, texts: what is kept by its hash.
    Content,
    /// What is left of a response without its texts.
    Response,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Content, Self::Response];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Response => "response",
        }
    }
}

/// The largest dictionary, and the share of the samples that one may have: a small store must not pay more for
/// it than it saves.
const LARGEST: usize = 112 << 10;
const SMALLEST: usize = 2 << 10;
const SHARE: usize = 60;
/// Fewer samples teach nothing.
pub(super) const FEWEST_SAMPLES: usize = 200;
/// One sample in so many is kept out of the training to measure what it is worth.
const HELD_OUT: usize = 8;
/// A dictionary is kept when it saves at least this share of what its samples take without it.
const WORTH: f64 = 0.05;

const NEWEST: &str = "SELECT id, body FROM dictionaries WHERE kind = ?1 ORDER BY id DESC LIMIT 1";

pub(super) fn newest(connection: &Connection, kind: Kind) -> Result<Option<(i64, Vec<u8>)>, Error> {
    let newest: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(NEWEST)?
        .query_row([kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // An empty one says that there is none.
    Ok(newest.filter(|(_, body)| !body.is_empty()))
}

const BODY: &str = "SELECT body FROM dictionaries WHERE id = ?1";

pub(super) fn body(connection: &Connection, id: i64) -> Result<Vec<u8>, Error> {
    connection
        .prepare_cached(BODY)?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::damaged(format!("expected dictionary {id} in the store, found none")))
}

/// A dictionary as training found it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trained {
    pub(super) body: Vec<u8>,
    pub(super) samples: usize,
    /// Of the samples that were kept out of the training: bytes packed without it and with it.
    pub(super) without: usize,
    pub(super) with: usize,
}

impl Trained {
    /// Whether it saves enough to be used.
    pub(super) fn pays(&self) -> bool {
        (self.with as f64) < self.without as f64 * (1.0 - WORTH)
    }
}

/// Trains on samples; `None` where there are too few.
pub(super) fn train(samples: &[Vec<u8>], level: i32) -> Result<Option<Trained>, Error> {
    if samples.len() < FEWEST_SAMPLES {
        return Ok(None);
    }
    let (mut continuous, mut sizes, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for (number, sample) in samples.iter().enumerate() {
        if number % HELD_OUT == 0 {
            held.push(sample);
        } else {
            continuous.extend_from_slice(sample);
            sizes.push(sample.len());
        }
    }
    let size = (continuous.len() / SHARE).clamp(SMALLEST, LARGEST);
    // Training refuses samples that have nothing in common, which is an answer too.
    let Ok(body) = zstd::dict::from_continuous(&continuous, &sizes, size) else { return Ok(None) };
    let mut plain = packing::measuring(level, None)?;
    let mut trained = packing::measuring(level, Some(&body))?;
    let mut measured = Trained { body, samples: samples.len(), without: 0, with: 0 };
    for sample in held {
        let packed = |compressor: &mut zstd::bulk::Compressor<'static>| {
            compressor.compress(sample).map_or(sample.len(), |packed| packed.len().min(sample.len()))
        };
        measured.without += packed(&mut plain);
        measured.with += packed(&mut trained);
    }
    Ok(Some(measured))
}

const INSERT: &str = "INSERT INTO dictionaries (kind, trained_at, samples, body) VALUES (?1, ?2, ?3, ?4)";

/// Keeps a dictionary, which is then the newest of its kind.
pub(super) fn keep(
    connection: &Connection,
    kind: Kind,
    trained: &Trained,
    at: UnixNanos,
) -> Result<i64, Error> {
    let samples = trained.samples as i64;
    connection.prepare_cached(INSERT)?.execute(params![kind.as_str(), at.0, samples, trained.body])?;
    Ok(connection.last_insert_rowid())
}

const ALL: &str =
    "SELECT id, kind, trained_at, samples, length(body) FROM dictionaries WHERE length(body) > 0 ORDER BY id";

pub(super) fn all(connection: &Connection) -> Result<Vec<DictionaryStats>, Error> {
    let mut statement = connection.prepare_cached(ALL)?;
    let rows = statement.query_map([], |row| {
        Ok(DictionaryStats {
            id: row.get(0)?,
            kind: row.get(1)?,
            trained_at: UnixNanos(row.get(2)?),
            samples: row.get(3)?,
            bytes: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const RETIRE: &str = "INSERT INTO dictionaries (kind, trained_at, samples, body) VALUES (?1, 0, 0, x'')";

/// Puts an empty dictionary in place of each kind's newest: none is used until the next training.
pub(super) fn retire(connection: &Connection) -> Result<(), Error> {
    for kind in Kind::ALL {
        connection.prepare_cached(RETIRE)?.execute([kind.as_str()])?;
    }
    Ok(())
}
