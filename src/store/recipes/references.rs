//! What recipes refer to, for those who decide what may go.

use rusqlite::Connection;

use super::{CHAIN, CONTENT, INLINE, PACKED, RECIPE, SHAPED, TEXTS, WOVEN, chain_numbers, damaged};
use crate::{
    model::Error,
    store::{
        contents,
        numbers::{pull, pull_bytes, pull_id, pull_length, take},
        packing::Unpacker,
    },
};

/// What a recipe refers to: contents and the newest turns of chains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct References {
    pub(in crate::store) contents: Vec<i64>,
    pub(in crate::store) turns: Vec<i64>,
}

impl References {
    /// Adds those of a body's recipe, read from the store where a recipe is a content.
    pub(in crate::store) fn of_recipe(
        &mut self,
        connection: &Connection,
        unpacker: &mut Unpacker,
        recipe: &[u8],
    ) -> Result<(), Error> {
        let mut input = recipe;
        while let Some(tag) = take(&mut input) {
            match tag {
                CHAIN => self.turns.push(chain_numbers(&mut input)?.0),
                SHAPED => {
                    let id = pull_id(&mut input).ok_or_else(damaged)?;
                    let count = pull_length(&mut input).ok_or_else(damaged)?;
                    for _ in 0..count / 2 {
                        self.turns.push(chain_numbers(&mut input)?.0);
                    }
                    self.contents.push(id);
                    let mut shape = Vec::new();
                    contents::append(connection, unpacker, id, &mut shape)?;
                    let mut shape = shape.as_slice();
                    while let Some(tag) = take(&mut shape) {
                        if tag != CHAIN {
                            self.of_part(tag, &mut shape)?;
                        }
                    }
                }
                tag => self.of_part(tag, &mut input)?,
            }
        }
        Ok(())
    }

    /// Adds those of a content's own bytes.
    pub(in crate::store) fn of_content(&mut self, body: &[u8]) -> Result<(), Error> {
        match body.split_first() {
            Some((&RECIPE, mut recipe)) => {
                let tag = take(&mut recipe).ok_or_else(damaged)?;
                self.of_part(tag, &mut recipe)
            }
            _ => Ok(()),
        }
    }

    fn of_part(&mut self, tag: u8, input: &mut &[u8]) -> Result<(), Error> {
        match tag {
            INLINE => drop(pull_bytes(input).ok_or_else(damaged)?),
            CONTENT => self.contents.push(pull_id(input).ok_or_else(damaged)?),
            PACKED => {
                pull(input).ok_or_else(damaged)?;
                pull_bytes(input).ok_or_else(damaged)?;
            }
            TEXTS => {
                let count = pull_length(input).ok_or_else(damaged)?;
                for _ in 0..count {
                    let (_, content) = pull(input).zip(pull_id(input)).ok_or_else(damaged)?;
                    self.contents.push(content);
                }
                self.next(input)?;
            }
            WOVEN => {
                pull(input).ok_or_else(damaged)?;
                self.next(input)?;
                self.next(input)?;
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn next(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        match take(input) {
            Some(tag @ (INLINE | CONTENT | PACKED)) => self.of_part(tag, input),
            _ => Err(damaged()),
        }
    }
}
