//! `bad-image`
//!
//! What the user sees: "Could not process image", "The image was specified using the image/png media type, but the image
//! appears to be a image/jpeg image" or the like, at every prompt from then on (opencode issues 4781, 23990).
//!
//! Why: bytes that are no image, none at all, or an image of another type than is said, were attached or came from a tool.
//!
//! Rows before and after: as for `image-size`.
//!
//! Source: the refusals that people have reported (docs/opencode.md §12); the four types by Anthropic's page on vision.
//! A file that only starts like an image is not found this way: its refusal is.

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::diagnosis::limits::{self, Wrong};
use crate::history::{Found, RefusalClass};

pub(super) const RULE: RequestRule = RequestRule { code: Code::BadImage, classes: &[RefusalClass::BadImage], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() && asked.refused(RefusalClass::BadImage).is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (at, media) in asked.files() {
        let detail = match (limits::alone(media), media.found) {
            (Some(Wrong::Nothing), _) => "a file without a byte in it".to_owned(),
            (Some(Wrong::NoImage), _) => {
                "said to be an image, and none of the types that models take: PNG, JPEG, GIF, WebP".to_owned()
            }
            (Some(Wrong::OtherType), Found::Image { mime, .. }) => {
                format!("said to be another type of image than it is: its bytes are {mime}")
            }
            _ => continue,
        };
        out.push(asked.rule(Code::BadImage, at, detail));
    }
    out
}
