//! Tokens of a filter or an order, each with its place. Never fails: what it does not know is a symbol, and
//! the grammar says what was expected in its place.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits and `_`; behind a dot also `/`, which is in the names of many metrics.
    Word,
    /// In single quotes: a text.
    Single,
    /// In double quotes: a text or a name.
    Double,
    /// In backticks: a name.
    Backtick,
    Number,
    Dot,
    /// An operator or any other character.
    Symbol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// As written, quotes included.
    pub(super) text: &'t str,
    /// Of its first byte.
    pub(super) at: usize,
    /// Nothing lies between the token before and this one.
    pub(super) adjoins: bool,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Dot) && self.text == symbol
    }

    /// Whether it is this keyword, in any case.
    pub(super) fn says(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// The text between the quotes, with a quote that was escaped (doubled, or behind a backslash) as itself;
    /// any other token as written.
    pub(super) fn unquoted(&self) -> String {
        let quote = match self.kind {
            Kind::Single => '\'',
            Kind::Double => '"',
            Kind::Backtick => '`',
            _ => return self.text.to_owned(),
        };
        let inner =
            self.text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)).unwrap_or_default();
        let mut text = String::with_capacity(inner.len());
        let mut characters = inner.chars().peekable();
        while let Some(character) = characters.next() {
            let escapes = character == quote || (character == '\\' && quote != '`');
            if escapes && characters.peek() == Some(&quote) {
                characters.next();
                text.push(quote);
            } else {
                text.push(character);
            }
        }
        text
    }
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let trimmed = rest.trim_start();
        if trimmed.len() < rest.len() {
            at = text.len() - trimmed.len();
            continue;
        }
        let before = found.last().filter(|token| token.end() == at);
        let (kind, length) = next(rest, before.map(|token| token.kind));
        let (taken, _) = rest.split_at(length);
        let adjoins = before.is_some();
        found.push(Token { kind, text: taken, at, adjoins });
        at += length;
    }
    found
}

/// The kind and the length in bytes of the token at the start of `rest`; `before` adjoins it.
fn next(rest: &str, before: Option<Kind>) -> (Kind, usize) {
    let mut characters = rest.chars();
    let first = characters.next().unwrap_or_default();
    let second = characters.next();
    if before == Some(Kind::Dot) && (is_word(first) || first == '/') {
        return (Kind::Word, run(rest, |character| is_word(character) || character == '/'));
    }
    for (quote, kind) in [('\'', Kind::Single), ('"', Kind::Double), ('`', Kind::Backtick)] {
        if first == quote
            && let Some(length) = quoted(rest, quote)
        {
            return (kind, length);
        }
    }
    let after_name = matches!(before, Some(Kind::Word | Kind::Double | Kind::Backtick | Kind::Single));
    if first == '.' && (after_name || !second.is_some_and(|second| second.is_ascii_digit())) {
        return (Kind::Dot, 1);
    }
    if let Some(length) = number(rest) {
        return (Kind::Number, length);
    }
    if is_word(first) {
        return (Kind::Word, run(rest, is_word));
    }
    for operator in ["!=", "<=", ">=", "==", "<>"] {
        if rest.starts_with(operator) {
            return (Kind::Symbol, operator.len());
        }
    }
    (Kind::Symbol, first.len_utf8())
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|character| !belongs(character)).unwrap_or(text.len())
}

/// The length of a quoted text. Where only escaped quotes follow, the last of them was the end after all: a
/// text may end in a backslash (`'C:\'`).
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1).peekable();
    let mut last = None;
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            if let Some((next, _)) = characters.next_if(|(_, next)| *next == quote) {
                last = Some(next + quote.len_utf8());
            }
        } else if character == quote {
            if characters.next_if(|(_, next)| *next == quote).is_none() {
                return Some(at + quote.len_utf8());
            }
            last = Some(at + quote.len_utf8());
        }
    }
    last
}

/// `1`, `-1`, `1.5`, `.5`, `5.`, `1e-3`, where no word goes on behind it.
fn number(rest: &str) -> Option<usize> {
    let unsigned = rest.strip_prefix('-').unwrap_or(rest);
    let digits = |text: &str| run(text, |character| character.is_ascii_digit());
    let mut length = digits(unsigned);
    let mut seen = length;
    let mut tail = unsigned.get(length..)?;
    if let Some(fraction) = tail.strip_prefix('.') {
        seen += digits(fraction);
        length += 1 + digits(fraction);
        tail = unsigned.get(length..)?;
    }
    if seen == 0 {
        return None;
    }
    if let Some(exponent) = tail.strip_prefix(['e', 'E']) {
        let unsigned_exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let exponent_digits = digits(unsigned_exponent);
        if exponent_digits > 0 {
            length += 1 + (exponent.len() - unsigned_exponent.len()) + exponent_digits;
            tail = unsigned.get(length..)?;
        }
    }
    if tail.starts_with(is_word) {
        return None;
    }
    Some(length + (rest.len() - unsigned.len()))
}
