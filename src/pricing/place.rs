//! Where in a price file we are, and how its values are read: every error names the file, the line, the
//! row, what was expected and what was found.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::decimal::scaled;
use crate::model::{Error, UnixNanos};

/// Where in the file we are: turns spans into lines for errors.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) row: String,
}

impl Place<'_> {
    pub(super) fn wrong(&self, span: std::ops::Range<usize>, expected: &str, found: &str) -> Error {
        let line = line_of(self.text, span.start);
        Error::invalid(format!("{}:{line}: {}expected {expected}, found {found}", self.file, self.row))
    }

    pub(super) fn mismatch(&self, value: &Spanned<DeValue<'_>>, expected: &str) -> Error {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(value.span(), expected, &found)
    }

    pub(super) fn text<'v>(&self, value: &'v Spanned<DeValue<'_>>, expected: &str) -> Result<&'v str, Error> {
        match value.get_ref().as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.mismatch(value, expected)),
        }
    }

    pub(super) fn array<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Result<impl Iterator<Item = &'v Spanned<DeValue<'i>>> + use<'v, 'i>, Error> {
        value.get_ref().as_array().map(|list| list.iter()).ok_or_else(|| self.mismatch(value, expected))
    }

    pub(super) fn table<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Result<&'v DeTable<'i>, Error> {
        value.get_ref().as_table().ok_or_else(|| self.mismatch(value, expected))
    }

    /// An amount of dollars, written as a number or as text.
    pub(super) fn amount(&self, value: &Spanned<DeValue<'_>>, scale: u32) -> Result<i128, Error> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.mismatch(value, "an amount of US dollars")),
        };
        scaled(text, scale).map_err(|expected| self.mismatch(value, &expected))
    }

    pub(super) fn date(&self, value: &Spanned<DeValue<'_>>) -> Result<UnixNanos, Error> {
        let text = match value.get_ref() {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        // Ages and local times would mean another moment for every reader.
        let fixed = text.len() == 10 || (text.len() >= 20 && text.ends_with('Z'));
        let date = fixed.then(|| UnixNanos::parse(&text, UnixNanos(0)).ok()).flatten();
        date.ok_or_else(|| self.mismatch(value, "a date such as 2026-11-23, or 2026-11-23T16:00:00Z"))
    }
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
