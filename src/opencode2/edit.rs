//! Changes of a row's JSON. Every byte outside of what is changed stays as it is.
//!
//! Each of them was tried on the preview: refused before, taken after (docs/opencode.md §16). None changes an id, a
//! `seq` or the order of rows, so the counter in `event_sequence` stays as high as the rows need it. A completed call
//! without `content` is not among them: what its `metadata` holds need not be what the model was sent.
//!
//! - `signatures`, Anthropic's protocol: thinking whose signature the stored refusal is about loses its `state`.
//!   Released programs then send it as text (read); in the preview it becomes text, as does thinking without a
//!   signature (if it has a word or none at all).
//! - `reasoning`, Responses without `store`: thinking whose encrypted content the stored refusal is about loses its
//!   `state`, and is not sent.
//! - `rows`, any protocol: a missing `time.created` becomes the row's `time_created`: they are equal in each of 256
//!   rows that the preview wrote.

use std::collections::BTreeMap;

use super::json::{Members, Raw, offset, quote};

/// A change of one row's `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Takes the provider's state out of thinking.
    DropState {
        /// The place in `content`.
        part: usize,
    },
    /// Makes thinking plain text without the provider's state, which is what released programs send for thinking without a
    /// signature. Only in a store of the preview.
    ThinkingAsText {
        /// The place in `content`.
        part: usize,
        /// It holds no word: an empty text is not sent.
        empty: bool,
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

impl Edit {
    /// The part that it changes; `None` where it is a member of the row.
    #[must_use]
    pub fn part(self) -> Option<usize> {
        match self {
            Self::DropState { part } | Self::ThinkingAsText { part, .. } => Some(part),
            Self::Created { .. } => None,
        }
    }
}

/// A row's JSON with the edits made, which are of different parts, or of the row's time alone.
///
/// # Errors
/// What keeps one from being made.
pub fn apply(data: &str, edits: &[Edit]) -> Result<String, EditError> {
    let row = Raw::parse(data).ok_or(EditError::NoSuchPart)?;
    if let [Edit::Created { ms }] = edits {
        return created(data, row, *ms);
    }
    let content = row.members().and_then(|row| row.get("content")).ok_or(EditError::NoSuchPart)?;
    let parts = content.items();
    let mut edits: Vec<(usize, Edit)> = edits.iter().filter_map(|edit| Some((edit.part()?, *edit))).collect();
    edits.sort_by_key(|(part, _)| *part);
    let (mut out, mut read) = (String::with_capacity(data.len()), 0);
    for (at, edit) in edits {
        let part = parts.get(at).copied().ok_or(EditError::NoSuchPart)?;
        let start = offset(data, part.as_str());
        out.push_str(data.get(read..start).ok_or(EditError::NothingToDo)?);
        out.push_str(&changed(part, edit)?);
        read = start + part.as_str().len();
    }
    out.push_str(&data[read..]);
    Ok(out)
}

/// Whether nothing has changed but what the edits name: every other part and every other member is the same, byte for byte.
#[must_use]
pub fn keeps(before: &str, after: &str, edits: &[Edit]) -> bool {
    let (Some(was), Some(is)) = (Raw::parse(before), Raw::parse(after)) else { return false };
    let same = |a: Raw<'_>, b: Raw<'_>, names: &[&str]| others(a, names).is_some_and(|a| others(b, names) == Some(a));
    if let [Edit::Created { .. }] = edits {
        return same(was, is, &["time"]) && same(member(was, "time"), member(is, "time"), &["created"]);
    }
    let edited: BTreeMap<usize, Edit> = edits.iter().filter_map(|edit| Some((edit.part()?, *edit))).collect();
    let (was_parts, is_parts) = (member(was, "content").items(), member(is, "content").items());
    let kept = |(at, (a, b)): (usize, (&Raw<'_>, &Raw<'_>))| match edited.get(&at) {
        None => a == b,
        Some(Edit::ThinkingAsText { .. }) => same(*a, *b, &["type", "state"]),
        Some(_) => same(*a, *b, &["state"]),
    };
    let all_there = edited.keys().all(|at| *at < was_parts.len()) && was_parts.len() == is_parts.len();
    same(was, is, &["content"]) && all_there && was_parts.iter().zip(&is_parts).enumerate().all(kept)
}

/// A member of an object; an object without members where there is none.
fn member<'a>(object: Raw<'a>, name: &str) -> Raw<'a> {
    object.members().and_then(|members| members.get(name)).unwrap_or(Raw::EMPTY)
}

/// An object's members but for some; `None` for what is no object.
fn others<'a>(object: Raw<'a>, names: &[&str]) -> Option<Vec<(String, &'a str)>> {
    let members = object.members()?;
    let kept = members.object().members().filter(|(name, _)| !names.contains(name));
    Some(kept.map(|(name, raw)| (name.to_owned(), raw)).collect())
}

/// A text with a part of it replaced.
fn splice(whole: &str, part: Raw<'_>, new: &str) -> String {
    let start = offset(whole, part.as_str());
    format!("{}{new}{}", &whole[..start], &whole[start + part.as_str().len()..])
}

/// A part as it is to be.
fn changed(part: Raw<'_>, edit: Edit) -> Result<String, EditError> {
    let members = part.members().ok_or(EditError::NoSuchPart)?;
    let thinking = members.text("type").is_some_and(|kind| kind == *"reasoning");
    let stateful = members.get("state").is_some();
    match edit {
        Edit::DropState { .. } if thinking && stateful => Ok(members.without("state")),
        // Claude refuses blank text as well. A row that was read shortened may not have shown that it is blank.
        Edit::ThinkingAsText { .. }
            if thinking && members.text("text").is_some_and(|t| t.is_empty() || !t.is_blank()) =>
        {
            let text = members.with("type", &quote("text"));
            match Members::parse(&text) {
                Some(members) if stateful => Ok(members.without("state")),
                _ => Ok(text),
            }
        }
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

    const AS_TEXT: Edit = Edit::ThinkingAsText { part: 0, empty: false };

    #[test]
    fn edits_touch_nothing_else() {
        let edited = |edit| apply(ROW, &[edit]).unwrap();
        let stateless = ROW.replace(r#","state":{"signature":"s"}"#, "");
        assert_eq!(edited(Edit::DropState { part: 0 }), stateless);
        assert_eq!(edited(AS_TEXT), stateless.replacen("\"reasoning\"", "\"text\"", 1));
        assert_eq!(edited(Edit::Created { ms: 7 }), ROW.replace(r#""x":1.0}"#, r#""x":1.0,"created":7}"#));
        let two = r#"{"content":[{"type":"reasoning","text":"a"} , {"type":"text"},{"type":"reasoning","state":{}}] }"#;
        let both = [Edit::DropState { part: 2 }, AS_TEXT];
        let made = apply(two, &both).unwrap();
        assert_eq!(made, r#"{"content":[{"type":"text","text":"a"} , {"type":"text"},{"type":"reasoning"}] }"#);
        assert!(keeps(two, &made, &both) && !keeps(two, &made, &both[..1]));
    }

    #[test]
    fn what_else_changes_is_seen() {
        for edit in [Edit::DropState { part: 0 }, AS_TEXT, Edit::Created { ms: 7 }] {
            let made = apply(ROW, &[edit]).unwrap();
            assert!(keeps(ROW, &made, &[edit]), "{edit:?}");
            for (word, other) in [("1.0", "1"), ("\\u00e9", "é"), ("\"c\"", "\"d\""), ("o\\n", "o"), ("\\ud800", "")] {
                assert!(!keeps(ROW, &made.replace(word, other), &[edit]), "{edit:?}: {word}");
            }
            assert!(!keeps(ROW, "[]", &[edit]));
        }
        assert!(!keeps(ROW, ROW, &[Edit::DropState { part: 2 }]));
    }

    #[test]
    fn nothing_is_made_up() {
        let blank = r#"{"content":[{"type":"reasoning","text":" \n"}]}"#;
        assert_eq!(apply(blank, &[AS_TEXT]), Err(EditError::NothingToDo));
        let refused = |edit| apply(ROW, &[edit]).unwrap_err();
        assert_eq!(refused(Edit::ThinkingAsText { part: 1, empty: false }), EditError::NothingToDo);
        assert_eq!(refused(Edit::DropState { part: 1 }), EditError::NothingToDo);
        assert_eq!(refused(Edit::DropState { part: 2 }), EditError::NoSuchPart);
        let whole = apply(ROW, &[Edit::Created { ms: 7 }]).unwrap();
        assert_eq!(apply(&whole, &[Edit::Created { ms: 8 }]), Err(EditError::NothingToDo));
        assert_eq!(apply("[1]", &[Edit::Created { ms: 8 }]), Err(EditError::NoSuchPart));
        assert_eq!(apply("{}", &[Edit::Created { ms: 8 }]).unwrap(), r#"{"time":{"created":8}}"#);
    }
}
