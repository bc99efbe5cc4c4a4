//! Recipes whose packed parts are packed better; everything else is copied as it is.

use super::{CHAIN, CONTENT, INLINE, PACKED, RECIPE, SHAPED, TEXTS, WOVEN, damaged};
use crate::{
    model::Error,
    store::{
        dictionaries::Kind,
        numbers::{pull, pull_bytes, pull_length, push, push_bytes, take},
    },
};

/// Tells for packed bytes of a kind and a size how they are packed better, if they can be.
pub(in crate::store) type Again<'a> = dyn FnMut(Kind, usize, &[u8]) -> Result<Option<Vec<u8>>, Error> + 'a;

/// A body's recipe with its packed parts packed better; `None` where none can be. `kind` is that of parts that
/// are no text.
pub(in crate::store) fn repacked(
    recipe: &[u8],
    kind: Kind,
    again: &mut Again<'_>,
) -> Result<Option<Vec<u8>>, Error> {
    let (mut out, mut changed) = (Vec::new(), false);
    let mut input = recipe;
    while !input.is_empty() {
        // Only these have packed parts; a chain's numbers and a shape's are copied as they are.
        match input.first() {
            Some(&(CHAIN | SHAPED)) => {
                out.extend_from_slice(input);
                break;
            }
            _ => changed |= repacked_part(&mut input, kind, again, &mut out)?,
        }
    }
    Ok(changed.then_some(out))
}

fn repacked_part(
    input: &mut &[u8],
    kind: Kind,
    again: &mut Again<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Error> {
    let whole = *input;
    let tag = take(input).ok_or_else(damaged)?;
    let copy = |rest: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(whole.get(..whole.len() - rest.len()).unwrap_or_default());
    };
    match tag {
        PACKED => {
            let size = pull_length(input).ok_or_else(damaged)?;
            let packed = pull_bytes(input).ok_or_else(damaged)?;
            let Some(better) = again(kind, size, packed)? else {
                copy(input, out);
                return Ok(false);
            };
            out.push(PACKED);
            push(out, size as u64);
            push_bytes(out, &better);
            Ok(true)
        }
        TEXTS => {
            let count = pull_length(input).ok_or_else(damaged)?;
            for _ in 0..count {
                pull(input).zip(pull(input)).ok_or_else(damaged)?;
            }
            copy(input, out);
            repacked_part(input, kind, again, out)
        }
        WOVEN => {
            pull(input).ok_or_else(damaged)?;
            copy(input, out);
            let cloth = repacked_part(input, kind, again, out)?;
            Ok(repacked_part(input, Kind::Content, again, out)? || cloth)
        }
        INLINE | CONTENT => {
            let number = pull_length(input).ok_or_else(damaged)?;
            if tag == INLINE {
                *input = input.get(number..).ok_or_else(damaged)?;
            }
            copy(input, out);
            Ok(false)
        }
        _ => Err(damaged()),
    }
}

/// A content's own bytes packed better.
pub(in crate::store) fn repacked_content(
    body: &[u8],
    size: usize,
    again: &mut Again<'_>,
) -> Result<Option<Vec<u8>>, Error> {
    let Some((&RECIPE, recipe)) = body.split_first() else { return again(Kind::Content, size, body) };
    Ok(repacked(recipe, Kind::Content, again)?.map(|mut recipe| {
        recipe.insert(0, RECIPE);
        recipe
    }))
}
