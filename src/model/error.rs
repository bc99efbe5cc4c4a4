//! The one error type of the layers below the faces. Faces map its code to their protocol in one place
//! each; nothing below ever says an HTTP status.

use std::fmt;

/// What kind of failure it is; a face derives status and shape from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The thing that was named does not exist.
    NotFound,
    /// The input is wrong; the message says what was expected and what was found.
    Invalid,
    /// The input is fine but the state forbids it.
    Conflict,
    /// Who asks may not.
    Unauthorized,
    /// Try again later: locked, full, or overloaded.
    Busy,
    /// What was stored is not what was stored: bytes that no longer say what they said. Trying again changes nothing.
    Damaged,
    /// Ours or the machine's fault.
    Internal,
}

/// A code and a sentence: lower case, no final stop, what was expected, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: ErrorCode,
    pub message: String,
}

impl Error {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Busy, message)
    }

    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Damaged, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}

/// `None` for what is damaged: for those who step over it and go on.
pub fn sound<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::Damaged => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
