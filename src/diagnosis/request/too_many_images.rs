//! `too-many-images`
//!
//! What the user sees: "request contains 52 images, exceeding the maximum of 50 allowed per request", at every prompt
//! from then on (opencode issue 47721).
//!
//! Why: every image of the history is sent again; nothing takes the old ones out.
//!
//! Rows before and after: as for `image-size`, the oldest images first.
//!
//! Source: the issue; Anthropic's page on vision (100 in a request to a model with a window of 200,000 tokens, 600 to
//! others). As the window of a model is not known here, Claude's limit alone is only said.

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::limits;
use crate::diagnosis::{Code, Evidence};
use crate::history::RefusalClass;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::TooManyImages, classes: &[RefusalClass::TooManyImages], broken };

const WINDOW: &str = "models with a larger window take more of them";

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let images = || asked.files().filter(|(_, media)| media.is_image());
    let count = images().count();
    let refused = asked.refused(RefusalClass::TooManyImages);
    let (most, evidence, doubt) = match refused.and_then(|r| r.most) {
        Some(most) => (usize::try_from(most).unwrap_or(usize::MAX), Some(Evidence::Evidenced), None),
        None if asked.claude() => (limits::IMAGES, None, Some(WINDOW)),
        None => return Vec::new(),
    };
    if count <= most {
        return Vec::new();
    }
    images()
        .take(count - most)
        .map(|(at, _)| {
            let detail = format!("one of the oldest of {count} images in a request that may hold {most}");
            Broken { evidence, doubt, ..super::broken(Code::TooManyImages, at, detail) }
        })
        .collect()
}
