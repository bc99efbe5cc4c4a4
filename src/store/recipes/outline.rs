//! A body without its conversation: what is left for those who read the conversation turn by turn.

use rusqlite::Connection;

use super::{CHAIN, CONTENT, SHAPED, chain_numbers, damaged, one, part};
use crate::{
    model::Error,
    store::{
        contents,
        numbers::{pull, pull_id, pull_length, take},
        packing::Unpacker,
    },
};

/// A body with its conversation and its tools left out.
#[derive(Debug, Default)]
pub(in crate::store) struct Outline {
    /// The newest turn of each chain.
    pub(in crate::store) tips: Vec<i64>,
    pub(in crate::store) rest: Vec<u8>,
}

impl Outline {
    pub(in crate::store) fn of(
        connection: &Connection,
        unpacker: &mut Unpacker,
        recipe: &[u8],
    ) -> Result<Self, Error> {
        let mut outline = Self::default();
        let mut input = recipe;
        while let Some(tag) = take(&mut input) {
            match tag {
                CHAIN => {
                    outline.tips.push(chain_numbers(&mut input)?.0);
                    one(connection, unpacker, &mut input)?;
                }
                SHAPED => {
                    let id = pull_id(&mut input).ok_or_else(damaged)?;
                    let count = pull_length(&mut input).ok_or_else(damaged)?;
                    for _ in 0..count / 2 {
                        outline.tips.push(chain_numbers(&mut input)?.0);
                    }
                    let shape = contents::shared(connection, unpacker, id)?;
                    let mut shape = &*shape;
                    while let Some(tag) = take(&mut shape) {
                        if tag == CHAIN {
                            one(connection, unpacker, &mut shape)?;
                        } else {
                            outline.part(connection, unpacker, tag, &mut shape)?;
                        }
                    }
                }
                tag => outline.part(connection, unpacker, tag, &mut input)?,
            }
        }
        Ok(outline)
    }

    fn part(
        &mut self,
        connection: &Connection,
        unpacker: &mut Unpacker,
        tag: u8,
        input: &mut &[u8],
    ) -> Result<(), Error> {
        let tools = [&b"\"tools\":"[..], b"\"tools\": ", b"\"functions\":", b"\"functions\": "];
        if tag == CONTENT && tools.iter().any(|key| self.rest.ends_with(key)) {
            pull(input).ok_or_else(damaged)?;
            self.rest.extend_from_slice(b"[]");
            return Ok(());
        }
        part(connection, unpacker, tag, input, &mut self.rest)
    }
}
