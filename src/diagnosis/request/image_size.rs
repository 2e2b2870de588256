//! `image-size`
//!
//! What the user sees: "messages.258.content.1.image.source.base64: image exceeds 5 MB maximum", or "At least one of the
//! image dimensions exceed max allowed size", at every prompt from then on (opencode issues 21668, 7235, 23570).
//!
//! Why: the image is in the history, and every request sends it again.
//!
//! Files before: `user (file image/png)` or `assistant (tool completed, attachments: [image/png])`
//! Files after:  `user (text "[Attached image/png: NAME]")` or `assistant (tool completed)`
//!
//! Source: Anthropic's page on vision, "General limits": 8000 pixels a side, 2000 in a request with more than 20 images;
//! 5 MB of base64 by the refusal itself ("5895160 bytes > 5242880 bytes").

use super::{Asked, Broken, RequestRule, size};
use crate::diagnosis::Code;
use crate::diagnosis::limits::{self, Wrong};
use crate::history::{Found, RefusalClass};

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::ImageSize, classes: &[RefusalClass::ImageBytes, RefusalClass::ImagePixels], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() {
        return Vec::new();
    }
    let images = asked.files().filter(|(_, media)| media.is_image()).count();
    let mut out = Vec::new();
    for (at, media) in asked.files() {
        let Found::Image { width, height, .. } = media.found else { continue };
        let longest = width.max(height);
        let detail = match limits::alone(media) {
            Some(Wrong::Bytes) => {
                let bytes = media.base64.unwrap_or(0);
                format!("an image of {} as base64; Claude takes {}", size(bytes), size(limits::BASE64))
            }
            Some(Wrong::Pixels) => {
                format!("an image of {width} x {height} pixels; Claude takes {} a side", limits::SIDE)
            }
            _ if images > limits::MANY && longest > limits::SIDE_AMONG_MANY => format!(
                "an image of {width} x {height} pixels, and the request holds {images}; with more than {} Claude takes \
                 {} a side",
                limits::MANY,
                limits::SIDE_AMONG_MANY
            ),
            _ => continue,
        };
        out.push(asked.rule(Code::ImageSize, at, detail));
    }
    out
}
