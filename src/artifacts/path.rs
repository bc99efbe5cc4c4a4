//! The name of an artifact, checked: a relative path below the root that means the same on every system. Pure.
//! What a client may write is refused rather than repaired where repairing could be tricked: dots in any
//! encoding, drive letters, backslashes, fragments, NUL (MLflow's history: CVE-2023-1177, CVE-2023-6909,
//! CVE-2024-1483, CVE-2024-3848).

use std::fmt;

use crate::model::Error;

/// Longest component that file systems take, bytes.
const LONGEST_COMPONENT: usize = 255;
/// Longest path, bytes: below the 4096 of Linux and, with a prefix, the 1024 of S3 keys.
const LONGEST_PATH: usize = 900;
/// How often a path is decoded before it counts as a trick.
const DECODINGS: usize = 10;

/// One or more components, none of them empty, `.` or `..`, joined with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactPath(String);

impl ArtifactPath {
    /// Percent-decodes until nothing changes, as MLflow does, so that no encoding hides anything, and checks
    /// what came out. Empty components and `.` are dropped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::invalid(format!(
                "expected a relative artifact path such as 0/a1b2/artifacts/model.pkl, found {text:?}: {why}"
            ))
        };
        let path = settled(text).ok_or_else(|| wrong("it is encoded too often"))?;
        if path.len() > LONGEST_PATH {
            return Err(wrong(&format!("it is longer than {LONGEST_PATH} bytes")));
        }
        if path.chars().any(char::is_control) {
            return Err(wrong("it has control characters"));
        }
        if path.contains('#') || path.contains('\\') {
            return Err(wrong("it has # or \\"));
        }
        if path.starts_with('/') {
            return Err(wrong("it is absolute"));
        }
        let scheme = path.as_bytes().iter().take(5).map(u8::to_ascii_lowercase);
        if scheme.eq(*b"file:") || has_drive(&path) {
            return Err(wrong("it names a drive or a file"));
        }
        let mut components = Vec::new();
        for component in path.split('/') {
            match component {
                "" | "." => {}
                ".." => return Err(wrong("it has ..")),
                // A trailing dot or blank is dropped by Windows, so that `.. ` would be `..`.
                _ if component.trim_end_matches(['.', ' ']).is_empty() => {
                    return Err(wrong("a component has only dots and blanks"));
                }
                _ if component.len() > LONGEST_COMPONENT => {
                    return Err(wrong(&format!("a component is longer than {LONGEST_COMPONENT} bytes")));
                }
                _ => components.push(component),
            }
        }
        match components.as_slice() {
            [] => Err(wrong("it is empty")),
            [first, ..] if first.eq_ignore_ascii_case(super::folder::INCOMING) => {
                Err(wrong("that name is tapline's own"))
            }
            _ => Ok(Self(components.join("/"))),
        }
    }

    /// What `mlflow-artifacts:/0/a1b2/artifacts` names: a path below the root, whichever host it mentions.
    pub fn of_uri(uri: &str) -> Result<Self, Error> {
        let path = uri.strip_prefix("mlflow-artifacts:").ok_or_else(|| {
            Error::invalid(format!(
                "expected artifacts that this server keeps (mlflow-artifacts:/…), found {uri:?}; open them with a \
                 client that reaches them"
            ))
        })?;
        let path = match path.strip_prefix("//") {
            Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
            None => path.strip_prefix('/').unwrap_or(path),
        };
        Self::parse(path)
    }

    /// `name` below this path.
    pub fn join(&self, name: &str) -> Result<Self, Error> {
        Self::parse(&format!("{}/{name}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// All but the last component; `None` for a path of one.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `C:/…` is absolute on Windows.
fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'/', ..] if letter.is_ascii_alphabetic())
}

/// Decoded until it stays as it is.
fn settled(text: &str) -> Option<String> {
    let mut path = text.to_owned();
    for _ in 0..DECODINGS {
        let decoded = decode(&path)?;
        if decoded == path {
            return Some(path);
        }
        path = decoded;
    }
    None
}

/// `%41` is `A`; what is no such escape stays. `None`: not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).map(|(high, low)| ((high * 16 + low) as u8, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_stay_as_they_are() {
        for path in [
            "0/a1b2/artifacts/model.pkl",
            "a",
            "a b/c+d.txt",
            "größe/日本.csv",
            ".hidden",
            "a..b",
            "...x",
            "x:y",
            "100%",
        ] {
            assert_eq!(ArtifactPath::parse(path).unwrap().as_str(), path);
        }
        assert_eq!(ArtifactPath::parse("a//b/./c/").unwrap().as_str(), "a/b/c");
        assert_eq!(ArtifactPath::parse("a%2Fb%20c").unwrap().as_str(), "a/b c");
    }

    #[test]
    fn what_leads_out_is_refused_in_every_disguise() {
        let long = "x".repeat(256);
        let longer = "x/".repeat(500);
        let onion = format!("%{}2e/x", "25".repeat(12));
        for path in [
            "",
            ".",
            "/",
            "./.",
            "..",
            "../x",
            "a/../../etc/passwd",
            "a/..",
            "%2e%2e/x",
            "%2E./x",
            "%252e%252e%252fetc",
            "%25252e%25252e/x",
            "..%2f..%2fetc%2fpasswd",
            "..%5c..%5cwindows",
            "a\\..\\b",
            "/etc/passwd",
            "//etc/passwd",
            "%2fetc%2fpasswd",
            "%252fetc",
            "//proc/self/root/etc/passwd",
            "C:/windows",
            "c%3a/windows",
            "C:\\windows",
            "\\\\server\\share",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "a#/../../etc",
            "a%23b",
            "a\0b",
            "a%00b",
            "a%0ab",
            "a/.. /b",
            "a/... /b",
            "a/ ",
            "%ff",
            ".tapline-incoming/x",
            ".TAPLINE-incoming",
            "%2etapline-incoming/1",
            &long,
            &longer,
            &onion,
        ] {
            assert!(ArtifactPath::parse(path).is_err(), "{path:?} was taken");
        }
    }

    #[test]
    fn a_uri_names_a_path_whichever_host_it_mentions() {
        for uri in ["mlflow-artifacts:/0/r", "mlflow-artifacts:0/r", "mlflow-artifacts://host:1/0/r"] {
            assert_eq!(ArtifactPath::of_uri(uri).unwrap().as_str(), "0/r", "{uri}");
        }
        for uri in [
            "s3://bucket/0/r",
            "/etc",
            "file:///etc",
            "mlflow-artifacts:/../x",
            "mlflow-artifacts:///",
            "mlflow-artifacts:",
        ] {
            assert!(ArtifactPath::of_uri(uri).is_err(), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_taken_leaves_the_root(text in "([.%/\\\\a2eEfF5cC:#\\x00 ]|\\PC){0,24}") {
            if let Ok(path) = ArtifactPath::parse(&text) {
                prop_assert_eq!(ArtifactPath::parse(path.as_str()), Ok(path.clone()));
                let plain = path.as_str().split('/').all(|one| !matches!(one, "" | "." | ".."));
                prop_assert!(plain);
                prop_assert!(!path.as_str().contains(['\\', '#', '\0']));
            }
        }
    }
}
