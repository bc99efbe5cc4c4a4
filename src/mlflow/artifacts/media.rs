//! What a file is, told from its name, as MLflow tells it: what a person can read is text/plain, what is not known
//! is bytes. Pure.

/// Extensions, and the two names without one, that are plain text whatever they hold.
const TEXT: [&str; 26] = [
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "ipynb",
    "MLmodel",
    "MLproject",
];

const KNOWN: [(&str, &str); 34] = [
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("doc", "application/msword"),
    ("gif", "image/gif"),
    ("h5", "application/x-hdf5"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("mjs", "text/javascript"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ps", "application/postscript"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tex", "application/x-tex"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("vtt", "text/vtt"),
    ("wasm", "application/wasm"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xhtml", "application/xhtml+xml"),
    ("zip", "application/zip"),
];

/// Endings that say how a file is packed, not what it is.
const PACKED: [&str; 4] = ["gz", "bz2", "xz", "br"];

pub(super) fn media_type(name: &str) -> &'static str {
    // A name that begins with a dot and has no other has no extension.
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.trim_start_matches('.').is_empty() => (stem, extension),
        _ => (name, name),
    };
    if TEXT.contains(&extension) {
        return "text/plain";
    }
    let known = |extension: &str| {
        let extension = extension.to_ascii_lowercase();
        KNOWN.iter().find(|(known, _)| *known == extension).map(|(_, media)| *media)
    };
    let inner = match PACKED.contains(&extension) {
        true => stem.rsplit_once('.').and_then(|(_, inner)| known(inner)),
        false => known(extension),
    };
    inner.unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn names_tell_types() {
        for (name, expected) in [
            ("a.json", "text/plain"),
            ("MLmodel", "text/plain"),
            ("a.PNG", "image/png"),
            ("page.html", "text/html"),
            ("a.tar.gz", "application/x-tar"),
            ("a.gz", "application/octet-stream"),
            (".png", "application/octet-stream"),
            ("model.pkl", "application/octet-stream"),
            ("no-extension", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name}");
        }
    }
}
