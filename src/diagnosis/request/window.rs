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

use std::collections::BTreeMap;

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;

pub(super) const RULE: RequestRule = RequestRule { code: Code::OverWindow, classes: &[RefusalClass::Window], broken };

/// The parts that fill the window most, as they are stored.
fn largest(asked: &Asked<'_, '_>) -> String {
    let of_parts = asked.request.blocks().filter_map(|block| {
        let what = block.call().map_or("a text".to_owned(), |call| format!("{} call", call.tool));
        Some((block.part_id()?, (block.bytes(), what)))
    });
    let parts: BTreeMap<&str, (u64, String)> = of_parts.collect();
    let mut parts: Vec<_> = parts.into_iter().map(|(id, (bytes, what))| (bytes, id, what)).collect();
    parts.sort_by_key(|(bytes, _, _)| std::cmp::Reverse(*bytes));
    let shown = parts.iter().take(3).map(|(bytes, id, what)| format!("{what} of {} ({id})", super::size(*bytes)));
    format!("the largest of its {} parts: {}", parts.len(), shown.collect::<Vec<_>>().join(", "))
}

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
            format!("its compaction was refused: the history is longer than the model's window; {}", largest(asked))
        } else {
            format!("refused for its length, and no later answer of that model has got past it; {}", largest(asked))
        },
        evidence: None,
        doubt: Some("`/compact`, or a model with a larger window, may get past it"),
    }]
}
