//! The linker's index over the store: durable where a conversation may go on after weeks (its answered prefix,
//! its response id), in memory where evidence is only good for a while.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{is_inferred, named, recent, recent::Recent};
use crate::{
    chain::{Candidate, Identity, Known, Quoted, hash},
    model::{Error, UnixNanos, lineage::LinkKind},
    store::ids,
};

/// Calls that are weighed against each other at most.
const MOST: usize = 32;

pub(super) struct StoreKnown<'a> {
    pub(super) connection: &'a Connection,
    pub(super) recent: &'a Recent,
}

const ANSWERED: &str = "SELECT sequence FROM links WHERE answered = ?1 ORDER BY sequence DESC LIMIT ?2";
const RESPONDED: &str = "SELECT sequence FROM links WHERE responded = ?1 ORDER BY sequence DESC LIMIT ?2";

impl StoreKnown<'_> {
    fn indexed(&self, statement: &str, key: u64) -> Result<Vec<i64>, Error> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let found = statement.query_map([key as i64, MOST as i64], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn candidates(&self, sequences: impl IntoIterator<Item = i64>) -> Result<Vec<Candidate>, Error> {
        let found = sequences.into_iter().take(MOST).map(|sequence| candidate(self.connection, sequence));
        found.filter_map(Result::transpose).collect()
    }
}

impl Known for StoreKnown<'_> {
    type Error = Error;

    fn answered(&mut self, prefix: u64) -> Result<Vec<Candidate>, Error> {
        let mut found = self.indexed(ANSWERED, prefix)?;
        // Further alternatives of an answer.
        for sequence in self.recent.get(recent::alternative(prefix)) {
            if !found.contains(&sequence) {
                found.push(sequence);
            }
        }
        self.candidates(found)
    }

    fn asked(&mut self, prefix: u64) -> Result<Vec<Candidate>, Error> {
        self.candidates(self.recent.get(recent::asked(prefix)))
    }

    fn gave(&mut self, answer: u64) -> Result<Vec<Candidate>, Error> {
        self.candidates(self.recent.get(recent::gave(answer)))
    }

    fn quoted(&mut self, opening: &[u64]) -> Result<Vec<Quoted>, Error> {
        let mut said: Vec<(i64, usize)> = Vec::new();
        let mut delegated: Vec<i64> = Vec::new();
        for sentence in opening {
            for sequence in self.recent.get(recent::said(*sentence)) {
                if let Some((_, count)) = said.iter_mut().find(|(known, _)| *known == sequence) {
                    *count += 1;
                } else if said.len() < MOST {
                    said.push((sequence, 1));
                }
            }
            for sequence in self.recent.get(recent::delegated(*sentence)) {
                if !delegated.contains(&sequence) && delegated.len() < MOST {
                    delegated.push(sequence);
                }
            }
        }
        let mut quoted = Vec::new();
        let sequences: Vec<i64> = said.iter().map(|(sequence, _)| *sequence).collect();
        for sequence in sequences.iter().chain(delegated.iter().filter(|one| !sequences.contains(one))) {
            let Some((candidate, kept)) = with_sentences(self.connection, *sequence)? else { continue };
            let there = said.iter().find(|(known, _)| known == sequence).map_or(0, |(_, count)| *count);
            quoted.push(Quoted { candidate, said: (there, kept), delegated: delegated.contains(sequence) });
        }
        Ok(quoted)
    }

    fn responded(&mut self, id: &str) -> Result<Vec<Candidate>, Error> {
        self.candidates(self.indexed(RESPONDED, hash::text("response", id))?)
    }
}

const CANDIDATE: &str = "
    SELECT s.session, p.session_rule, s.experiment_id, s.run_id, s.user, p.key_fingerprint, s.peer, p.request_model,
        s.started_at, s.started_at + s.duration_ns, t.status, l.system, l.tools, l.markers, l.agent,
        (SELECT max(c.started_at + c.duration_ns) FROM links AS k JOIN spans AS c ON c.sequence = k.sequence
            WHERE k.parent = s.sequence AND k.kind <> ?2), l.keys
    FROM spans AS s JOIN links AS l ON l.sequence = s.sequence JOIN profiles AS p ON p.id = s.profile
    JOIN kinds AS t ON t.id = s.kind WHERE s.sequence = ?1";

pub(super) fn candidate(connection: &Connection, sequence: i64) -> Result<Option<Candidate>, Error> {
    Ok(with_sentences(connection, sequence)?.map(|(candidate, _)| candidate))
}

/// The call, and how many sentences of its answer were kept.
fn with_sentences(connection: &Connection, sequence: i64) -> Result<Option<(Candidate, usize)>, Error> {
    let mut statement = connection.prepare_cached(CANDIDATE)?;
    let read = |row: &Row<'_>| {
        let text = |at: usize| -> rusqlite::Result<Option<String>> { row.get(at) };
        let rule = text(1)?;
        let session = if is_inferred(rule.as_deref()) { None } else { text(0)? };
        let peer = row.get::<_, Option<ids::Read>>(6)?.map(|peer| peer.0);
        let status: String = row.get(10)?;
        let markers: Vec<u8> = row.get(13)?;
        let keys: Vec<u8> = row.get(16)?;
        let candidate = Candidate {
            sequence,
            identity: Identity {
                session: named(session.as_deref()),
                experiment: named(text(2)?.as_deref()),
                run: named(text(3)?.as_deref()),
                user: named(text(4)?.as_deref()),
                key: named(text(5)?.as_deref()),
                host: named(peer.as_deref().and_then(|peer| peer.rsplit_once(':')).map(|(host, _)| host)),
                peer: named(peer.as_deref()),
                model: named(text(7)?.as_deref()),
                agent: named(text(14)?.as_deref()),
            },
            started_at: UnixNanos(row.get(8)?),
            ended_at: UnixNanos(row.get(9)?),
            answered: status == "ok",
            system: row.get::<_, i64>(11)? as u64,
            tools: row.get::<_, i64>(12)? as u64,
            markers: recent::read_markers(&markers),
            continued_until: row.get::<_, Option<i64>>(15)?.map(UnixNanos),
        };
        Ok((candidate, recent::sentences(&keys)))
    };
    let found = statement.query_row([sequence, LinkKind::Delegated.number()], read).optional()?;
    Ok(found)
}
