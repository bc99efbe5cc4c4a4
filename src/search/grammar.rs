//! What can be written, whatever the kind of entity:
//!
//! ```text
//! filter     = { condition | AND }
//! condition  = identifier ( operator value | [NOT] IN list | IS [NOT] NULL )
//! identifier = name { "." name }                     the first is the entity where there are several
//! name       = word | `any` | "any" | 'any'
//! value      = 'text' | "text" | number
//! list       = "(" 'text' { "," 'text' } ")"
//! order      = identifier [ ASC | DESC ]
//! ```
//!
//! AND may be left out, doubled, or stand at either end: MLflow's server lets all of that pass, and filters
//! that programs put together rely on it. There is no OR, no NOT and no bracket around conditions.

use super::lexer::{Kind, Token, tokens};
use crate::model::Error;

/// Conditions of a filter and fields of an order at most: more is a mistake, and SQL has limits of its own.
const MOST_CONDITIONS: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier<'t> {
    /// Quotes that are not backticks stay: an entity has none.
    pub(super) entity: Option<String>,
    pub(super) key: String,
    pub(super) place: Place<'t>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    Ilike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
    /// Written by people, understood by no kind of entity.
    DoubleEqual,
    Unequal,
    NotLike,
    NotIlike,
    Rlike,
    Tilde,
}

impl Operator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Like => "LIKE",
            Self::Ilike => "ILIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
            Self::DoubleEqual => "==",
            Self::Unequal => "<>",
            Self::NotLike => "NOT LIKE",
            Self::NotIlike => "NOT ILIKE",
            Self::Rlike => "RLIKE",
            Self::Tilde => "~",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number,
    List(Vec<String>),
    /// A list that holds something else than texts.
    OtherList,
    /// A name where a value should be.
    Name,
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition<'t> {
    pub(super) left: Identifier<'t>,
    pub(super) operator: Operator,
    pub(super) right: Literal,
    /// Where the value is; the operator where there is none.
    pub(super) place: Place<'t>,
}

/// A stretch of the text, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'t> {
    text: &'t str,
    at: usize,
    end: usize,
}

impl<'t> Place<'t> {
    pub(super) fn written(&self) -> &'t str {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    /// The sentence, and where it is about.
    pub(super) fn error(&self, sentence: impl AsRef<str>) -> Error {
        let before = self.text.get(..self.at).unwrap_or_default().chars().count();
        Error::invalid(format!("{} (at character {})", sentence.as_ref(), before + 1))
    }

    fn to(self, end: usize) -> Self {
        Self { end, ..self }
    }
}

/// How a filter that is none is told of: MLflow has three ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    /// What is no clause, in quotes.
    Quoted,
    /// The same without quotes.
    Plain,
    /// The filter whole.
    Whole,
}

/// The conditions of a filter; none of an empty one.
pub(super) fn conditions(text: &str, wording: Wording) -> Result<Vec<Condition<'_>>, Error> {
    if !text.is_empty() && text.trim().is_empty() {
        return Err(Error::invalid(format!("Invalid filter '{text}'. Could not be parsed.")));
    }
    let mut parser = Parser { text, wording, tokens: tokens(text), next: 0 };
    let mut found = Vec::new();
    loop {
        while parser.take_word("AND").is_some() {}
        let Some(token) = parser.peek() else { return Ok(found) };
        if token.is(";") && parser.next + 1 < parser.tokens.len() {
            return Err(Error::invalid(format!(
                "Search filter contained multiple expression '{text}'. Provide AND-ed expression list."
            )));
        }
        if found.len() == MOST_CONDITIONS {
            return Err(parser.place(token).error(format!("expected at most {MOST_CONDITIONS} conditions")));
        }
        found.push(parser.condition()?);
    }
}

/// One field of an order, and whether it descends.
pub(super) fn ordering(text: &str) -> Result<(Identifier<'_>, bool), Error> {
    let wrong = || Error::invalid(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    let mut parser = Parser { text, wording: Wording::Quoted, tokens: tokens(text), next: 0 };
    let left = parser.identifier().ok_or_else(wrong)?;
    let descending = match parser.peek() {
        None => false,
        Some(token) if token.kind == Kind::Word && !token.adjoins => {
            parser.next += 1;
            match (token.says("DESC"), token.says("ASC")) {
                (true, _) => true,
                (_, true) => false,
                _ => {
                    return Err(Error::invalid(format!("Invalid ordering key in order_by clause '{text}'.")));
                }
            }
        }
        Some(_) => return Err(wrong()),
    };
    let alone =
        parser.tokens.len() == 1 && parser.tokens.iter().any(|only| only.says("DESC") || only.says("ASC"));
    if alone || parser.peek().is_some() {
        return Err(wrong());
    }
    Ok((left, descending))
}

/// The orders of a list, each read by `read`.
pub(super) fn orderings<T>(
    list: &[String],
    read: impl Fn(&str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    if list.len() > MOST_CONDITIONS {
        return Err(Error::invalid(format!(
            "expected at most {MOST_CONDITIONS} fields in order_by, found {}",
            list.len()
        )));
    }
    list.iter().map(|text| read(text)).collect()
}

/// What compares without a word.
const COMPARES: [&str; 9] = ["=", "!=", "<", "<=", ">", ">=", "==", "<>", "~"];

struct Parser<'t> {
    text: &'t str,
    wording: Wording,
    tokens: Vec<Token<'t>>,
    next: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    fn take_word(&mut self, keyword: &str) -> Option<Token<'t>> {
        let token = self.peek().filter(|token| token.says(keyword))?;
        self.next += 1;
        Some(token)
    }

    fn place(&self, token: Token<'t>) -> Place<'t> {
        Place { text: self.text, at: token.at, end: token.end() }
    }

    fn condition(&mut self) -> Result<Condition<'t>, Error> {
        let start = self.next;
        let Some(left) = self.identifier() else { return Err(self.no_identifier(start)) };
        if self.peek().is_some_and(|token| token.adjoins && !self.may_follow_a_name(token)) {
            return Err(self.odd_name(&left));
        }
        let Some((operator, place)) = self.operator() else { return Err(self.stray(start)) };
        let (right, place) = match operator {
            Operator::IsNull | Operator::IsNotNull => (Literal::Nothing, place),
            _ => self.value(operator, start)?,
        };
        if self.peek().is_some_and(|token| COMPARES.iter().any(|symbol| token.is(symbol))) {
            let whole = left.place.to(place.end);
            return Err(whole.error(format!(
                "Invalid comparison clause. Expected 'Identifier' found '{}'",
                whole.written()
            )));
        }
        Ok(Condition { left, operator, right, place })
    }

    fn may_follow_a_name(&self, token: Token<'t>) -> bool {
        COMPARES.iter().chain(&["(", ")", ",", ";", "!"]).any(|known| token.is(known))
    }

    /// Names that adjoin each other by dots.
    fn identifier(&mut self) -> Option<Identifier<'t>> {
        let first =
            self.peek().filter(|token| matches!(token.kind, Kind::Word | Kind::Backtick | Kind::Double))?;
        self.next += 1;
        let mut place = self.place(first);
        let mut key: Option<String> = None;
        while let Some(dot) = self.peek().filter(|token| token.kind == Kind::Dot && token.adjoins) {
            self.next += 1;
            // A name of nothing is what MLflow's server lets pass; there is nothing of that name.
            let quotable = [Kind::Word, Kind::Backtick, Kind::Double, Kind::Single];
            let name = self.peek().filter(|token| token.adjoins && quotable.contains(&token.kind));
            self.next += usize::from(name.is_some());
            place = place.to(name.map_or(dot.end(), |name| name.end()));
            let name = name.map_or_else(String::new, |name| name.unquoted());
            key = Some(match key {
                None => name,
                Some(before) => format!("{before}.{name}"),
            });
        }
        Some(match key {
            None => Identifier { entity: None, key: first.unquoted(), place },
            Some(key) => {
                let entity =
                    if first.kind == Kind::Double { first.text.to_owned() } else { first.unquoted() };
                Identifier { entity: Some(entity), key, place }
            }
        })
    }

    fn operator(&mut self) -> Option<(Operator, Place<'t>)> {
        let start = self.next;
        let found = self.operator_words();
        if found.is_none() {
            self.next = start;
        }
        found
    }

    fn operator_words(&mut self) -> Option<(Operator, Place<'t>)> {
        let first = self.take()?;
        let mut last = first;
        let operator = match first.text.to_ascii_uppercase().as_str() {
            _ if !matches!(first.kind, Kind::Word | Kind::Symbol) => return None,
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "==" => Operator::DoubleEqual,
            "<>" => Operator::Unequal,
            "~" => Operator::Tilde,
            "LIKE" => Operator::Like,
            "ILIKE" => Operator::Ilike,
            "RLIKE" => Operator::Rlike,
            "IN" => Operator::In,
            "NOT" => {
                last = self.take()?;
                match last.text.to_ascii_uppercase().as_str() {
                    "IN" => Operator::NotIn,
                    "LIKE" => Operator::NotLike,
                    "ILIKE" => Operator::NotIlike,
                    _ => return None,
                }
            }
            "IS" => {
                let not = self.take_word("NOT").is_some();
                last = self.take_word("NULL")?;
                if not { Operator::IsNotNull } else { Operator::IsNull }
            }
            _ => return None,
        };
        Some((operator, self.place(first).to(last.end())))
    }

    fn value(&mut self, operator: Operator, start: usize) -> Result<(Literal, Place<'t>), Error> {
        let Some(token) = self.peek() else { return Err(self.stray(start)) };
        if token.is("(") {
            return self.list();
        }
        if matches!(operator, Operator::In | Operator::NotIn) {
            return Err(self.stray(start));
        }
        let literal = match token.kind {
            Kind::Single => Literal::Text(token.unquoted()),
            Kind::Number => Literal::Number,
            Kind::Word | Kind::Backtick | Kind::Double => {
                let Some(name) = self.identifier() else { return Err(self.stray(start)) };
                let literal = match token.kind {
                    Kind::Double if name.entity.is_none() => Literal::Text(name.key),
                    _ => Literal::Name,
                };
                return Ok((literal, name.place));
            }
            Kind::Dot | Kind::Symbol => return Err(self.stray(start)),
        };
        self.next += 1;
        Ok((literal, self.place(token)))
    }

    fn list(&mut self) -> Result<(Literal, Place<'t>), Error> {
        let mut texts = Vec::new();
        let mut other = false;
        let Some(open) = self.take() else { return Err(self.stray(self.next)) };
        let mut place = self.place(open);
        let mut expects_value = true;
        loop {
            let Some(token) = self.take() else { return Err(place.error(ILL_FORMED)) };
            place = place.to(token.end());
            if token.is(")") {
                break;
            }
            match (expects_value, token.kind) {
                (true, Kind::Single | Kind::Double) => texts.push(token.unquoted()),
                (true, Kind::Number | Kind::Word | Kind::Backtick) => other = true,
                (false, _) if token.is(",") => {}
                _ => return Err(self.place(token).error(ILL_FORMED)),
            }
            expects_value = !expects_value;
        }
        if other {
            return Ok((Literal::OtherList, place));
        }
        if texts.is_empty() {
            return Err(place.error(
                "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
            ));
        }
        Ok((Literal::List(texts), place))
    }

    /// What is written from the token `start` on can be no condition: up to the next AND.
    fn stray(&self, start: usize) -> Error {
        let mut pieces: Vec<Place<'t>> = Vec::new();
        let mut depth = 0usize;
        for token in self.tokens.get(start..).unwrap_or_default() {
            if token.says("AND") && depth == 0 {
                break;
            }
            match pieces.last_mut() {
                // Names with their dots, and what is in brackets, are one piece.
                Some(piece) if depth > 0 || (token.adjoins && self.dotted(*token, piece.end)) => {
                    *piece = piece.to(token.end());
                }
                _ => pieces.push(self.place(*token)),
            }
            depth = if token.is("(") { depth + 1 } else { depth.saturating_sub(usize::from(token.is(")"))) };
            if pieces.len() == 1 && (token.says("OR") || token.says("NOT")) {
                break;
            }
        }
        let Some(first) = pieces.first() else {
            return Error::invalid(format!("Invalid filter '{}'. Could not be parsed.", self.text));
        };
        let list = |quote: &str| {
            let pieces: Vec<_> =
                pieces.iter().map(|piece| format!("{quote}{}{quote}", piece.written())).collect();
            pieces.join(", ")
        };
        first.error(match self.wording {
            Wording::Quoted => format!("Invalid clause(s) in filter string: {}", list("'")),
            Wording::Plain => format!("Invalid clause(s) in filter string: {}", list("")),
            Wording::Whole => format!(
                "Invalid filter string: {}. Expected a list of comparisons separated by 'AND' (e.g. 'metrics.loss > \
                 0.1 AND params.lr = 0.01').",
                python(self.text)
            ),
        })
    }

    /// Whether a token goes on with the name that ends where it begins.
    fn dotted(&self, token: Token<'t>, end: usize) -> bool {
        token.kind == Kind::Dot || self.text.get(..end).is_some_and(|before| before.ends_with('.'))
    }

    fn no_identifier(&self, start: usize) -> Error {
        let Some(token) = self.tokens.get(start).copied() else { return self.stray(start) };
        let place = self.place(token);
        match token.kind {
            Kind::Number | Kind::Single => place.error(format!(
                "Invalid comparison clause. Expected 'Identifier' found '{}'",
                place.written()
            )),
            Kind::Word | Kind::Backtick | Kind::Double => {
                let dot = self.tokens.get(start + 1).map_or(place.end, Token::end);
                let place = place.to(dot);
                place.error(format!(
                    "Invalid comparison clause. Expected 'Identifier' found '{}'",
                    place.written()
                ))
            }
            Kind::Dot | Kind::Symbol => self.stray(start),
        }
    }

    /// A name that goes on with characters which only a quoted one may hold.
    fn odd_name(&self, name: &Identifier<'t>) -> Error {
        let mut place = name.place;
        for token in self.tokens.get(self.next..).unwrap_or_default() {
            if !token.adjoins || self.may_follow_a_name(*token) {
                break;
            }
            place = place.to(token.end());
        }
        let whole = place.written();
        let (entity, key) = whole.split_once('.').map_or(("", whole), |(entity, key)| (entity, key));
        let dot = if entity.is_empty() { "" } else { "." };
        place.error(format!(
            "Invalid comparison clause. Expected 'Identifier' found '{whole}'; quote such a name: {entity}{dot}`{key}`"
        ))
    }
}

const ILL_FORMED: &str =
    "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.";

/// A text as MLflow's messages show it: in single quotes, or in double ones where it holds a single one.
fn python(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "\\'"))
    }
}
