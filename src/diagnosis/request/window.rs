//! `over-window`
//!
//! What the user sees: "prompt is too long", and the compaction that should help is refused for the same.
//!
//! Why: one answer or one tool's output is longer than what is left of the model's window.
//!
//! Nothing is proposed: what may go is the person's to say, and the window is not in the store. A model with a larger
//! one gets past it.
//!
//! Source: the refusals of docs/opencode.md §12.

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;

pub(super) const RULE: RequestRule = RequestRule { code: Code::OverWindow, classes: &[RefusalClass::Window], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let Some((row, _)) = asked.refusal.filter(|(_, refusal)| refusal.class == RefusalClass::Window) else {
        return Vec::new();
    };
    let summary = row.assistant().is_some_and(|a| a.summary);
    vec![Broken {
        code: Code::OverWindow,
        message_id: row.row.id.clone(),
        part_id: None,
        attachment: None,
        detail: if summary {
            "its compaction was refused: the history is longer than the model's window".to_owned()
        } else {
            "refused for its length, and nothing has worked since".to_owned()
        },
        evidence: None,
        doubt: Some("`/compact`, or a model with a larger window, may get past it"),
    }]
}
