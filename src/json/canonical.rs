//! Whether a row and an event hold the same content: digests that do not depend on the order of keys and the spelling
//! of strings and numbers.
//!
//! Ids, which a row keeps in columns, do not count, and neither does `state.raw` of a failed call, which rows of
//! orphans keep and events lack.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{Object, ShapeError, array, number, quote, shape, shortened, string};

/// Deepest JSON that is compared; rows that are deeper count as different from their log.
const DEEPEST: usize = 256;

/// Members that a row keeps in columns.
const COLUMNS: [&str; 3] = ["id", "sessionID", "messageID"];

/// A digest of content. Only those of one function can be compared.
pub type Content = [u8; 32];

/// The digest of JSON in memory.
///
/// # Errors
/// When it cannot be read.
pub fn content(raw: &str) -> Result<Content, ShapeError> {
    let object = Object::parse(raw)?;
    let failed = object
        .object("state")
        .ok()
        .flatten()
        .is_some_and(|s| s.string("status").ok().flatten().as_deref() == Some("error"));
    let mut digest = Sha256::new();
    let mut members: Vec<(&str, &str)> = object.members().filter(|(k, _)| !COLUMNS.contains(k)).collect();
    members.sort_unstable();
    for (key, value) in members {
        digest.update(quote(key));
        if key == "state" && failed {
            let without = Object::parse(value)?.without("raw");
            canonical(&without, &mut digest, DEEPEST)?;
        } else {
            canonical(value, &mut digest, DEEPEST)?;
        }
    }
    Ok(digest.finalize().into())
}

fn canonical(raw: &str, out: &mut Sha256, depth: usize) -> Result<(), ShapeError> {
    let Some(depth) = depth.checked_sub(1) else { return shape("too deep to be compared") };
    match raw.as_bytes().first() {
        Some(b'{') => {
            let object = Object::parse(raw)?;
            let mut members: Vec<(&str, &str)> = object.members().collect();
            members.sort_unstable();
            out.update(b"{");
            for (key, value) in members {
                out.update(quote(key));
                canonical(value, out, depth)?;
            }
            out.update(b"}");
        }
        Some(b'[') => {
            let Some(items) = array(raw) else { return shape("an array that cannot be read") };
            out.update(b"[");
            for item in items {
                canonical(item, out, depth)?;
            }
            out.update(b"]");
        }
        Some(b'"') => out.update(quote(&string(raw).unwrap_or_default())),
        _ => match number(raw) {
            Some(n) => out.update(format!("{n};")),
            None => out.update(raw),
        },
    }
    Ok(())
}

/// Longest string that is compared as it is where a value is read piece by piece, in bytes.
const LONGEST: usize = 256;

/// The digest of JSON that is read piece by piece, or of one member of it. Long strings are held by their SHA-256.
///
/// # Errors
/// When it cannot be read.
pub fn content_of(json: impl Read, member: Option<&str>) -> Result<Content, ShapeError> {
    let text = match shortened(json, LONGEST) {
        Ok(Some(text)) => text,
        Ok(None) => return shape("not JSON"),
        Err(error) => return shape(error.to_string()),
    };
    let Some(member) = member else { return content(&text) };
    match Object::parse(&text)?.some(member) {
        Some(raw) => content(raw),
        None => shape(format!("`{member}` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_order_escapes_and_raw_of_failed_calls_do_not_count() {
        for content in [content, |raw: &str| content_of(raw.as_bytes(), None)] {
            let same = |a: &str, b: &str| content(a).unwrap() == content(b).unwrap();
            assert!(same(r#"{"type":"text","text":"é","n":1.0}"#, r#"{"id":"x","n":1,"text":"\u00e9","type":"text"}"#));
            assert!(same(
                r#"{"type":"tool","state":{"status":"error","raw":"","error":"x"}}"#,
                r#"{"type":"tool","state":{"error":"x","status":"error"}}"#
            ));
            assert!(!same(
                r#"{"type":"tool","state":{"status":"pending","raw":"a"}}"#,
                r#"{"type":"tool","state":{"status":"pending"}}"#
            ));
            assert!(!same(r#"{"text":"a"}"#, r#"{"text":"b"}"#));
            assert!(!same(r#"{"a":["b","c"]}"#, r#"{"a":["c","b"]}"#));
            assert!(!same(r#"{"a":null}"#, r#"{"a":false}"#));
            assert!(!same(r#"{"a":[]}"#, r#"{"a":{}}"#));
            assert!(!same(r#"{"a":"1"}"#, r#"{"a":1}"#));
        }
    }

    #[test]
    fn a_member_is_found_wherever_it_stands() {
        let row = r#"{"role":"user","summary":{"diffs":[1]}}"#;
        let event =
            r#"{"sessionID":"s","info":{"id":"m","sessionID":"s","summary":{"diffs":[1]},"role":"user"},"x":{}}"#;
        assert_eq!(content_of(event.as_bytes(), Some("info")), content_of(row.as_bytes(), None));
        assert!(content_of(event.as_bytes(), Some("part")).is_err());
        assert!(content_of(&event.as_bytes()[..50], Some("info")).is_err());
        assert!(content_of(format!("{row} x").as_bytes(), None).is_err());
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec![
            "null",
            "true",
            "1",
            "1.0",
            "-2e3",
            "-2000",
            "\"\"",
            "\"a\"",
            "\"\\u0061\"",
            "\"\\u00e9 \u{e9}\"",
            "\"1\"",
            "1e999",
            "\"error\"",
            "[]",
            "{}",
        ])
        .prop_map(str::to_owned);
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
                members(inner),
            ]
        })
    }

    fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let name = proptest::sample::select(vec!["id", "state", "status", "raw", "text", "x"]);
        proptest::collection::btree_map(name, value, 0..4)
            .prop_flat_map(|members| Just(members.into_iter().collect::<Vec<_>>()).prop_shuffle())
            .prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn both_digests_tell_the_same_apart(a in members(value()), b in members(value())) {
            let in_memory = content(&a).unwrap() == content(&b).unwrap();
            let in_pieces = content_of(a.as_bytes(), None).unwrap() == content_of(b.as_bytes(), None).unwrap();
            prop_assert_eq!(in_memory, in_pieces);
        }
    }
}
