//! The start of a JSON object whose end was not read.

use std::borrow::Cow;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Key, string};

/// The members of an object as far as its start tells. What comes after the start is taken to be what
/// `JSON.stringify` writes: sound, and no member twice.
#[derive(Debug, Default)]
pub struct Start<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
    /// The member in which the text ends, with what there is of its value.
    cut: Option<(&'a str, &'a str)>,
}

impl<'a> Start<'a> {
    /// Reads the start of an object. `None` where the text does not end inside the object, a member stands twice, or
    /// anything else is odd: then the whole has to be read.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // The last character may be cut in two.
            Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()?,
            Err(_) => return None,
        };
        Self::of_text(text)
    }

    fn of_text(text: &'a str) -> Option<Self> {
        let mut out = Self { members: Vec::with_capacity(8), cut: None };
        let mut key = None;
        let visitor = Members { members: &mut out.members, key: &mut key };
        let error = serde_json::Deserializer::from_str(text).deserialize_map(visitor).err()?;
        if !error.is_eof() {
            return None;
        }
        match key {
            Some(Cow::Borrowed(key)) => out.cut = Some((key, after_key(text, key)?)),
            Some(Cow::Owned(_)) => return None,
            // A number at the very end may go on in what is not there.
            None => {
                if let Some((Cow::Borrowed(key), raw)) = out.members.last()
                    && raw.as_bytes().last().is_some_and(u8::is_ascii_digit)
                    && raw.as_bytes().as_ptr_range().end == text.as_bytes().as_ptr_range().end
                {
                    out.cut = Some((key, raw));
                    out.members.pop();
                }
            }
        }
        let names = || out.members.iter().map(|(name, _)| &**name);
        let twice = names().enumerate().any(|(at, name)| names().take(at).any(|earlier| earlier == name));
        (!twice).then_some(out)
    }

    /// The raw value of a member that stands whole in the start, `null` taken for absent.
    #[must_use]
    pub fn some(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw).filter(|raw| *raw != "null")
    }

    /// A string that stands whole in the start.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<String> {
        self.some(key).and_then(string)
    }

    /// [`Start::string`], borrowed unless something in it is escaped.
    #[must_use]
    pub fn words(&self, key: &str) -> Option<Cow<'a, str>> {
        self.some(key).and_then(super::words)
    }

    /// The name of the member in which the text ends.
    #[must_use]
    pub fn cut_in(&self) -> Option<&'a str> {
        self.cut.map(|(name, _)| name)
    }

    /// What there is of a value: the whole, or its start where the text ends in it.
    #[must_use]
    pub fn begun(&self, key: &str) -> Option<&'a str> {
        self.some(key).or(self.cut.filter(|(name, _)| *name == key).map(|(_, rest)| rest))
    }

    /// The start of an object that is a member: the whole of it, or what there is.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Start<'a>> {
        if let Some(raw) = self.some(key) {
            return super::Object::parse(raw).ok().map(|whole| Start { members: whole.into_members(), cut: None });
        }
        Self::of_text(self.begun(key)?)
    }
}

struct Members<'v, 'de> {
    members: &'v mut Vec<(Cow<'de, str>, &'de str)>,
    /// The member whose value is being read.
    key: &'v mut Option<Cow<'de, str>>,
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            *self.key = Some(key.0);
            let value = map.next_value::<&'de RawValue>()?;
            self.members.extend(self.key.take().map(|key| (key, value.get())));
        }
        Ok(())
    }
}

/// What follows a key and its colon. `key` is a slice of `text`.
fn after_key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let end = key.as_ptr() as usize - text.as_ptr() as usize + key.len();
    let rest = text.get(end..)?.strip_prefix('"')?.trim_start();
    Some(rest.strip_prefix(':').unwrap_or("").trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Object;
    use super::*;

    #[test]
    fn a_start_gives_what_stands_whole_in_it() {
        let start = Start::of(br#"{"type":"tool","state":{"status":"completed","output":"a long te"#).unwrap();
        assert_eq!(start.string("type").as_deref(), Some("tool"));
        assert_eq!(start.cut_in(), Some("state"));
        let state = start.object("state").unwrap();
        assert_eq!(state.string("status").as_deref(), Some("completed"));
        assert_eq!((state.cut_in(), state.begun("output")), (Some("output"), Some("\"a long te")));
        assert_eq!(Start::of(br#"{"a":12"#).unwrap().cut_in(), Some("a"), "a number may go on");
        assert_eq!(Start::of(br#"{"a":1,"b""#).unwrap().begun("b"), Some(""));
        assert!(Start::of(br#"{"a":1}"#).is_none(), "that is no start");
        assert!(Start::of(br#"{"a":1,"a":2,"b":"#).is_none());
        assert!(Start::of(br#"{"a":x,"b":"#).is_none());
        assert!(Start::of(br#"["a","#).is_none());
        let halved = "{\"a\":1,\"b\":\"\u{e9}".as_bytes();
        assert_eq!(Start::of(&halved[..halved.len() - 1]).unwrap().some("a"), Some("1"));
    }

    proptest! {
        #[test]
        fn a_start_says_nothing_that_the_whole_does_not(
            members in proptest::collection::btree_map("[a-c]{1,2}", "(0|[1-9][0-9]{0,2}|null|true|\"[ -!#-\\[\\]-~\u{e9}]{0,9}\"|\\{\"x\":[0-9]\\}|\\[1,2\\])", 0..6),
            cut in 0usize..80,
        ) {
            let inner: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            let text = format!("{{ {} }}", inner.join(" , "));
            let whole = Object::parse(&text).unwrap();
            if let Some(start) = Start::of(&text.as_bytes()[..cut.min(text.len() - 1)]) {
                for (name, raw) in &start.members {
                    prop_assert_eq!(whole.get(name), Some(*raw));
                }
                if let Some((name, rest)) = start.cut && !rest.is_empty() {
                    prop_assert!(whole.get(name).unwrap().starts_with(rest));
                }
            }
        }
    }
}
