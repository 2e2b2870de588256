//! The start of a JSON object whose end was not read.

use std::borrow::Cow;

use super::members::{self, DEPTH, Member, Name, Room};
use super::{Object, is_json, offset, string};

/// The members of an object as far as its start tells. What comes after the start is taken to be what
/// `JSON.stringify` writes: sound, and no member twice.
#[derive(Debug)]
pub struct Start<'a> {
    object: Object<'a>,
    /// The name of the member in which the text ends.
    cut: Option<&'a str>,
}

impl<'a> Start<'a> {
    /// Reads the start of an object. `None` where the text does not end inside the object, a member stands twice, or
    /// anything else is odd: then the whole has to be read.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        Self::of_text(text_of(bytes)?, DEPTH)
    }

    fn of_text(text: &'a str, depth: usize) -> Option<Self> {
        let (read, error) = members::pass(text, depth, &mut Room::default(), serde_json::Error::is_eof);
        let object = Object::of(text, read);
        if error?.is_eof() { Self::of_object(object) } else { None }
    }

    /// Of an object whose text ends within it.
    fn of_object(object: Object<'a>) -> Option<Self> {
        let twice =
            object.own().any(|(at, member)| object.member(Name::of(&member.name)).is_some_and(|(last, _)| last != at));
        let at_end = |raw: &str| offset(object.text, raw) + raw.len() == object.text.len();
        // A number at the very end may go on in what is not there. Few values end so that they may be whole.
        let may_be_whole = |raw: &str| raw.ends_with(['"', '}', ']', 'e', 'l']);
        let last = object.own().next().map(|(_, last)| last);
        let cut = match last.filter(|last| at_end(last.raw) && !(may_be_whole(last.raw) && is_json(last.raw))) {
            Some(Member { name: Cow::Borrowed(name), .. }) => Some(*name),
            Some(_) => return None,
            None => None,
        };
        (!twice).then_some(Self { object, cut })
    }

    /// The raw value of a member that stands whole in the start, `null` taken for absent.
    #[must_use]
    pub fn some(&self, key: &str) -> Option<&'a str> {
        self.object.some(key).filter(|_| self.cut != Some(key))
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
        self.cut
    }

    /// What there is of a value: the whole, or its start where the text ends in it.
    #[must_use]
    pub fn begun(&self, key: &str) -> Option<&'a str> {
        self.object.some(key)
    }

    /// The start of an object that is a member: the whole of it, or what there is.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Start<'a>> {
        if self.cut != Some(key) {
            return Some(Start { object: self.object.object(key).ok()??, cut: None });
        }
        match self.object.entry(Name::of(key)).and_then(|entry| entry.object()) {
            Some(object) => Self::of_object(object),
            None => Self::of_text(self.begun(key)?, 0),
        }
    }
}

/// The text that the start of one is: its last character may be cut in two.
fn text_of(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said<'s>(start: &'s Start<'_>) -> (Option<&'s str>, Vec<(&'s str, &'s str)>) {
        (start.cut, start.object.members().collect())
    }

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
        assert!(Start::of(br#"{"a":1,"\u0062":"a long te"#).is_none());
        let halved = "{\"a\":1,\"b\":\"\u{e9}".as_bytes();
        assert_eq!(Start::of(&halved[..halved.len() - 1]).unwrap().some("a"), Some("1"));
    }

    proptest! {
        #[test]
        fn a_start_says_nothing_that_the_whole_does_not(
            members in proptest::collection::btree_map("[a-c]{1,2}", "(0|[1-9][0-9]{0,2}|null|true|\"[ -!#-\\[\\]-~\u{e9}]{0,9}\"|\\{\"x\":[0-9]\\}|\\{ \"y\" : \"[xy]{0,3}\" , \"z\":\\{\"x\":12\\} \\}|\\[1,2\\])", 0..6),
            cut in 0usize..80,
        ) {
            let inner: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            let text = format!("{{ {} }}", inner.join(" , "));
            let whole = Object::parse(&text).unwrap();
            if let Some(start) = Start::of(&text.as_bytes()[..cut.min(text.len() - 1)]) {
                let flat = Start::of_text(start.object.text, 0).unwrap();
                prop_assert_eq!(said(&flat), said(&start));
                for (name, raw) in start.object.members() {
                    let looked = [start.object(name), flat.object(name)];
                    prop_assert_eq!(looked[0].as_ref().map(said), looked[1].as_ref().map(said));
                    let whole = whole.get(name).unwrap();
                    prop_assert_eq!(if start.cut == Some(name) { whole.get(..raw.len()) } else { Some(whole) }, Some(raw));
                }
            }
        }
    }
}
