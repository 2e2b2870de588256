//! JSON text of a row, read narrowly and edited without touching what is not meant.
//!
//! opencode's rows are what JavaScript's `JSON.stringify` wrote, so they may hold what other JSON readers
//! refuse: lone surrogates, numbers beyond `f64`, any depth, duplicate keys (the last one wins). Values that
//! nobody needs are skipped as raw text and never decoded.

mod canonical;
mod members;
mod shorten;
mod start;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use canonical::{Content, content, content_of};
use members::{Member, Members, Own};
pub use members::{Name, Room};
pub use shorten::{Shorten, shortened};
pub use start::Start;

/// Why a row's JSON could not be understood. The text names the field, never its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeError(pub String);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shorthand for the errors of this module.
pub(crate) fn shape<T>(message: impl Into<String>) -> Result<T, ShapeError> {
    Err(ShapeError(message.into()))
}

/// The members of one JSON object in the order in which they stand, values as raw text. Objects within it were mostly read
/// with it: to look into one costs nothing then.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    text: &'a str,
    /// The members of the object in which this one stands, or is.
    read: Rc<Members<'a>>,
    /// Where its own are among them.
    place: Range<usize>,
}

/// The key of a member: borrowed unless something in it is escaped.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object key")
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Entry<'o, 'a> {
    object: &'o Object<'a>,
    at: usize,
    member: &'o Member<'a>,
}

impl<'o, 'a> Entry<'o, 'a> {
    /// Whether that is its name.
    #[must_use]
    pub fn is(&self, name: Name<'_>) -> bool {
        self.member.is(name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'o str {
        &self.member.name
    }

    /// Its raw value.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.member.raw
    }

    /// The object that its value is, if it was read with the object.
    #[must_use]
    pub fn object(&self) -> Option<Object<'a>> {
        self.object.within(self.at, self.member)
    }
}

impl<'a> Object<'a> {
    /// Reads the members of the object that `text` is.
    ///
    /// # Errors
    /// When `text` is not JSON, or is JSON of another kind.
    pub fn parse(text: &'a str) -> Result<Self, ShapeError> {
        Self::parse_in(text, &mut Room::default())
    }

    /// [`Object::parse`], with room for its members that [`Object::leave`] may give back.
    ///
    /// # Errors
    /// As [`Object::parse`].
    pub fn parse_in(text: &'a str, room: &mut Room) -> Result<Self, ShapeError> {
        members::read(text, room).map(|read| Self::of(text, read))
    }

    fn of(text: &'a str, read: Members<'a>) -> Self {
        Self { text, place: 0..read.len(), read: Rc::new(read) }
    }

    /// Gives its room back, where nothing else of what was read with it is at hand.
    pub fn leave(self, room: &mut Room) {
        if let Ok(members) = Rc::try_unwrap(self.read) {
            room.give_back(members);
        }
    }

    /// The raw text of the value of `key`; the last one where a key stands twice, as in JavaScript.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.member(Name::of(key)).map(|(_, member)| member.raw)
    }

    fn own(&self) -> Own<'_, 'a> {
        Own { all: &self.read, place: self.place.clone() }
    }

    /// The last one of that name.
    fn member(&self, name: Name<'_>) -> Option<(usize, &Member<'a>)> {
        let mut end = self.place.end;
        while end > self.place.start {
            let at = end - 1;
            let member = self.read.get(at)?;
            if member.is(name) {
                return Some((at, member));
            }
            end = member.own(at).start;
        }
        None
    }

    /// Like [`Object::get`], with JSON's `null` taken for absent.
    #[must_use]
    pub fn some(&self, key: &str) -> Option<&'a str> {
        self.get(key).filter(|raw| *raw != "null")
    }

    /// A string member.
    ///
    /// # Errors
    /// When it is there and not a string.
    pub fn string(&self, key: &str) -> Result<Option<String>, ShapeError> {
        Ok(self.words(key)?.map(Cow::into_owned))
    }

    /// A string member, borrowed unless something in it is escaped.
    ///
    /// # Errors
    /// When it is there and not a string.
    pub fn words(&self, key: &str) -> Result<Option<Cow<'a, str>>, ShapeError> {
        match self.some(key) {
            None => Ok(None),
            Some(raw) => words(raw).map(Some).ok_or_else(|| ShapeError(format!("`{key}` is not a string"))),
        }
    }

    /// A string member that must be there.
    ///
    /// # Errors
    /// When it is missing or not a string.
    pub fn required(&self, key: &str) -> Result<Cow<'a, str>, ShapeError> {
        match self.words(key)? {
            Some(words) => Ok(words),
            None => shape(format!("`{key}` is missing")),
        }
    }

    /// [`Object::required`], owned.
    ///
    /// # Errors
    /// When it is missing or not a string.
    pub fn required_string(&self, key: &str) -> Result<String, ShapeError> {
        self.required(key).map(Cow::into_owned)
    }

    /// An object member.
    ///
    /// # Errors
    /// When it is there and not an object.
    pub fn object(&self, key: &str) -> Result<Option<Object<'a>>, ShapeError> {
        match self.member(Name::of(key)).filter(|(_, member)| member.raw != "null") {
            None => Ok(None),
            Some((at, member)) => match self.within(at, member).map_or_else(|| Object::parse(member.raw), Ok) {
                Ok(object) => Ok(Some(object)),
                Err(_) => shape(format!("`{key}` is not an object")),
            },
        }
    }

    /// The object that a member's value is, if it was read with this one.
    fn within(&self, at: usize, member: &Member<'a>) -> Option<Object<'a>> {
        let place = member.own(at);
        (!place.is_empty()).then(|| Self { text: member.raw, read: Rc::clone(&self.read), place })
    }

    /// The last member of that name.
    #[must_use]
    pub fn entry(&self, name: Name<'_>) -> Option<Entry<'_, 'a>> {
        self.member(name).map(|(at, member)| Entry { object: self, at, member })
    }

    /// A number member, as JavaScript would read it (1e400 is infinite).
    ///
    /// # Errors
    /// When it is there and not a number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ShapeError> {
        let is = |raw| number(raw).ok_or_else(|| ShapeError(format!("`{key}` is not a number")));
        self.some(key).map(is).transpose()
    }

    /// Whether the member is there and JavaScript would take it for true.
    #[must_use]
    pub fn truthy(&self, key: &str) -> bool {
        self.get(key).is_some_and(truthy)
    }

    /// The names and raw values, in order.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = (&str, &'a str)> {
        let mut members: Vec<_> = self.own().map(|(_, member)| (member.name.as_ref(), member.raw)).collect();
        members.reverse();
        members.into_iter()
    }

    /// [`Object::members`], the last one first, each with what it knows of itself.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_, 'a>> + Clone {
        self.own().map(|(at, member)| Entry { object: self, at, member })
    }

    /// The object's text with `key` set to `value` (raw JSON): replaced where it stands, else appended.
    /// Every other byte stays as it is.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> String {
        if let Some(raw) = self.get(key) {
            let start = offset(self.text, raw);
            return format!("{}{value}{}", &self.text[..start], &self.text[start + raw.len()..]);
        }
        let close = self.text.rfind('}').unwrap_or(self.text.len());
        let comma = if self.place.is_empty() { "" } else { "," };
        format!("{}{comma}\"{key}\":{value}{}", &self.text[..close], &self.text[close..])
    }

    /// The object's text without any member called `key`. Every other byte stays as it is.
    #[must_use]
    pub fn without(&self, key: &str) -> String {
        let mut out = self.text.to_owned();
        let members: Vec<(&str, &str)> = self.members().collect();
        for (at, (_, raw)) in members.iter().enumerate().rev().filter(|(_, (name, _))| *name == key) {
            let end = offset(self.text, raw) + raw.len();
            if at > 0 {
                let previous = members[at - 1].1;
                out.replace_range(offset(self.text, previous) + previous.len()..end, "");
            } else {
                let open = self.text.find('{').map_or(0, |i| i + 1);
                // A following member keeps its own text; only the comma between the two goes.
                let comma = if members.len() > 1 { out[end..].find(',').map_or(0, |i| i + 1) } else { 0 };
                out.replace_range(open..end + comma, "");
                return Object::parse(&out).map_or_else(|_| out.clone(), |rest| rest.without(key));
            }
        }
        out
    }
}

/// Where `part`, a slice of `whole`, starts in it.
pub(crate) fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Whether the text is JSON, as far as `JSON.parse` would take it.
#[must_use]
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// The raw elements of the array that `raw` is; `None` when it is something else.
#[must_use]
pub fn array(raw: &str) -> Option<Vec<&str>> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                out.push(raw.get());
            }
            Ok(out)
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_seq(Elements).ok()
}

/// The string that `raw` is; lone surrogates become the replacement character. `None` when it is no string.
#[must_use]
pub fn string(raw: &str) -> Option<String> {
    words(raw).map(Cow::into_owned)
}

/// [`string`], borrowed unless something in it is escaped.
#[must_use]
pub fn words(raw: &str) -> Option<Cow<'_, str>> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(v).into_owned())
        }
        fn visit_str<E: de::Error>(self, v: &str) -> Result<String, E> {
            Ok(v.to_owned())
        }
    }
    let inner = raw.strip_prefix('"')?;
    let end = memchr::memchr3(b'"', b'\\', b'\n', inner.as_bytes())?;
    if end + 1 == inner.len() && inner.ends_with('"') {
        return Some(Cow::Borrowed(&inner[..end]));
    }
    // `deserialize_bytes` is serde_json's way to read a string without insisting on paired surrogates.
    serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).ok().map(Cow::Owned)
}

/// The number that `raw` is, as JavaScript reads it.
#[must_use]
pub fn number(raw: &str) -> Option<f64> {
    // Nearly every number is a time or a count, short of the last integer that a float holds exactly.
    let first = raw.as_bytes().first()?;
    if first.is_ascii_digit()
        && raw.len() <= 15
        && let Ok(number) = raw.parse::<u64>()
    {
        return Some(number as f64);
    }
    (*first == b'-' || first.is_ascii_digit()).then(|| raw.parse().ok())?
}

/// Whether JavaScript takes the raw JSON value for true.
#[must_use]
pub fn truthy(raw: &str) -> bool {
    match raw {
        "null" | "false" | "\"\"" => false,
        _ => number(raw).is_none_or(|n| n != 0.0),
    }
}

/// JavaScript's `text.trim() === ""`: its white space is Unicode's plus the byte order mark, less U+0085.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}')
}

/// A Rust string as a JSON string token.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_javascript_writes() {
        let text = r#"{"a":1e400,"b":"\ud800 x","c":{"deep":[[[]]]},"a":2,"d":null}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.number("a").unwrap(), Some(2.0), "the last of two equal keys wins");
        assert!(object.string("b").unwrap().unwrap().ends_with(" x"));
        assert_eq!(object.some("d"), None);
        assert_eq!(number("1e400"), Some(f64::INFINITY));
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Object::parse(&deep).is_ok());
        assert!(Object::parse("[1]").is_err());
        assert!(Object::parse("{\"a\":1} x").is_err());
    }

    #[test]
    fn edits_only_what_is_named() {
        let text = r#"{ "role":"assistant", "n":1.0, "finish" : "tool-calls","z":"\ud800"}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(
            object.with("finish", "\"stop\""),
            r#"{ "role":"assistant", "n":1.0, "finish" : "stop","z":"\ud800"}"#
        );
        assert_eq!(
            object.with("new", "true"),
            r#"{ "role":"assistant", "n":1.0, "finish" : "tool-calls","z":"\ud800","new":true}"#
        );
        assert_eq!(object.without("n"), r#"{ "role":"assistant", "finish" : "tool-calls","z":"\ud800"}"#);
        assert_eq!(object.without("role"), r#"{ "n":1.0, "finish" : "tool-calls","z":"\ud800"}"#);
        assert_eq!(object.without("z"), r#"{ "role":"assistant", "n":1.0, "finish" : "tool-calls"}"#);
        assert_eq!(Object::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap().without("a"), r#"{"b":2}"#);
        assert_eq!(Object::parse(r#"{"a":1}"#).unwrap().without("a"), "{}");
        assert_eq!(Object::parse("{}").unwrap().with("a", "1"), r#"{"a":1}"#);
    }

    #[test]
    fn blank_is_javascripts_trim() {
        assert!(is_blank(" \n\u{feff}\u{3000}"));
        assert!(!is_blank("\u{85}"));
        assert!(!is_blank("\u{200b}"));
    }
}
