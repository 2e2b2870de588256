//! Rows of many megabytes in little memory: a prompt's row, and the part of a tool call.
//!
//! opencode keeps the changes of a turn in its prompt's row (`summary.diffs`), and some of those rows have hundreds of
//! megabytes. What the rules ask stands in a few short members; the rest is looked at as it passes, for it must be JSON.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Depth, Head, MessageRow, Part, PartKind, Role, ToolState, head, part};
use crate::json::{self, ShapeError, Shorten};

/// A row's JSON beyond this size is read piece by piece, in bytes.
pub const LARGE: usize = 1 << 20;

/// Longest string of a large part that is kept as it is, in bytes.
const LONGEST_OF_PART: usize = 16 << 10;

/// Members of a user's row that are read.
const ASKED: [&str; 4] = ["role", "time", "agent", "model"];

/// Longest value of such a member, and of any string on the way, in bytes.
const LONGEST: usize = 256;

/// Reads a user's row from its JSON, which is read piece by piece. `None` where it is another row, or anything about it
/// is odd: then it has to be read whole, which tells what.
#[must_use]
pub fn large_user(row: MessageRow, json: impl Read) -> Option<Head> {
    let mut short = Shorten::new(json, LONGEST);
    let mut read = serde_json::Deserializer::from_reader(BufReader::new(&mut short));
    let members = read.deserialize_map(Members).and_then(|members| read.end().map(|()| members)).ok()?;
    drop(read);
    if !short.is_sound() || members.iter().any(|(_, raw)| raw.get().len() > LONGEST) {
        return None;
    }
    // What was passed over is said nowhere else: the row without it is the same to every rule.
    let members: Vec<String> = members.iter().map(|(key, raw)| format!("\"{key}\":{raw}")).collect();
    head(row, &format!("{{{}}}", members.join(","))).ok().filter(|head| matches!(head.role, Role::User(_)))
}

/// Reads the part of a tool call from its JSON, which is read piece by piece; long strings of it are known by their SHA-256
/// alone. `None` where it is another part, or anything about it is odd: then it has to be read whole.
///
/// # Errors
/// When the JSON cannot be read.
pub fn large_part(id: &str, time_created: i64, bytes: u64, json: impl Read) -> std::io::Result<Option<Part>> {
    let short = json::shortened(json, LONGEST_OF_PART)?;
    let Some(Ok(mut part)) = short.map(|short| part(id, time_created, &short, Depth::Whole)) else { return Ok(None) };
    part.bytes = bytes;
    // A file's facts are in its bytes, and of a text every word may count.
    Ok(Some(part).filter(|part| match &part.kind {
        PartKind::Tool(call) => {
            !matches!(&call.state, ToolState::Completed { attachments, .. } if !attachments.is_empty())
        }
        _ => false,
    }))
}

/// A part from its JSON, in the form in which a store gives it back.
///
/// # Errors
/// When it is no part.
pub fn stored_part(id: &str, time_created: i64, data: &str) -> Result<Part, ShapeError> {
    if data.len() > LARGE
        && let Ok(Some(part)) = large_part(id, time_created, data.len() as u64, data.as_bytes())
    {
        return Ok(part);
    }
    part(id, time_created, data, Depth::Whole)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'static str, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match ASKED.iter().find(|asked| **asked == key) {
                Some(asked) => members.push((*asked, map.next_value()?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::large_user;
    use crate::history::{Head, MessageRow, head};

    fn row() -> MessageRow {
        MessageRow { rowid: 1, id: "m".into(), session_id: "s".into(), time_created: 1, time_updated: 1 }
    }

    /// What the rules see of a row.
    fn seen(message: &Head) -> String {
        format!("{:?}", (&message.row, message.created.to_bits(), &message.role))
    }

    /// A value as it may stand in a row: sound ones, and what JavaScript never writes.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            4 => proptest::sample::select(vec!["null", "true", "-0", "1e400", "17", "\"\"", "{}", "[]", " [ 1 , 2 ] ", "1780000000000"])
                .prop_map(str::to_owned),
            4 => ("[ a-z\\\\n\u{e9}\u{1f600}]{0,12}", 1usize..60)
                .prop_map(|(text, times)| serde_json::Value::String(text.repeat(times)).to_string()),
            1 => proptest::sample::select(vec!["\"\\ud800\"", "\"\\u00e9\\n\"", "\"\\q\"", "\"\u{7}\"", "01", "tru", "\"open", "nul}", "[1,]", "{\"a\"}"])
                .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = proptest::sample::select(vec![
                "created",
                "providerID",
                "modelID",
                "diffs",
                "patch",
                "\\ud800",
                "k\\u0065y",
            ]);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
                proptest::collection::vec((key, inner), 0..4).prop_map(|all| {
                    let all: Vec<String> = all.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", all.join(","))
                }),
            ]
        })
    }

    fn member() -> impl Strategy<Value = String> {
        let sound = proptest::sample::select(vec![
            r#""role":"user""#,
            r#""time":{"created":1780000000000}"#,
            r#""time":{"created":5,"completed":9}"#,
            r#""agent":"build""#,
            r#""model":{"providerID":"p","modelID":"m"}"#,
            r#""role":"assistant""#,
            r#""\u0072ole":"user""#,
        ]);
        let key = proptest::sample::select(vec![
            "role", "time", "agent", "model", "summary", "summary", "summary", "tools", "\\ud800",
        ]);
        prop_oneof![3 => sound.prop_map(str::to_owned), 2 => (key, value()).prop_map(|(key, value)| format!("\"{key}\":{value}"))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn a_row_read_in_pieces_is_the_row(
            members in proptest::collection::vec(member(), 0..6),
            first in any::<bool>(),
            end in proptest::sample::select(vec!["}", "}", "}", "} ", "", "}}", "},"]),
            bytes in proptest::option::weighted(0.1, 0usize..400),
        ) {
            let sound = r#""role":"user","time":{"created":1},"#;
            let mut text = format!("{{{}{}", if first { sound } else { "" }, members.join(","));
            text = format!("{}{end}", text.trim_end_matches(','));
            let mut text = text.into_bytes();
            if let Some(at) = bytes.filter(|at| *at < text.len()) {
                text[at] = 0xff;
            }
            let whole = std::str::from_utf8(&text).ok().and_then(|text| head(row(), text).ok());
            if let Some(large) = large_user(row(), text.as_slice()) {
                prop_assert_eq!(Some(seen(&large)), whole.as_ref().map(seen));
            }
        }
    }

    #[test]
    fn what_opencode_writes_is_read_in_pieces() {
        let patch = serde_json::Value::String("- old line \u{1f600}\n+ \"new\"\n".repeat(400)).to_string();
        let diff = format!(r#"{{"file":"src/a.rs","patch":{patch},"additions":1,"deletions":2,"status":"modified"}}"#);
        let text = format!(
            r#"{{"role":"user","time":{{"created":7}},"agent":"build","model":{{"providerID":"p","modelID":"m"}},"summary":{{"diffs":[{}]}}}}"#,
            vec![diff; 40].join(",")
        );
        let large = large_user(row(), text.as_bytes()).unwrap();
        assert_eq!(seen(&large), seen(&head(row(), &text).unwrap()));
        let answer = text.replacen("\"user\"", "\"assistant\"", 1);
        assert!(large_user(row(), answer.as_bytes()).is_none(), "of an answer, other members count as well");
    }
}
