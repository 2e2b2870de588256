//! Changes that let opencode 2 import a session of opencode 1 (docs/opencode.md §16).

use super::change::{Change, RowJson, part_json};
use crate::diagnosis::Code;
use crate::error::Result;
use crate::history::{Message, Part, PartKind, Session};
use crate::opencode2::import::fix;
use crate::rows::Lookup;

/// One change for each prompt's file whose URL the import cannot decode, and for each answer before the last row that was
/// never marked as ended and whose last part tells when it ended.
///
/// # Errors
/// When a row cannot be read.
pub(super) fn importable(session: &Session, rows: &dyn Lookup) -> Result<Vec<Change>> {
    let mut out = Vec::new();
    let last = session.messages.len().saturating_sub(1);
    for (at, message) in session.messages.iter().enumerate() {
        if message.user().is_some() {
            files(message, rows, &mut out)?;
        } else if at < last && !message.assistant().is_some_and(|a| a.summary) {
            out.extend(ended(message, rows)?);
        }
    }
    Ok(out)
}

fn files(message: &Message, rows: &dyn Lookup, out: &mut Vec<Change>) -> Result<()> {
    for part in message.parts.iter().filter(|part| matches!(part.kind, PartKind::File(_))) {
        let Some(data) = part_json(part, rows)?.and_then(|data| fix::encode_escapes(&data)) else {
            continue;
        };
        let (id, part) = (message.row.id.clone(), part.id().to_owned());
        out.push(Change::SetPart { id, part, data, reason: Code::ImportStops });
    }
    Ok(())
}

fn ended(message: &Message, rows: &dyn Lookup) -> Result<Option<Change>> {
    // Behind the last content nothing stands but marks of its step, which have no time.
    let content = |part: &&Part| {
        matches!(part.kind, PartKind::Text { .. } | PartKind::Reasoning { .. } | PartKind::Tool(_) | PartKind::File(_))
    };
    let last = message.parts.iter().rev().find(content);
    let (Some(last), Some(data)) = (last, RowJson::of(message, rows)?) else {
        return Ok(None);
    };
    // Most answers have their end; only of the others a part is read.
    let data = data.text();
    if fix::is_completed(&data) {
        return Ok(None);
    }
    let last = part_json(last, rows)?;
    let data = fix::complete(&data, last.as_deref());
    Ok(data.map(|data| Change::SetData { id: message.row.id.clone(), data, reason: Code::ImportHidesHistory }))
}
