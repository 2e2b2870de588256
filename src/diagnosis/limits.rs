//! What Claude takes of images, wherever it runs. Source: Anthropic's page on vision ("General limits") and the refusals
//! that it answers with (docs/opencode.md §12).

use crate::history::{Found, Media};

/// Largest image, as base64 text, in bytes: 5 MiB.
pub const BASE64: u64 = 5 << 20;

/// Longest side of an image in pixels.
pub const SIDE: u64 = 8_000;

/// The same in a request that holds more than [`MANY`] images.
pub const SIDE_AMONG_MANY: u64 = 2_000;

/// From one more than this on, a request holds many images.
pub const MANY: usize = 20;

/// Most images in a request to a model with a window of 200,000 tokens; others take more (600).
pub const IMAGES: usize = 100;

/// The types of image that it takes.
pub const TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// What is wrong with a file whatever stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Larger than [`BASE64`].
    Bytes,
    /// A side longer than [`SIDE`].
    Pixels,
    /// There are no bytes.
    Nothing,
    /// The bytes are no image of the types in [`TYPES`].
    NoImage,
    /// It is another type of image than is said.
    OtherType,
}

/// What is wrong with the file by itself.
#[must_use]
pub fn alone(media: &Media) -> Option<Wrong> {
    if !media.is_media() {
        return None;
    }
    match media.found {
        Found::Nothing => Some(Wrong::Nothing),
        _ if !media.is_image() => None,
        Found::NoImage => Some(Wrong::NoImage),
        Found::Other => None,
        Found::Image { .. } if media.base64.is_some_and(|bytes| bytes > BASE64) => Some(Wrong::Bytes),
        Found::Image { width, height, .. } if width.max(height) > SIDE => Some(Wrong::Pixels),
        // `image/jpg` is no registered name, and refused like any other.
        Found::Image { mime, .. } if mime != media.mime => Some(Wrong::OtherType),
        Found::Image { .. } => None,
    }
}
