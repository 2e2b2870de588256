//! Changes of opencode 1's rows that let the import go on. Every byte outside of what is changed stays.

use std::ops::Range;

use super::super::json::{Raw, offset, quote};

/// Where the payload of a `data:` URL begins that JavaScript's `decodeURIComponent` refuses; `None` if the import does not
/// decode it, or can.
///
/// The import takes a header that ends with `;base64`, in these letters, for base64.
pub(super) fn broken_payload(url: &str) -> Option<usize> {
    let comma = url.strip_prefix("data:")?.find(',')? + "data:".len();
    let payload = comma + 1;
    (!url[..comma].ends_with(";base64") && !broken(&url[payload..]).is_empty()).then_some(payload)
}

/// The percent signs that begin no escape, or one that is no UTF-8.
fn broken(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'%') {
        at += found;
        let run = run(bytes, at);
        if run.is_empty() {
            out.push(at);
            at += 1;
            continue;
        }
        out.extend(undecodable(&run).into_iter().map(|nth| at + 3 * nth));
        at += 3 * run.len();
    }
    out
}

/// The bytes of the escapes that follow each other from here on.
fn run(bytes: &[u8], at: usize) -> Vec<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::new();
    let mut at = at;
    while bytes.get(at) == Some(&b'%') {
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else { break };
        out.extend(u8::try_from(high * 16 + low));
        at += 3;
    }
    out
}

/// Which of these bytes belong to no character.
fn undecodable(bytes: &[u8]) -> Vec<usize> {
    let mut out = Vec::new();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        at += chunk.valid().len();
        let bad: Range<usize> = at..at + chunk.invalid().len();
        at = bad.end;
        out.extend(bad);
    }
    out
}

/// A file part's `data` with each percent sign of its URL that cannot be decoded written as `%25`. What the URL stands for
/// is what a lenient reader takes it for. `None` if there is none.
#[must_use]
pub fn encode_escapes(data: &str) -> Option<String> {
    let part = Raw::parse(data)?.members()?;
    let raw = part.text("url")?.as_raw();
    let url = part.text("url")?.decode();
    let payload = broken_payload(&url)?;
    let mut whole = url[..payload].to_owned();
    let mut from = 0;
    let text = &url[payload..];
    for at in broken(text) {
        whole.push_str(&text[from..=at]);
        whole.push_str("25");
        from = at + 1;
    }
    whole.push_str(&text[from..]);
    let start = offset(data, raw.as_str());
    // A URL without escapes of JSON is changed in place, so that nothing else of it is written anew.
    let token = if raw.as_str().contains('\\') { quote(&whole) } else { format!("\"{whole}\"") };
    Some(format!("{}{token}{}", &data[..start], &data[start + raw.as_str().len()..]))
}

/// Whether an answer's `data` has `time.completed`; so has what cannot be read.
#[must_use]
pub fn is_completed(data: &str) -> bool {
    let time = Raw::parse(data).and_then(Raw::members).and_then(|row| row.get("time")).and_then(Raw::members);
    time.is_none_or(|time| time.get("completed").is_some())
}

/// An answer's `data` with `time.completed` set to the end of its last part, in ms since the epoch. `None` if it has one,
/// or if its newest part does not tell when it ended.
#[must_use]
pub fn complete<'a>(data: &str, parts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let row = Raw::parse(data)?.members()?;
    let time = row.get("time")?;
    let members = time.members()?;
    if members.get("completed").is_some() {
        return None;
    }
    let end = parts.into_iter().last().and_then(end)?;
    let start = offset(data, time.as_str());
    let new = members.with("completed", end.as_str());
    Some(format!("{}{new}{}", &data[..start], &data[start + time.as_str().len()..]))
}

/// When a part ended: `time.end` of text and thinking, `state.time.end` of a call. It must be an integer, as the import
/// wants it.
fn end(part: &str) -> Option<Raw<'_>> {
    let part = Raw::parse(part)?.members()?;
    let time = match part.get("state") {
        Some(state) => state.members()?.get("time")?,
        None => part.get("time")?,
    };
    let end = time.members()?.get("end")?;
    end.as_str().bytes().all(|byte| byte.is_ascii_digit()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_javascript_cannot_decode_is_broken() {
        for (url, whole) in [
            ("data:text/plain,100%", false),
            ("data:text/plain,100%zz", false),
            ("data:text/plain,%FF", false),
            ("data:text/plain,%E2%82", false),
            ("data:text/plain,%ED%A0%80", false),
            ("data:text/plain,%E2%82%ACx%20", true),
            ("data:text/plain;base64,100%", true),
            ("data:text/plain;BASE64,100%", false),
            ("https://a.b/c,100%", true),
            ("data:text/plain", true),
        ] {
            assert_eq!(broken_payload(url).is_none(), whole, "{url}");
        }
    }

    #[test]
    fn broken_escapes_are_encoded_and_no_other_byte_changes() {
        let data = r#"{ "type":"file", "url" : "data:text/plain,a%20b 100% é%E2%82%FF","mime":"text/plain" }"#;
        let fixed = r#"{ "type":"file", "url" : "data:text/plain,a%20b 100%25 é%25E2%2582%25FF","mime":"text/plain" }"#;
        assert_eq!(encode_escapes(data).as_deref(), Some(fixed));
        assert_eq!(encode_escapes(fixed), None, "a second time nothing is left to do");
    }

    #[test]
    fn an_end_is_taken_from_the_last_part_alone() {
        let data = r#"{"role":"assistant","time":{"created":1}, "cost":0.0}"#;
        let text = r#"{"type":"text","text":"a","time":{"start":2,"end":5}}"#;
        let call = r#"{"type":"tool","state":{"status":"error","time":{"start":2,"end":9}}}"#;
        let open = r#"{"type":"text","text":"a","time":{"start":2}}"#;
        let done = r#"{"role":"assistant","time":{"created":1,"completed":9}, "cost":0.0}"#;
        assert_eq!(complete(data, [text, call]).as_deref(), Some(done));
        assert_eq!(complete(data, [call, open]), None);
        assert_eq!(complete(done, [text]), None);
        assert_eq!(complete(data, []), None);
    }
}
