//! The members of an object, read together with those of the objects within it.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Key, ShapeError, offset};

/// How many objects within one another are looked into: `state.time`, `tokens.cache`, `metadata.anthropic`.
pub(super) const DEPTH: usize = 2;

/// How many members most rows have at most, and how many in the objects within it: to grow again and again costs more than
/// a few empty places.
const FEW: usize = 20;

/// How many members there may be in all once an object within has been read: of more it is better not to hold them all.
const MANY: usize = 256;

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) raw: &'a str,
    /// Where its own members stand, if it is an object that was looked into and has any.
    pub(super) own: Range<u32>,
}

impl Member<'_> {
    /// Whether it has that name.
    pub(super) fn is(&self, name: &str) -> bool {
        // Most names differ in these: nothing has to be called to compare them.
        let (own, name) = (self.name.as_bytes(), name.as_bytes());
        own.len() == name.len() && own.first() == name.first() && own == name
    }
}

/// What was read of an object.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// Its own members.
    pub(super) own: Vec<Member<'a>>,
    /// Those of the objects within it, each one's together.
    pub(super) within: Vec<Member<'a>>,
}

/// Reads the object that `text` is.
pub(super) fn read(text: &str) -> Result<Read<'_>, ShapeError> {
    let (read, error) = pass(text, DEPTH, |_| false);
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
pub(super) fn pass(
    text: &str,
    depth: usize,
    wanted: fn(&serde_json::Error) -> bool,
) -> (Read<'_>, Option<serde_json::Error>) {
    let (mut own, mut within) = (Vec::with_capacity(FEW), Vec::new());
    let mut json = serde_json::Deserializer::from_str(text);
    let result = json.deserialize_map(Pass { text, depth, most: usize::MAX, open: &mut own, within: &mut within });
    match result.and_then(|()| json.end()) {
        Err(error) if depth > 0 && !wanted(&error) => pass(text, 0, wanted),
        result => (Read { own, within }, result.err()),
    }
}

/// Reads one object.
struct Pass<'p, 'a> {
    text: &'a str,
    /// How far objects within it are looked into.
    depth: usize,
    /// How many members may be known before it is given up.
    most: usize,
    /// The members of the objects that have not ended yet.
    open: &'p mut Vec<Member<'a>>,
    /// [`Read::within`].
    within: &'p mut Vec<Member<'a>>,
}

impl<'a> Pass<'_, 'a> {
    /// Where the value of a member begins. A name with escapes does not tell where it stands.
    fn value(&self, name: &Key<'a>) -> usize {
        let text = self.text.as_bytes();
        let Key(Cow::Borrowed(name)) = name else { return text.len() };
        let mut at = offset(self.text, name) + name.len() + 1;
        while let Some(b':' | b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
            at += 1;
        }
        at
    }

    /// Reads the value of a member. Of one that fails the raw text is what there is of it.
    fn member<A: MapAccess<'a>>(&mut self, name: Key<'a>, map: &mut A) -> Result<(), A::Error> {
        if self.depth > 0 {
            let start = self.value(&name);
            if self.text.as_bytes().get(start) == Some(&b'{') {
                return self.object(name, start, map);
            }
        }
        match map.next_value::<&RawValue>() {
            Ok(value) => {
                self.open.push(Member { name: name.0, raw: value.get(), own: 0..0 });
                Ok(())
            }
            Err(error) => {
                let raw = self.text.get(self.value(&name)..).unwrap_or_default();
                self.open.push(Member { name: name.0, raw, own: 0..0 });
                Err(error)
            }
        }
    }

    /// [`Pass::member`], of an object that begins there.
    fn object<A: MapAccess<'a>>(&mut self, name: Key<'a>, start: usize, map: &mut A) -> Result<(), A::Error> {
        let Self { text, depth, open, within, .. } = self;
        let outer = open.len();
        let result = map.next_value_seed(Pass { text, depth: *depth - 1, most: MANY, open, within });
        let end = if result.is_ok() {
            let last = open.get(outer..).and_then(<[_]>::last);
            let behind = last.map_or(start, |last: &Member<'a>| offset(text, last.raw) + last.raw.len());
            // Nothing but white space stands between the last value and the end.
            text.bytes().skip(behind).position(|byte| byte == b'}').map_or(0, |end| behind + end + 1)
        } else {
            text.len()
        };
        if within.is_empty() {
            within.reserve(FEW);
        }
        let place = |at| u32::try_from(at).unwrap_or(0);
        let first = place(within.len());
        within.extend(open.drain(outer..));
        let raw = text.get(start..end).unwrap_or_default();
        open.push(Member { name: name.0, raw, own: first..place(within.len()) });
        result
    }
}

impl<'a> DeserializeSeed<'a> for Pass<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Pass<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            self.member(name, &mut map)?;
            if self.open.len() + self.within.len() > self.most {
                return Err(A::Error::custom("too many members"));
            }
        }
        Ok(())
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
        let name = words("a|b||é|:| { |a|b".split('|'));
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
        let (Read { own, .. }, error) = pass(text, 0, |_| true);
        error.map_or(Ok(()), |error| Err(why(&error).0))?;
        Ok(own.into_iter().map(|member| (member.name.into_owned(), member.raw)).collect())
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
            for (_, raw, inner) in object.known_members() {
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
