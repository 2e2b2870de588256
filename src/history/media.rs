//! What the bytes of an attached file say: how large they are, whether they are an image, how many pixels it has.
//! Names and media types are somebody's word; a provider looks at the bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use imagesize::{ImageType, blob_size, image_type};

use super::Depth;
use super::metadata::Digest;
use crate::json::{self, Object};

/// How much of a file is decoded first: an image's size stands near its start, in bytes. Only a photograph with a large
/// preview in front needs more, and is then decoded whole.
const HEAD: usize = 64 << 10;

/// Base64 as opencode passes it on: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A file that a part carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The media type that it is said to have.
    pub mime: String,
    /// Length of its base64 text; `None` where it is not in the row but somewhere that its address names.
    pub base64: Option<u64>,
    /// What the bytes are.
    pub found: Found,
    /// Of its address, its type and its name.
    pub digest: Digest,
    /// Its address holds the file itself: `data:…,…`.
    pub inline: bool,
}

/// What the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There are none.
    Nothing,
    /// An image of one of the four types that models take.
    Image {
        /// Its type, such as `image/png`.
        mime: &'static str,
        /// Pixels.
        width: u64,
        /// Pixels.
        height: u64,
    },
    /// Said to be an image, and none of those types, cut off before its size, or no base64.
    NoImage,
    /// Not looked at: another kind of file, or not in the row.
    Other,
}

impl Media {
    /// From the JSON of a file part or of a tool's attachment: `mime` and `url`.
    ///
    /// # Errors
    /// When `mime` is missing or no string.
    pub fn of(object: &Object<'_>, depth: Depth) -> Result<Self, json::ShapeError> {
        let mime = object.required_string("mime")?;
        let url = object.get("url").unwrap_or_default();
        let name = object.get("filename").unwrap_or_default();
        let digest = depth.digest(&[url.as_bytes(), mime.as_bytes(), name.as_bytes()]);
        let inline = url.starts_with("\"data:") && url.contains(',');
        let Some(data) = data_of(url) else {
            return Ok(Self { mime, base64: None, found: Found::Other, digest, inline });
        };
        let found = match () {
            () if data.is_empty() => Found::Nothing,
            () if mime.starts_with("image/") => look(data),
            () => Found::Other,
        };
        Ok(Self { mime, base64: Some(data.len() as u64), found, digest, inline })
    }

    /// Whether it is sent to a model as media: an image or a PDF document (read in opencode 1.14.48 and 1.18.33).
    #[must_use]
    pub fn is_media(&self) -> bool {
        self.is_image() || self.mime == "application/pdf"
    }

    /// Whether it is said to be an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.mime.starts_with("image/")
    }

    /// Whether every package takes it: an image, or what opencode itself turns into text.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_image() || self.mime == "text/plain" || self.mime == "application/x-directory"
    }

    /// The longer side in pixels, where it is an image.
    #[must_use]
    pub fn longest(&self) -> Option<u64> {
        match self.found {
            Found::Image { width, height, .. } => Some(width.max(height)),
            _ => None,
        }
    }
}

/// The base64 text of a data URL that stands in a JSON string; opencode writes it without escapes.
fn data_of(raw: &str) -> Option<&str> {
    let url = raw.strip_prefix('"')?.strip_suffix('"')?;
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    (head.ends_with(";base64") && !data.contains('\\')).then_some(data)
}

/// The bytes of a data URL that stands in a JSON string; `None` for anything else.
#[must_use]
pub fn bytes_of(raw: &str) -> Option<Vec<u8>> {
    BASE64.decode(data_of(raw)?).ok()
}

fn look(data: &str) -> Found {
    let head = &data.as_bytes()[..data.len().min(HEAD)];
    let size = |text: &[u8]| {
        let bytes = BASE64.decode(text).ok()?;
        let mime = match image_type(&bytes).ok()? {
            ImageType::Png => "image/png",
            ImageType::Jpeg => "image/jpeg",
            ImageType::Gif => "image/gif",
            ImageType::Webp => "image/webp",
            _ => return None,
        };
        let size = blob_size(&bytes).ok()?;
        Some(Found::Image { mime, width: size.width as u64, height: size.height as u64 })
    };
    // A multiple of four characters is a whole number of bytes.
    let found = size(head).or_else(|| if head.len() < data.len() { size(data.as_bytes()) } else { None });
    found.unwrap_or(Found::NoImage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mime: &str, bytes: &[u8]) -> Media {
        let url = format!("data:{mime};base64,{}", BASE64.encode(bytes));
        let text = format!(r#"{{"mime":"{mime}","url":"{url}"}}"#);
        Media::of(&Object::parse(&text).unwrap(), Depth::Whole).unwrap()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        out.extend(width.to_be_bytes());
        out.extend(height.to_be_bytes());
        out.extend([8, 6, 0, 0, 0]);
        out
    }

    #[test]
    fn the_bytes_decide() {
        let image = Found::Image { mime: "image/png", width: 9_000, height: 3 };
        assert_eq!(of("image/png", &png(9_000, 3)).found, image);
        assert_eq!(of("image/jpeg", &png(9_000, 3)).found, image, "whatever it is said to be");
        assert_eq!(of("image/png", b"<html>").found, Found::NoImage);
        assert_eq!(of("image/png", b"").found, Found::Nothing);
        assert_eq!(of("application/pdf", b"%PDF-").found, Found::Other);
        let away = Object::parse(r#"{"mime":"image/png","url":"https://x/y.png"}"#).unwrap();
        assert_eq!(Media::of(&away, Depth::Whole).unwrap().base64, None);
        let broken = Object::parse(r#"{"mime":"image/png","url":"data:image/png;base64,*"}"#).unwrap();
        assert_eq!(Media::of(&broken, Depth::Whole).unwrap().found, Found::NoImage);
    }

    #[test]
    fn a_size_behind_a_large_preview_is_found() {
        let mut jpeg = vec![0xff, 0xd8];
        for _ in 0..3 {
            jpeg.extend([0xff, 0xe2, 0xff, 0xff]);
            jpeg.extend(vec![0; 65_533]);
        }
        jpeg.extend([0xff, 0xc0, 0, 17, 8, 0x12, 0x34, 0x21, 0x43, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        assert_eq!(of("image/jpeg", &jpeg).found, Found::Image { mime: "image/jpeg", width: 0x2143, height: 0x1234 });
    }
}
