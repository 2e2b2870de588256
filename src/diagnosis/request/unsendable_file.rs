//! `unsendable-file`
//!
//! What the user sees: "'file part media type application/pdf' functionality not supported", "This model doesn't support
//! documents" or "unknown variant `image_url`, expected `text`", at every prompt from then on.
//!
//! Why: a prompt, or a tool's result, holds a file of a kind that the AI SDK package cannot send, or that the model does not
//! take. opencode hands it over all the same where the model is configured to take such files, where it knows no such
//! setting for the kind, or where a tool read it. The package gives up before anything is sent; the service refuses, and
//! only a stored refusal proves that.
//!
//! Rows before and after: as for `image-size`.
//!
//! Source: read in each package (`src/replay/packages`); measured on 1.14.48 and 1.18.34 with Copilot's, Groq's and xAI's.
//! The services' words: opencode issues 21908 and 26087, models.dev pull request 6821 (Bedrock), and reports of DeepSeek's
//! (docs/opencode.md §12).

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::{Code, Evidence};
use crate::history::{Media, RefusalClass};
use crate::replay::StopKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::UnsendableFile, classes: &[RefusalClass::NoImages, RefusalClass::NoDocuments], broken };

const CAPABLE: &str = "it is not known whether opencode sends this model such files at all";

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let mut out = Vec::new();
    for stop in asked.request.stops.iter().filter(|stop| stop.what == StopKind::File) {
        let same = |at: &Place<'_, '_>| at.block.part_id() == Some(stop.part.id()) && at.block.media().is_some();
        for at in asked.places().filter(same) {
            let Some(media) = at.block.media() else { continue };
            // Of files inside of a tool's result opencode does not ask whether the model takes them.
            let reaches = at.block.inner.is_some() || asked.sdk.reads(&media.mime) == Some(true);
            let sure = asked.sdk.measured() && !asked.sdk.guess && reaches;
            let detail = "a file of a kind that the package cannot send".to_owned();
            let found = super::broken(Code::UnsendableFile, at, detail);
            let (evidence, doubt) = if sure { (Some(Evidence::Predicted), None) } else { (None, Some(CAPABLE)) };
            out.push(Broken { evidence, doubt, ..found });
        }
    }
    let images = refused(asked, RefusalClass::NoImages, "an image, and the model takes none", Media::is_image);
    let documents = refused(asked, RefusalClass::NoDocuments, "a document, and the model takes none", is_document);
    for file in images.into_iter().chain(documents) {
        if !out.iter().any(|known| (&known.part_id, known.attachment) == (&file.part_id, file.attachment)) {
            out.push(file);
        }
    }
    out
}

fn is_document(media: &Media) -> bool {
    media.mime.starts_with("application/") || media.mime.starts_with("text/")
}

/// The files of a kind that the model has refused: none where it has answered such a file before, for then it is not about
/// the kind.
fn refused(asked: &Asked<'_, '_>, class: RefusalClass, detail: &str, is: fn(&Media) -> bool) -> Vec<Broken> {
    if asked.refused(class).is_none() {
        return Vec::new();
    }
    let answered = |file: &Place<'_, '_>| {
        let behind = asked.request.turns.iter().skip_while(|turn| turn.row.id() != file.row.id()).skip(1);
        let mut answers = behind.filter_map(|turn| Some((turn.row, turn.row.assistant()?)));
        answers.any(|(row, a)| row.id() != file.row.id() && *a.model == *asked.model && super::accepted(row, a))
    };
    // Of a prompt's file opencode may have sent no more than its name.
    let reaches = |(at, media): &(Place<'_, '_>, &Media)| {
        is(media) && (at.block.attachment().is_some() || asked.sdk.reads(&media.mime) == Some(true))
    };
    if asked.files().filter(reaches).any(|(at, _)| answered(&at)) {
        return Vec::new();
    }
    let files = asked.files().filter(|(_, media)| is(media));
    files.map(|(at, _)| super::broken(Code::UnsendableFile, at, detail.to_owned())).collect()
}
