//! Changes of a row's JSON. Every byte outside of what is changed stays as it is.
//!
//! Each of them was tried on the preview: refused before, taken after (docs/opencode.md §16). None changes an id, a
//! `seq` or the order of rows, so the counter in `event_sequence` stays as high as the rows need it.

use super::json::{Kind, Members, Raw, offset, quote};

/// A change of one row's `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Takes the provider's state out of a part: `state` of text and thinking, `providerState` and
    /// `providerResultState` of a call.
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
    /// Fills the missing or empty `content` of a completed call with the output that its `metadata` tells.
    Output {
        /// The place in `content`.
        part: usize,
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
        Edit::Output { part } => change(data, row, part, output),
    }
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
    let names: &[&str] = match part.text("type") {
        Some(kind) if kind == *"tool" => &["providerState", "providerResultState"],
        Some(_) => &["state"],
        None => return Err(EditError::NoSuchPart),
    };
    let mut names = names.iter().filter(|name| part.get(name).is_some());
    let first = part.without(names.next().ok_or(EditError::NothingToDo)?);
    let Some(second) = names.next() else { return Ok(first) };
    let rest = Raw::parse(&first).and_then(Raw::members).ok_or(EditError::NoSuchPart)?;
    Ok(rest.without(second))
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

fn output(part: &Members<'_>) -> Result<String, EditError> {
    let state = part.get("state").ok_or(EditError::NoSuchPart)?;
    let members = state.members().ok_or(EditError::NoSuchPart)?;
    let completed = members.text("status").is_some_and(|status| status == *"completed");
    let told = members.get("metadata").and_then(|metadata| metadata.string("output"));
    let missing = match members.get("content") {
        None => true,
        Some(content) => content.kind() == Kind::Array && content.items().is_empty(),
    };
    let Some(told) = told.filter(|_| completed && missing) else { return Err(EditError::NothingToDo) };
    let content = format!("[{{\"type\":\"text\",\"text\":{}}}]", told.as_raw().as_str());
    Ok(part.with("state", &members.with("content", &content)))
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
        assert_eq!(
            edited(Edit::DropState { part: 1 }),
            ROW.replace(r#","providerState":{"a":1}"#, "").replace(r#","providerResultState":{"b":1}"#, "")
        );
        assert_eq!(edited(Edit::ThinkingAsText { part: 0 }), ROW.replacen("\"reasoning\"", "\"text\"", 1));
        assert_eq!(edited(Edit::Created { ms: 7 }), ROW.replace(r#""x":1.0}"#, r#""x":1.0,"created":7}"#));
        assert_eq!(
            edited(Edit::Output { part: 1 }),
            ROW.replace(r#""content":[]"#, r#""content":[{"type":"text","text":"o\n"}]"#)
        );
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(apply(ROW, Edit::Output { part: 0 }), Err(EditError::NothingToDo));
        assert_eq!(apply(ROW, Edit::ThinkingAsText { part: 1 }), Err(EditError::NothingToDo));
        assert_eq!(apply(ROW, Edit::DropState { part: 2 }), Err(EditError::NoSuchPart));
        let whole = apply(ROW, Edit::Created { ms: 7 }).unwrap();
        assert_eq!(apply(&whole, Edit::Created { ms: 8 }), Err(EditError::NothingToDo));
        assert_eq!(apply("[1]", Edit::Created { ms: 8 }), Err(EditError::NoSuchPart));
        let full = apply(ROW, Edit::Output { part: 1 }).unwrap();
        assert_eq!(apply(&full, Edit::Output { part: 1 }), Err(EditError::NothingToDo));
        assert_eq!(apply("{}", Edit::Created { ms: 8 }).unwrap(), r#"{"time":{"created":8}}"#);
    }
}
