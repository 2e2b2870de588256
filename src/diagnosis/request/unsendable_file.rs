//! `unsendable-file`
//!
//! What the user sees: "'file part media type application/pdf' functionality not supported", at every prompt from then on.
//!
//! Why: a prompt, or a tool's result, holds a file of a kind that the AI SDK package cannot send. opencode hands it over all
//! the same where the model is configured to take such files, or where it knows no such setting for the kind, and the
//! package gives up before anything is sent.
//!
//! Rows before and after: as for `image-size`.
//!
//! Source: read in each package (`src/replay/packages`); measured on 1.14.48 and 1.18.34 with Copilot's, Groq's and xAI's.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::{Code, Evidence};
use crate::replay::StopKind;

pub(super) const RULE: RequestRule = RequestRule { code: Code::UnsendableFile, classes: &[], broken };

const CAPABLE: &str = "it is not known whether opencode sends this model such files at all";

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let mut out = Vec::new();
    for stop in asked.request.stops.iter().filter(|stop| stop.what == StopKind::File) {
        let same = |at: &Place<'_, '_>| at.block.part_id() == Some(stop.part.id()) && at.block.media().is_some();
        for at in asked.places().filter(same) {
            let Some(media) = at.block.media() else { continue };
            let sure = asked.sdk.measured() && !asked.sdk.guess && asked.sdk.reads(&media.mime) == Some(true);
            let detail = "a file of a kind that the package cannot send".to_owned();
            let found = super::broken(Code::UnsendableFile, at, detail);
            let (evidence, doubt) = if sure { (Some(Evidence::Predicted), None) } else { (None, Some(CAPABLE)) };
            out.push(Broken { evidence, doubt, ..found });
        }
    }
    out
}
