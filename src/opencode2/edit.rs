//! Changes of a row's JSON. Every byte outside of what is changed stays as it is.
//!
//! Each of them was tried on the preview: refused before, taken after (docs/opencode.md §16). None changes an id, a
//! `seq` or the order of rows, so the counter in `event_sequence` stays as high as the rows need it. A completed call
//! without `content` is not among them: what its `metadata` holds need not be what the model was sent.

use super::json::{Members, Raw, offset, quote};

/// A change of one row's `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Takes the provider's state out of thinking.
    DropState {
        /// The place in `content`.
        part: usize,
    },
    /// Makes thinking plain text, which is what released programs send for thinking without a signature. Only in a
    /// store of the preview.
    ThinkingAsText {
        /// The place in `content`.
        part: usize,
    },
    /// Sets a missing `time.created` to the row's column.
    Created {
        /// `time_created` of the row, in ms since the epoch.
        ms: i64,
    },
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The row is no JSON object, or has no such part.
    #[error("the row has no such part")]
    NoSuchPart,
    /// There is nothing to change, or the row does not tell what is missing.
    #[error("the row does not tell what is missing, or nothing is")]
    NothingToDo,
}

/// A row's JSON with the edit made.
///
/// # Errors
/// What keeps it from being made.
pub fn apply(data: &str, edit: Edit) -> Result<String, EditError> {
    let row = Raw::parse(data).ok_or(EditError::NoSuchPart)?;
    match edit {
        Edit::Created { ms } => created(data, row, ms),
        Edit::DropState { part } => change(data, row, part, drop_state),
        Edit::ThinkingAsText { part } => change(data, row, part, as_text),
    }
}

/// Whether nothing has changed but what the edit names: every other part and every other member is the same, byte for byte.
#[must_use]
pub fn keeps(before: &str, after: &str, edit: Edit) -> bool {
    let (Some(was), Some(is)) = (Raw::parse(before), Raw::parse(after)) else { return false };
    let same = |a: Raw<'_>, b: Raw<'_>, name: &str| others(a, name).is_some_and(|a| others(b, name) == Some(a));
    match edit {
        Edit::Created { .. } => same(was, is, "time") && same(member(was, "time"), member(is, "time"), "created"),
        Edit::DropState { part: at } | Edit::ThinkingAsText { part: at } => {
            let name = if matches!(edit, Edit::DropState { .. }) { "state" } else { "type" };
            let (mut was_parts, mut is_parts) = (member(was, "content").items(), member(is, "content").items());
            if at >= was_parts.len() || was_parts.len() != is_parts.len() {
                return false;
            }
            let (a, b) = (was_parts.remove(at), is_parts.remove(at));
            same(was, is, "content") && was_parts == is_parts && same(a, b, name)
        }
    }
}

/// A member of an object; an object without members where there is none.
fn member<'a>(object: Raw<'a>, name: &str) -> Raw<'a> {
    object.members().and_then(|members| members.get(name)).unwrap_or(Raw::EMPTY)
}

/// An object's members but for one; `None` for what is no object.
fn others<'a>(object: Raw<'a>, name: &str) -> Option<Vec<(String, &'a str)>> {
    let members = object.members()?;
    let kept = members.object().members().filter(|(other, _)| *other != name);
    Some(kept.map(|(name, raw)| (name.to_owned(), raw)).collect())
}

/// A text with a part of it replaced.
fn splice(whole: &str, part: Raw<'_>, new: &str) -> String {
    let start = offset(whole, part.as_str());
    format!("{}{new}{}", &whole[..start], &whole[start + part.as_str().len()..])
}

/// The row with one of its parts changed.
fn change(
    data: &str,
    row: Raw<'_>,
    at: usize,
    change: impl FnOnce(&Members<'_>) -> Result<String, EditError>,
) -> Result<String, EditError> {
    let content = row.members().and_then(|row| row.get("content")).ok_or(EditError::NoSuchPart)?;
    let part = content.items().get(at).copied().ok_or(EditError::NoSuchPart)?;
    let members = part.members().ok_or(EditError::NoSuchPart)?;
    Ok(splice(data, part, &change(&members)?))
}

fn drop_state(part: &Members<'_>) -> Result<String, EditError> {
    match part.text("type") {
        Some(kind) if kind == *"reasoning" && part.get("state").is_some() => Ok(part.without("state")),
        _ => Err(EditError::NothingToDo),
    }
}

fn as_text(part: &Members<'_>) -> Result<String, EditError> {
    match part.text("type") {
        Some(kind) if kind == *"reasoning" => Ok(part.with("type", &quote("text"))),
        _ => Err(EditError::NothingToDo),
    }
}

fn created(data: &str, row: Raw<'_>, ms: i64) -> Result<String, EditError> {
    let members = row.members().ok_or(EditError::NoSuchPart)?;
    match members.get("time") {
        None => Ok(splice(data, row, &members.with("time", &format!("{{\"created\":{ms}}}")))),
        Some(time) => {
            let inner = time.members().ok_or(EditError::NothingToDo)?;
            if inner.get("created").is_some() {
                return Err(EditError::NothingToDo);
            }
            Ok(splice(data, time, &inner.with("created", &ms.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd spacing, and what other JSON writers would change.
    const ROW: &str = r#"{ "time":{"completed":2 ,"x":1.0}, "content" : [{"type":"reasoning","text":"h\u00e9","state":{"signature":"s"}},{"type":"tool","providerState":{"a":1},"id":"c","providerResultState":{"b":1},"state":{"status":"completed","metadata":{"output":"o\n"},"content":[]}}],"z":"\ud800"}"#;

    #[test]
    fn edits_touch_nothing_else() {
        let edited = |edit| apply(ROW, edit).unwrap();
        assert_eq!(edited(Edit::DropState { part: 0 }), ROW.replace(r#","state":{"signature":"s"}"#, ""));
        assert_eq!(edited(Edit::ThinkingAsText { part: 0 }), ROW.replacen("\"reasoning\"", "\"text\"", 1));
        assert_eq!(edited(Edit::Created { ms: 7 }), ROW.replace(r#""x":1.0}"#, r#""x":1.0,"created":7}"#));
    }

    #[test]
    fn what_else_changes_is_seen() {
        let edits = [Edit::DropState { part: 0 }, Edit::ThinkingAsText { part: 0 }];
        for edit in edits.into_iter().chain([Edit::Created { ms: 7 }]) {
            let made = apply(ROW, edit).unwrap();
            assert!(keeps(ROW, &made, edit), "{edit:?}");
            for (word, other) in [("1.0", "1"), ("\\u00e9", "é"), ("\"c\"", "\"d\""), ("o\\n", "o"), ("\\ud800", "")] {
                assert!(!keeps(ROW, &made.replace(word, other), edit), "{edit:?}: {word}");
            }
            assert!(!keeps(ROW, "[]", edit));
        }
        assert!(!keeps(ROW, ROW, Edit::DropState { part: 2 }));
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(apply(ROW, Edit::ThinkingAsText { part: 1 }), Err(EditError::NothingToDo));
        assert_eq!(apply(ROW, Edit::DropState { part: 1 }), Err(EditError::NothingToDo));
        assert_eq!(apply(ROW, Edit::DropState { part: 2 }), Err(EditError::NoSuchPart));
        let whole = apply(ROW, Edit::Created { ms: 7 }).unwrap();
        assert_eq!(apply(&whole, Edit::Created { ms: 8 }), Err(EditError::NothingToDo));
        assert_eq!(apply("[1]", Edit::Created { ms: 8 }), Err(EditError::NoSuchPart));
        assert_eq!(apply("{}", Edit::Created { ms: 8 }).unwrap(), r#"{"time":{"created":8}}"#);
    }
}
