//! What pictures, documents and sound cost in tokens, by the formulas that makers publish for their models.
//! A model without one has no figure; a size that is not known is taken to be the one that stands here.

use crate::model::exchange::{Extent, MessagePart};

/// A picture of which only the address is known.
const UNKNOWN: (u32, u32) = (1024, 1024);
/// A page of a document that is looked at as a picture: A4 at 144 dots an inch.
const PAGE: (u32, u32) = (1190, 1684);
/// The text of a page, which is read beside the picture of it.
const PAGE_TEXT: u64 = 500;
/// The low end of what Anthropic says of a page's text.
const PAGE_TEXT_CLAUDE: u64 = 1_500;

/// How a family of models looks at a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Vision {
    /// OpenAI: fits 2048 × 2048, then 768 on the short side, in tiles of 512.
    Tiles { base: u64, tile: u64 },
    /// OpenAI: patches of 32, at most so many (by detail), times hundredths.
    Patches { high: u64, auto: u64, percent: u64 },
    /// Patches of `side` in a picture that fits `edge` and costs at most `most`; `row` more for each row of them,
    /// `ends` around them all.
    Grid { side: u32, edge: u32, most: u64, row: u64, ends: u64 },
    /// Gemini before 3: tiles whose size follows the picture's.
    Crops { tile: u64 },
    /// xAI: tiles of 448, six at most, and one of the whole.
    Overview { tile: u64 },
    /// By detail alone.
    Fixed { low: u64, high: u64 },
}

/// What a family of models makes of media.
#[derive(Debug, Clone, Copy)]
struct Family {
    prefix: &'static str,
    vision: Vision,
    /// Tokens of a page; `None`: a picture and its text.
    page: Option<u64>,
    /// Tokens of ten seconds of sound.
    sound: u64,
}

const fn family(prefix: &'static str, vision: Vision) -> Family {
    Family { prefix, vision, page: None, sound: 0 }
}

const fn tiles(prefix: &'static str, base: u64, tile: u64) -> Family {
    Family { sound: 100, ..family(prefix, Vision::Tiles { base, tile }) }
}

const fn patches(prefix: &'static str, high: u64, auto: u64, percent: u64) -> Family {
    Family { sound: 100, ..family(prefix, Vision::Patches { high, auto, percent }) }
}

const fn claude(prefix: &'static str, edge: u32, most: u64) -> Family {
    family(prefix, Vision::Grid { side: 28, edge, most, row: 0, ends: 0 })
}

const NO_LIMIT: u64 = 1 << 40;

/// By model name's beginning; the longest that fits counts. Sources: OpenAI's, Anthropic's, Google's, Mistral's and
/// xAI's pages on vision, Qwen's image processors.
const FAMILIES: &[Family] = &[
    tiles("gpt-4o", 85, 170),
    tiles("chatgpt-4o", 85, 170),
    tiles("gpt-audio", 85, 170),
    tiles("gpt-4o-mini", 2_833, 5_667),
    tiles("gpt-4-", 85, 170),
    tiles("gpt-4.1", 85, 170),
    tiles("gpt-4.5", 85, 170),
    tiles("gpt-5", 70, 140),
    tiles("o1", 75, 150),
    tiles("o3", 75, 150),
    tiles("computer-use", 65, 129),
    patches("gpt-4.1-mini", 1_536, 1_536, 162),
    patches("gpt-4.1-nano", 1_536, 1_536, 246),
    patches("o4-mini", 1_536, 1_536, 172),
    patches("gpt-5-mini", 1_536, 1_536, 162),
    patches("gpt-5-nano", 1_536, 1_536, 246),
    patches("gpt-5.2", 1_536, 1_536, 162),
    patches("gpt-5.3", 1_536, 1_536, 162),
    patches("gpt-5.4", 2_500, 2_500, 120),
    patches("gpt-5.4-mini", 1_536, 1_536, 162),
    patches("gpt-5.4-nano", 1_536, 1_536, 246),
    patches("gpt-5.5", 2_500, 10_000, 120),
    patches("gpt-5.6", 2_500, 10_000, 120),
    patches("gpt-6", 2_500, NO_LIMIT, 120),
    claude("claude", 1_568, 1_568),
    claude("claude-opus-4-7", 2_576, 4_784),
    claude("claude-opus-4-8", 2_576, 4_784),
    claude("claude-opus-5", 2_576, 4_784),
    claude("claude-sonnet-5", 2_576, 4_784),
    claude("claude-haiku-5", 2_576, 4_784),
    claude("claude-fable-5", 2_576, 4_784),
    Family { page: Some(258), sound: 320, ..family("gemini", Vision::Crops { tile: 258 }) },
    Family { page: Some(560), sound: 320, ..family("gemini-3", Vision::Fixed { low: 280, high: 1_120 }) },
    Family { page: Some(560), sound: 320, ..family("gemini-4", Vision::Fixed { low: 280, high: 1_120 }) },
    Family { page: Some(256), ..family("gemma-3", Vision::Fixed { low: 256, high: 256 }) },
    family("grok", Vision::Overview { tile: 256 }),
    family("pixtral", Vision::Grid { side: 16, edge: 1_024, most: NO_LIMIT, row: 1, ends: 0 }),
    family("mistral", Vision::Grid { side: 28, edge: 1_540, most: NO_LIMIT, row: 1, ends: 0 }),
    family("ministral", Vision::Grid { side: 28, edge: 1_540, most: NO_LIMIT, row: 1, ends: 0 }),
    family("magistral", Vision::Grid { side: 28, edge: 1_540, most: NO_LIMIT, row: 1, ends: 0 }),
    family("qwen2.5-vl", Vision::Grid { side: 28, edge: 1 << 14, most: 1_280, row: 0, ends: 2 }),
    family("qwen3-vl", Vision::Grid { side: 32, edge: 1 << 14, most: 2_560, row: 0, ends: 2 }),
];

/// What was found of one medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Image {
        tokens: u64,
        sized: bool,
    },
    Document {
        tokens: u64,
        sized: bool,
    },
    Sound {
        tokens: u64,
    },
    /// Nothing that is published says what it costs, or how large it is.
    Unknown,
}

/// `None` for what is no medium.
pub(super) fn measure(part: &MessagePart, model: &str) -> Option<Medium> {
    let (modality, mime, bytes, extent, detail) = match part {
        MessagePart::Blob { modality, mime_type, bytes, extent, detail } => {
            (modality.as_str(), mime_type.as_deref().unwrap_or_default(), *bytes, *extent, detail)
        }
        MessagePart::Uri { modality, detail, .. } => (modality.as_str(), "", 0, None, detail),
        MessagePart::File { .. } => return Some(Medium::Unknown),
        _ => return None,
    };
    // A document that is text is read as text: some four bytes a token.
    if modality == "document" && mime.starts_with("text/") {
        return Some(Medium::Document { tokens: bytes.div_ceil(4), sized: true });
    }
    let Some(family) = family_of(model) else { return Some(Medium::Unknown) };
    let detail = detail.as_deref().unwrap_or("auto");
    Some(match (modality, extent) {
        // Documents are found among images, and images among documents.
        (_, Some(Extent::Pages(pages))) => {
            Medium::Document { tokens: family.page().saturating_mul(pages.into()), sized: true }
        }
        (_, Some(Extent::Milliseconds(ms))) if family.sound > 0 => {
            Medium::Sound { tokens: ms.saturating_mul(family.sound).div_ceil(10_000) }
        }
        ("image" | "document", Some(Extent::Pixels { width, height })) => {
            Medium::Image { tokens: family.vision.tokens((width, height), detail), sized: true }
        }
        ("image", _) => {
            Medium::Image { tokens: family.vision.tokens(UNKNOWN, detail), sized: detail == "low" }
        }
        ("document", _) => Medium::Document { tokens: family.page(), sized: false },
        _ => Medium::Unknown,
    })
}

fn family_of(model: &str) -> Option<&'static Family> {
    let name = super::encoding::bare(model);
    FAMILIES.iter().filter(|family| name.starts_with(family.prefix)).max_by_key(|family| family.prefix.len())
}

impl Family {
    fn page(&self) -> u64 {
        let text = if self.prefix.starts_with("claude") { PAGE_TEXT_CLAUDE } else { PAGE_TEXT };
        self.page.unwrap_or_else(|| self.vision.tokens(PAGE, "high").saturating_add(text))
    }
}

impl Vision {
    fn tokens(self, size: (u32, u32), detail: &str) -> u64 {
        match self {
            Self::Tiles { base, .. } if detail == "low" => base,
            Self::Tiles { base, tile } => {
                let (width, height) = shrunk(shrunk(size, 2_048.0, f64::max), 768.0, f64::min);
                base + tile * cells(width, 512.0) * cells(height, 512.0)
            }
            Self::Patches { high, auto, percent } => {
                let (size, most) = match detail {
                    "low" => (shrunk(real(size), 512.0, f64::max), high),
                    "high" => (real(size), high),
                    "original" => (real(size), auto.max(10_000)),
                    _ => (real(size), auto),
                };
                patched(size, most).saturating_mul(percent).div_ceil(100)
            }
            Self::Grid { side, edge, most, row, ends } => gridded(size, side, edge, most, row) + ends,
            Self::Crops { tile } => {
                let (short, long) = (u64::from(size.0.min(size.1)), u64::from(size.0.max(size.1)));
                if long <= 384 {
                    return tile;
                }
                let unit = (short * 2 / 3).max(1);
                tile.saturating_mul(short.div_ceil(unit)).saturating_mul(long.div_ceil(unit))
            }
            Self::Overview { tile } => {
                let crops = u64::from(size.0.div_ceil(448)) * u64::from(size.1.div_ceil(448));
                tile * (crops.min(6) + 1)
            }
            Self::Fixed { low, .. } if detail == "low" => low,
            Self::Fixed { high, .. } => high,
        }
    }
}

fn real((width, height): (u32, u32)) -> (f64, f64) {
    (width.into(), height.into())
}

/// Made smaller, never larger, until the side that `which` picks is `most`.
fn shrunk(size: impl Into<Size>, most: f64, which: fn(f64, f64) -> f64) -> (f64, f64) {
    let Size(width, height) = size.into();
    let factor = (most / which(width, height).max(1.0)).min(1.0);
    (width * factor, height * factor)
}

struct Size(f64, f64);

impl From<(u32, u32)> for Size {
    fn from(size: (u32, u32)) -> Self {
        let (width, height) = real(size);
        Self(width, height)
    }
}

impl From<(f64, f64)> for Size {
    fn from((width, height): (f64, f64)) -> Self {
        Self(width, height)
    }
}

/// Cells of this size that a length begins; what rounding left over begins none.
fn cells(length: f64, side: f64) -> u64 {
    (length / side - 1e-9).ceil().max(1.0) as u64
}

/// OpenAI's patches of 32, the picture being made smaller until they are few enough and one side is whole.
fn patched((width, height): (f64, f64), most: u64) -> u64 {
    let count = |factor: f64| cells(width * factor, 32.0) * cells(height * factor, 32.0);
    if count(1.0) <= most {
        return count(1.0);
    }
    let factor = (1_024.0 * most as f64 / (width * height)).sqrt();
    let whole = |length: f64| {
        let patches = length * factor / 32.0;
        patches.floor().max(1.0) / patches
    };
    count(factor * whole(width).min(whole(height))).min(most)
}

/// Patches of the largest form of a picture that fits.
fn gridded((width, height): (u32, u32), side: u32, edge: u32, most: u64, row: u64) -> u64 {
    let (short, long) = (width.min(height).max(1), width.max(height).max(1));
    let tokens = |long_edge: u32| {
        let short_edge = (u64::from(short) * u64::from(long_edge)).div_ceil(long.into()).max(1);
        let (along, across) = (u64::from(long_edge).div_ceil(side.into()), short_edge.div_ceil(side.into()));
        let rows = if width >= height { across } else { along };
        along * across + row * rows
    };
    (1..=long.min(edge)).rev().map(tokens).find(|tokens| *tokens <= most).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, detail: &str, model: &str) -> u64 {
        let part = MessagePart::Blob {
            modality: "image".to_owned(),
            mime_type: None,
            bytes: 1,
            extent: Some(Extent::Pixels { width, height }),
            detail: Some(detail.to_owned()),
        };
        match measure(&part, model) {
            Some(Medium::Image { tokens, .. }) => tokens,
            other => panic!("{other:?}"),
        }
    }

    /// The examples of OpenAI's page on vision.
    #[test]
    fn openai_counts_tiles_and_patches() {
        assert_eq!(image(1_024, 1_024, "high", "gpt-4o"), 765);
        assert_eq!(image(2_048, 4_096, "high", "gpt-4o"), 1_105);
        assert_eq!(image(4_096, 8_192, "low", "gpt-4.1"), 85);
        assert_eq!(image(1_024, 1_024, "auto", "gpt-4o-mini-2024-07-18"), 25_501);
        assert_eq!(image(512, 512, "high", "gpt-5-chat-latest"), 210);
        assert_eq!(image(100, 100, "high", "o3"), 225);
        assert_eq!(image(1_024, 1_024, "auto", "gpt-4.1-nano"), 1_024 * 246 / 100 + 1);
        // 1800 × 2400 is brought to 33 × 44 patches.
        assert_eq!(image(1_800, 2_400, "auto", "gpt-4.1-mini"), (1_452 * 162u64).div_ceil(100));
    }

    /// Measured over the API in 2026: a picture's share of the input that was reported for it.
    #[test]
    fn formulas_agree_with_what_was_reported() {
        for (width, height, high, auto_55, auto_6) in [
            (256, 256, 77, 77, 77),
            (1_024, 1_024, 1_229, 1_229, 1_229),
            (1_920, 1_080, 2_448, 2_448, 2_448),
            (2_560, 1_440, 2_931, 4_320, 4_320),
            (3_840, 2_160, 2_931, 9_792, 9_792),
            (4_032, 3_024, 2_942, 11_868, 14_364),
        ] {
            assert_eq!(image(width, height, "high", "gpt-6-astra"), high, "{width} × {height}");
            assert_eq!(image(width, height, "auto", "gpt-5.5"), auto_55, "{width} × {height}");
            assert_eq!(image(width, height, "auto", "gpt-6-astra"), auto_6, "{width} × {height}");
        }
        for (width, height, older, newer) in [
            (256, 256, 100, 100),
            (768, 768, 784, 784),
            (1_280, 720, 1_196, 1_196),
            (1_920, 1_080, 1_560, 2_691),
        ] {
            assert_eq!(image(width, height, "auto", "claude-haiku-4-5"), older, "{width} × {height}");
            assert_eq!(image(width, height, "auto", "claude-opus-5-5"), newer, "{width} × {height}");
        }
        assert_eq!(image(4_032, 3_024, "auto", "claude-sonnet-4-6"), 1_564);
        assert_eq!(image(3_840, 2_160, "auto", "claude-opus-4-8"), 4_784);
    }

    #[test]
    fn other_makers_have_formulas_of_their_own() {
        assert_eq!(image(384, 384, "auto", "gemini-2.5-flash"), 258);
        assert_eq!(image(1_920, 1_080, "auto", "models/gemini-2.5-pro"), 6 * 258);
        assert_eq!(image(1_920, 1_080, "auto", "gemini-3.5-flash"), 1_120);
        assert_eq!(image(1_920, 1_080, "low", "gemini-3.5-flash"), 280);
        assert_eq!(image(1_024, 1_024, "auto", "x-ai/grok-4.7"), 7 * 256);
        assert_eq!(image(1_024, 1_024, "auto", "pixtral-12b"), 64 * 64 + 64);
        assert_eq!(image(280, 28, "auto", "Qwen/Qwen2.5-VL-7B-Instruct"), 12);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let link = MessagePart::uri("image", "https://e.org/a.png".to_owned());
        assert_eq!(measure(&link, "gpt-4o"), Some(Medium::Image { tokens: 765, sized: false }));
        let low = MessagePart::Uri {
            modality: "image".to_owned(),
            uri: "https://e.org/a.png".to_owned(),
            detail: Some("low".to_owned()),
        };
        assert_eq!(measure(&low, "gpt-4o"), Some(Medium::Image { tokens: 85, sized: true }));
        assert_eq!(measure(&link, "some-model"), Some(Medium::Unknown));
        let file = MessagePart::File { file_id: "f1".to_owned() };
        assert_eq!(measure(&file, "gpt-4o"), Some(Medium::Unknown));
        assert_eq!(measure(&MessagePart::Text { content: String::new() }, "gpt-4o"), None);
    }

    #[test]
    fn documents_and_sound() {
        let blob = |modality: &str, mime: &str, bytes, extent| MessagePart::Blob {
            modality: modality.to_owned(),
            mime_type: Some(mime.to_owned()),
            bytes,
            extent,
            detail: None,
        };
        let pdf = blob("document", "application/pdf", 9_000, Some(Extent::Pages(3)));
        let document = |tokens, sized| Some(Medium::Document { tokens, sized });
        assert_eq!(measure(&pdf, "gemini-2.5-pro"), document(3 * 258, true));
        assert_eq!(measure(&pdf, "gpt-4o"), document(3 * (1_105 + 500), true));
        assert_eq!(measure(&pdf, "claude-sonnet-4-6"), document(3 * (1_551 + 1_500), true));
        let scrambled = blob("document", "application/pdf", 9_000, None);
        assert_eq!(measure(&scrambled, "gemini-2.5-pro"), document(258, false));
        assert_eq!(measure(&blob("document", "text/plain", 400, None), "nobody"), document(100, true));
        let sound = blob("audio", "audio/wav", 9_000, Some(Extent::Milliseconds(2_500)));
        assert_eq!(measure(&sound, "gpt-4o-audio-preview"), Some(Medium::Sound { tokens: 25 }));
        assert_eq!(measure(&sound, "gemini-2.5-flash"), Some(Medium::Sound { tokens: 80 }));
        assert_eq!(measure(&sound, "claude-opus-5"), Some(Medium::Unknown));
    }

    #[test]
    fn no_size_is_too_odd() {
        for family in FAMILIES {
            for size in [(1, 1), (1, u32::MAX), (u32::MAX, u32::MAX), (8_000, 1)] {
                for detail in ["low", "high", "auto", "original"] {
                    assert!(family.vision.tokens(size, detail) > 0, "{} {size:?}", family.prefix);
                }
            }
        }
    }
}
