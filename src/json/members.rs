//! The members of an object, read together with those of the objects within it.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Key, ShapeError, offset};

/// How many objects within one another are looked into: `state.time`, `tokens.cache`, `metadata.anthropic`.
pub(super) const DEPTH: usize = 2;

/// How many members there may be in all once an object within has been read: of more it is better not to hold them all.
const MANY: usize = 256;

/// A name that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Name<'n> {
    text: &'n str,
    /// Its first bytes, by which it differs from most others.
    begins: u64,
}

impl<'n> Name<'n> {
    /// That name.
    #[must_use]
    pub const fn of(text: &'n str) -> Self {
        let bytes = text.as_bytes();
        // Two looks that overlap see four to eight bytes, or two to four.
        let begins = if let Some(eight) = bytes.first_chunk() {
            u64::from_le_bytes(*eight)
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << (8 * (bytes.len() - 4))
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            u16::from_le_bytes(*first) as u64 | (u16::from_le_bytes(*last) as u64) << (8 * (bytes.len() - 2))
        } else if let Some(first) = bytes.first() {
            *first as u64
        } else {
            0
        };
        Self { text, begins }
    }

    /// The name that stands `at` that place of a longer text.
    fn at(whole: &str, at: usize, text: &'n str) -> Self {
        let beyond = 8_usize.saturating_sub(text.len()) * 8;
        match whole.as_bytes().get(at..).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) if beyond < 64 => Self { text, begins: u64::from_le_bytes(*bytes) & (u64::MAX >> beyond) },
            _ => Self::of(text),
        }
    }

    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &'n str {
        self.text
    }
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    /// As in [`Name`].
    begins: u64,
    pub(super) raw: &'a str,
    /// How many members before this one are its own, or of objects within it: it is an object that was looked into.
    within: u32,
}

impl Member<'_> {
    pub(super) fn is(&self, name: Name<'_>) -> bool {
        self.begins == name.begins
            && self.name.len() == name.text.len()
            && (name.text.len() <= 8 || self.name == name.text)
    }

    /// Where its own members stand, if it stands `at` that place.
    pub(super) fn own(&self, at: usize) -> Range<usize> {
        at.saturating_sub(self.within as usize)..at
    }
}

/// Members in the order of the text, each behind those of the object that it is.
pub(super) type Members<'a> = Vec<Member<'a>>;

/// Members of one object with their places among all, the last one first.
#[derive(Debug, Clone)]
pub(super) struct Own<'o, 'a> {
    pub(super) all: &'o [Member<'a>],
    pub(super) place: Range<usize>,
}

impl<'o, 'a> Iterator for Own<'o, 'a> {
    type Item = (usize, &'o Member<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.place.end.checked_sub(1).filter(|at| *at >= self.place.start)?;
        let member = self.all.get(at)?;
        self.place.end = member.own(at).start;
        Some((at, member))
    }
}

/// Room for members, handed on from row to row.
#[derive(Debug, Default)]
pub struct Room(Members<'static>);

impl Room {
    /// How many members there is room for at least: nearly all rows have fewer.
    const FEW: usize = 32;

    pub(super) fn take<'a>(&mut self) -> Members<'a> {
        let mut room = std::mem::take(&mut self.0);
        room.reserve(Self::FEW);
        room
    }

    pub(super) fn give_back(&mut self, mut members: Members<'_>) {
        if members.capacity() <= MANY {
            members.clear();
            // Of nothing, but in the same memory.
            self.0 = members.into_iter().map_while(|_| None).collect();
        }
    }
}

/// Reads the object that `text` is.
pub(super) fn read<'a>(text: &'a str, room: &mut Room) -> Result<Members<'a>, ShapeError> {
    let (read, error) = pass(text, DEPTH, room, |_| false);
    error.map_or(Ok(read), |error| Err(why(&error)))
}

fn why(error: &serde_json::Error) -> ShapeError {
    ShapeError(match error.classify() {
        serde_json::error::Category::Data => "not a JSON object".to_owned(),
        _ => format!("not JSON (line {} column {})", error.line(), error.column()),
    })
}

/// What there is to read of an object, and why that is not all. Objects within one another are looked into so far, unless
/// it ends with another error than is `wanted`: what is odd only within a value is of no concern to those who do not look
/// into it.
pub(super) fn pass<'a>(
    text: &'a str,
    depth: usize,
    room: &mut Room,
    wanted: fn(&serde_json::Error) -> bool,
) -> (Members<'a>, Option<serde_json::Error>) {
    let mut all = room.take();
    let mut json = serde_json::Deserializer::from_str(text);
    let result = json.deserialize_map(Pass { text, depth, most: usize::MAX, all: &mut all });
    match result.and_then(|_| json.end()) {
        Err(error) if depth > 0 && !wanted(&error) => pass(text, 0, room, wanted),
        result => (all, result.err()),
    }
}

/// Reads one object, and tells the place behind its last value.
struct Pass<'p, 'a> {
    text: &'a str,
    /// How far objects within it are looked into.
    depth: usize,
    /// How many members may be known before it is given up.
    most: usize,
    all: &'p mut Members<'a>,
}

impl<'a> Pass<'_, 'a> {
    /// Where the value of a member begins whose name ends there.
    fn value(&self, name_end: usize) -> usize {
        let text = self.text.as_bytes();
        let mut at = name_end + 1;
        while let Some(b':' | b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
            at += 1;
        }
        at
    }

    /// Reads the value of a member, and tells what is behind it. Of one that fails the raw text is what there is of it.
    fn member<A: MapAccess<'a>>(&mut self, Key(name): Key<'a>, map: &mut A) -> Result<usize, A::Error> {
        let (begins, start) = if let Cow::Borrowed(name) = name {
            let at = offset(self.text, name);
            (Name::at(self.text, at, name).begins, self.value(at + name.len()))
        } else {
            // A name with escapes does not tell where it stands.
            (Name::of(&name).begins, self.text.len())
        };
        if self.depth > 0 && self.text.as_bytes().get(start) == Some(&b'{') {
            let outer = self.all.len();
            let (result, end) = self.object(start, map);
            let within = u32::try_from(self.all.len() - outer).unwrap_or(0);
            self.all.push(Member { name, begins, raw: self.text.get(start..end).unwrap_or_default(), within });
            return result.map(|()| end);
        }
        let value = map.next_value::<&RawValue>();
        let raw = value.as_ref().map_or_else(|_| self.text.get(start..).unwrap_or_default(), |value| value.get());
        self.all.push(Member { name, begins, raw, within: 0 });
        value.map(|_| offset(self.text, raw) + raw.len())
    }

    /// Reads the members of an object that begins there, and tells what is behind it.
    fn object<A: MapAccess<'a>>(&mut self, start: usize, map: &mut A) -> (Result<(), A::Error>, usize) {
        let Self { text, depth, all, .. } = self;
        match map.next_value_seed(Pass { text, depth: *depth - 1, most: MANY, all }) {
            Ok(last) => {
                // Nothing but white space stands between the last value and the end.
                let behind = last.unwrap_or(start);
                let close = text.bytes().skip(behind).position(|byte| byte == b'}');
                (Ok(()), close.map_or(0, |close| behind + close + 1))
            }
            Err(error) => (Err(error), text.len()),
        }
    }
}

impl<'a> DeserializeSeed<'a> for Pass<'_, 'a> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Pass<'_, 'a> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<Option<usize>, A::Error> {
        let mut behind = None;
        while let Some(name) = map.next_key()? {
            behind = Some(self.member(name, &mut map)?);
            if self.all.len() > self.most {
                return Err(A::Error::custom("too many members"));
            }
        }
        Ok(behind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Object;
    use super::*;

    /// JSON as it may stand in a row, and some that nobody writes.
    fn json() -> impl Strategy<Value = String> {
        let sound = r#"0|-0.5e+3|1e400|true|null|""|"a\"}b\u00e9"|"\ud800"|"é{"|{}|{ }|[{}]"#.split('|');
        let broken = "01|1.|nul|\"\\u12\"|\"\\x\"|\"a\u{1}b\"".split('|');
        let words = |words: std::str::Split<'static, char>| proptest::sample::select(words.collect::<Vec<_>>());
        let word = prop_oneof![30 => words(sound), 1 => words(broken)];
        let name = words("a|b||é|:| { |a|b|providerID|providerExecuted".split('|'));
        let name = prop_oneof![20 => name, 1 => words("a\\n|\\ud800".split('|'))];
        let space = proptest::sample::select(vec!["", "", "", " ", "\n\t", "\r"]);
        word.prop_map(str::to_owned).prop_recursive(4, 40, 5, move |inner| {
            let member = (name.clone(), space.clone(), space.clone(), inner.clone());
            let member = member.prop_map(|(name, a, b, value)| format!("{a}\"{name}\"{b}:{a}{value}{b}"));
            prop_oneof![
                3 => proptest::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(","))),
                1 => proptest::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            ]
        })
    }

    /// The members that are told without looking into values, or why there are none.
    fn flat(text: &str) -> Result<Vec<(String, &str)>, String> {
        let (all, error) = pass(text, 0, &mut Room::default(), |_| true);
        error.map_or(Ok(()), |error| Err(why(&error).0))?;
        Ok(all.into_iter().map(|member| (member.name.into_owned(), member.raw)).collect())
    }

    fn members<'a>(object: &Object<'a>) -> Vec<(String, &'a str)> {
        object.members().map(|(name, raw)| (name.to_owned(), raw)).collect()
    }

    /// Whether what was read with an object is what is read of each value alone. How many were looked into.
    fn holds(text: &str) -> Result<usize, TestCaseError> {
        let object = match Object::parse(text) {
            Err(error) => {
                prop_assert_eq!(Err(error.0), flat(text), "{}", text);
                return Ok(0);
            }
            Ok(object) => object,
        };
        let mut rest = vec![object];
        let mut looked = 0;
        while let Some(object) = rest.pop() {
            prop_assert_eq!(Ok(members(&object)), flat(object.text), "{} in {}", object.text, text);
            for entry in object.entries() {
                let (raw, inner) = (entry.raw(), entry.object());
                looked += usize::from(inner.is_some());
                prop_assert_eq!(inner.as_ref().map_or(raw, |inner| inner.text), raw);
                rest.extend(inner);
            }
        }
        Ok(looked)
    }

    proptest! {
        /// Wherever the text is cut off or broken.
        #[test]
        fn what_is_read_with_an_object_is_what_its_value_says(
            text in json(),
            cut in any::<prop::sample::Index>(),
            new in "[\"{}:,\\\\ 0x\\[\\]\u{1}]?",
        ) {
            holds(&text)?;
            let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>();
            let at = places.swap_remove(cut.index(places.len()));
            holds(&text[..at])?;
            holds(&format!("{}{new}{}", &text[..at], &text[at..]))?;
        }
    }

    #[test]
    fn objects_within_one_another_are_read_together() {
        let row = r#"{ "state" : { "input":{ } ,"time":{"start":1,"of":{"a":1}} },"x":"\ud800\n", "time":{"a":1} }"#;
        assert_eq!(holds(row).unwrap(), 3, "an empty one is read again");
        assert_eq!(holds(r#"{"a":{"b":1,"b":{"c":1},"b":2}, "a":{} }"#).unwrap(), 2, "whatever stands twice");
        assert_eq!(holds(r#"{"\u0061":{"b":{}},"c":{"\u0061":{}}}"#).unwrap(), 1, "a name with escapes");
        assert_eq!(holds(r#"{"c":{},"a":{"\ud800":1}}"#).unwrap(), 0, "a name that is no text");
        assert_eq!(
            holds(&format!(r#"{{"c":{{}},"a":{{{}"z":1}}}}"#, r#""b":1,"#.repeat(MANY))).unwrap(),
            0,
            "too many"
        );
        let deep = format!("{{\"x\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(holds(&deep).unwrap(), 2);
    }
}
