//! What a value has to look like to be decoded, as data, and the check of it.
//!
//! opencode 2 decodes rows with a schema and refuses what does not fit; keys that a schema does not know do no harm.
//! The tables in `shapes.rs` and `import/shapes.rs` are made of these.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Key, Kind, Raw};
use crate::json::Object;

/// The largest time that a JavaScript date can hold, in ms since the epoch.
const LAST_MILLISECOND: f64 = 8.64e15;
/// The largest integer that JavaScript takes for one.
const LAST_INTEGER: f64 = 9_007_199_254_740_991.0;

/// What a value has to look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// Anything.
    Any,
    String,
    /// A string that begins so.
    Starts(&'static str),
    /// Base64 with its padding.
    Base64,
    Bool,
    Number,
    Finite,
    /// A finite number that is not negative.
    Timestamp,
    /// An integer not below.
    Int(f64),
    /// Milliseconds that a JavaScript date can hold.
    Millis,
    OneOf(&'static [&'static str]),
    /// An object with any keys.
    Record,
    /// An object whose values all have a shape.
    RecordOf(&'static Shape),
    List(&'static Shape),
    NonEmpty(&'static Shape),
    Struct(&'static [Field]),
    /// One of several objects, told apart by a key.
    Tagged(&'static str, &'static [(&'static str, &'static Shape)]),
}

/// A key of an object.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    shape: &'static Shape,
    due: bool,
}

/// A key that must be there.
pub(super) const fn due(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, due: true }
}

/// A key that may be missing. It may not be `null`.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, due: false }
}

/// Why a value does not decode. It names the place and what is wanted there, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// `content[2].state.status`; empty for the whole row.
    pub place: String,
    /// What would decode.
    pub wanted: &'static str,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() { f.write_str(self.wanted) } else { write!(f, "`{}`: {}", self.place, self.wanted) }
    }
}

fn misfit(wanted: &'static str) -> Misfit {
    Misfit { place: String::new(), wanted }
}

/// A misfit, seen from one level further out.
fn within(name: &str, inner: &Misfit) -> Misfit {
    let dot = if inner.place.is_empty() || inner.place.starts_with('[') { "" } else { "." };
    Misfit { place: format!("{name}{dot}{}", inner.place), wanted: inner.wanted }
}

impl Shape {
    /// Whether a value decodes.
    ///
    /// # Errors
    /// The first place that does not.
    pub(super) fn check(&'static self, value: Raw<'_>) -> Result<(), Misfit> {
        match self {
            Self::Any => Ok(()),
            Self::String if value.kind() == Kind::String => Ok(()),
            Self::String => Err(misfit("a string")),
            Self::Starts(start) => string(value, "an id with its prefix", |text| text.starts_with(start)),
            Self::Base64 => string(value, "base64", is_base64),
            Self::Bool if value.kind() == Kind::Bool => Ok(()),
            Self::Bool => Err(misfit("true or false")),
            Self::Number => number(value, "a number", |_| true),
            Self::Finite => number(value, "a finite number", f64::is_finite),
            Self::Timestamp => number(value, "a number not below 0", |n| n.is_finite() && n >= 0.0),
            Self::Int(least) => {
                number(value, "an integer in its range", |n| n.fract() == 0.0 && n.abs() <= LAST_INTEGER && n >= *least)
            }
            Self::Millis => number(value, "a time in milliseconds", |n| n.abs() <= LAST_MILLISECOND),
            Self::OneOf(words) => string(value, "one of the words that are known", |text| words.contains(&text)),
            Self::Record if value.kind() == Kind::Object => Ok(()),
            Self::Record => Err(misfit("an object")),
            Self::List(_) | Self::NonEmpty(_) | Self::RecordOf(_) | Self::Struct(_) | Self::Tagged(..) => {
                let mut json = serde_json::Deserializer::from_str(value.as_str());
                if Fits(self).deserialize(&mut json).is_ok() { Ok(()) } else { self.explain(value) }
            }
        }
    }

    /// What does not fit of a value that was read once and may not fit.
    fn explain(&'static self, value: Raw<'_>) -> Result<(), Misfit> {
        match self {
            Self::List(inner) | Self::NonEmpty(inner) => list(self, value, inner),
            _ => self.check_members(&Object::parse(value.as_str()).map_err(|_| misfit("an object"))?),
        }
    }

    /// Whether an object decodes whose members are at hand.
    ///
    /// # Errors
    /// The first place that does not.
    pub(super) fn check_members(&'static self, members: &Object<'_>) -> Result<(), Misfit> {
        match self {
            Self::Struct(fields) => structure(members, fields),
            Self::Tagged(by, cases) => tagged(members, by, cases)?.1.check_members(members),
            Self::RecordOf(inner) => record_of(members, inner),
            Self::Any | Self::Record => Ok(()),
            // No other shape is an object's.
            other => other.check(Raw::EMPTY),
        }
    }

    /// Which of the cases of a [`Shape::Tagged`] an object is, where it decodes: its tag.
    ///
    /// # Errors
    /// The first place that does not decode.
    pub(super) fn tag(&'static self, members: &Object<'_>) -> Result<&'static str, Misfit> {
        let Self::Tagged(by, cases) = self else { return Err(misfit("an object")) };
        let (tag, shape) = tagged(members, by, cases)?;
        shape.check_members(members).map(|()| tag)
    }
}

fn string(value: Raw<'_>, wanted: &'static str, fits: impl Fn(&str) -> bool) -> Result<(), Misfit> {
    let fits = value.text().is_some_and(|text| fits(&text.decode()));
    if fits { Ok(()) } else { Err(misfit(wanted)) }
}

fn number(value: Raw<'_>, wanted: &'static str, fits: impl Fn(f64) -> bool) -> Result<(), Misfit> {
    if value.number().is_some_and(fits) { Ok(()) } else { Err(misfit(wanted)) }
}

fn record_of(members: &Object<'_>, inner: &'static Shape) -> Result<(), Misfit> {
    members.members().try_for_each(|(name, raw)| inner.check(Raw::inner(raw)).map_err(|e| within(name, &e)))
}

fn list(shape: &Shape, value: Raw<'_>, inner: &'static Shape) -> Result<(), Misfit> {
    if value.kind() != Kind::Array {
        return Err(misfit("an array"));
    }
    let items = value.items();
    if items.is_empty() && matches!(shape, Shape::NonEmpty(_)) {
        return Err(misfit("an array that is not empty"));
    }
    let mut items = items.into_iter().enumerate();
    items.try_for_each(|(at, item)| inner.check(item).map_err(|e| within(&format!("[{at}]"), &e)))
}

fn structure(members: &Object<'_>, fields: &'static [Field]) -> Result<(), Misfit> {
    fields.iter().try_for_each(|field| match members.get(field.name) {
        Some(raw) => {
            let shape = field.shape;
            let known = members.known(field.name);
            let fits = known.map_or_else(|| shape.check(Raw::inner(raw)), |object| shape.check_members(object));
            fits.map_err(|e| within(field.name, &e))
        }
        None if field.due => Err(within(field.name, &misfit("is missing"))),
        None => Ok(()),
    })
}

/// The cases of a [`Shape::Tagged`].
type Cases = &'static [(&'static str, &'static Shape)];

fn tagged(members: &Object<'_>, by: &'static str, cases: Cases) -> Result<(&'static str, &'static Shape), Misfit> {
    let tag = members.get(by).and_then(|raw| Raw::inner(raw).text());
    let case = cases.iter().find(|(name, _)| tag.is_some_and(|tag| tag == **name));
    case.copied().ok_or_else(|| within(by, &misfit("one of the words that are known")))
}

/// Reads a value once, from its first byte to its last, and ends at the first thing that may not fit: [`Shape::explain`]
/// then says what and where. Most rows fit, and most of their bytes are of no interest.
struct Fits(&'static Shape);

impl<'de> DeserializeSeed<'de> for Fits {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.0 {
            Shape::Any => json.deserialize_ignored_any(IgnoredAny).map(drop),
            Shape::Struct(fields) => json.deserialize_map(Known { fields }),
            Shape::Tagged(by, cases) => json.deserialize_map(Streamed { by, cases }).map(drop),
            Shape::List(inner) => json.deserialize_seq(Items(inner)),
            other => {
                let raw = Raw::of(<&RawValue as serde::Deserialize>::deserialize(json)?);
                let looked_into = matches!(other, Shape::NonEmpty(_) | Shape::RecordOf(_));
                let fits = if looked_into { other.explain(raw) } else { other.check(raw) };
                fits.map_err(D::Error::custom)
            }
        }
    }
}

struct Items(&'static Shape);

impl<'de> Visitor<'de> for Items {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Fits(self.0))?.is_some() {}
        Ok(())
    }
}

struct Known {
    fields: &'static [Field],
}

/// Reads the members of an object that has these fields. `tag` is one that was
/// met already, and `seen` has a bit for each field that was.
fn fields<'de, A: MapAccess<'de>>(
    map: &mut A,
    fields: &'static [Field],
    tag: &str,
    mut seen: u32,
) -> Result<(), A::Error> {
    while let Some(Key(key)) = map.next_key()? {
        let Some(at) = fields.iter().position(|field| field.name == key) else {
            // A second tag would be the one that counts.
            if key == tag {
                return Err(A::Error::custom("the tag stands twice"));
            }
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        // Of a key that stands twice the last one counts.
        if seen & (1 << at) != 0 {
            return Err(A::Error::custom("a key stands twice"));
        }
        seen |= 1 << at;
        map.next_value_seed(Fits(fields[at].shape))?;
    }
    let missing = |(at, field): (usize, &Field)| field.due && seen & (1 << at) == 0;
    if fields.iter().enumerate().any(missing) { Err(A::Error::custom("a key is missing")) } else { Ok(()) }
}

impl<'de> Visitor<'de> for Known {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        fields(&mut map, self.fields, "", 0)
    }
}

/// An object whose tag stands first, as opencode writes it.
struct Streamed {
    by: &'static str,
    cases: Cases,
}

impl<'de> Visitor<'de> for Streamed {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<&'static str, A::Error> {
        let first = map.next_key::<Key<'de>>()?.filter(|Key(key)| key == self.by);
        if first.is_none() {
            return Err(A::Error::custom("the tag does not stand first"));
        }
        let raw = Raw::of(map.next_value::<&RawValue>()?);
        let case = self.cases.iter().find(|(name, _)| raw.text().is_some_and(|tag| tag == **name));
        let Some((name, Shape::Struct(of_case))) = case else {
            return Err(A::Error::custom("not one of the words that are known"));
        };
        let mut seen = 0;
        if let Some(at) = of_case.iter().position(|field| field.name == self.by) {
            of_case[at].shape.check(raw).map_err(A::Error::custom)?;
            seen = 1 << at;
        }
        fields(&mut map, of_case, self.by, seen)?;
        Ok(name)
    }
}

/// `^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
pub(super) fn is_base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    let padding = bytes.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let digits = &bytes[..bytes.len() - padding];
    bytes.len().is_multiple_of(4) && digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opencode2::json::Raw;

    static INNER: Shape = Shape::Struct(&[due("name", &Shape::String), may("time", &Shape::Millis)]);
    static OUTER: Shape = Shape::Struct(&[due("list", &Shape::NonEmpty(&INNER)), may("kind", &Shape::OneOf(&["a"]))]);

    fn says(text: &str) -> String {
        let document = format!("{{\"x\":{text}}}");
        let value = Raw::parse(&document).unwrap().members().unwrap().get("x").unwrap();
        OUTER.check(value).map_or_else(|misfit| misfit.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn the_first_place_that_does_not_fit_is_named() {
        assert_eq!(says(r#"{"list":[{"name":"","more":1}],"kind":"a"}"#), "fits");
        assert_eq!(says(r#"{"list":[{"name":"a"},{}]}"#), "`list[1].name`: is missing");
        assert_eq!(says(r#"{"list":[]}"#), "`list`: an array that is not empty");
        assert_eq!(says(r#"{"list":[{"name":"a","time":1e16}]}"#), "`list[0].time`: a time in milliseconds");
        assert_eq!(says(r#"{"list":[{"name":"a"}],"kind":null}"#), "`kind`: one of the words that are known");
        assert_eq!(says("3"), "an object");
    }

    static CASES: Shape = Shape::Tagged("type", &[("a", &OUTER), ("b", &NAMED)]);
    static NAMED: Shape = Shape::Struct(&[due("type", &Shape::OneOf(&["b"])), due("x", &Shape::Int(0.0))]);

    fn tag(text: &str) -> Result<&'static str, Misfit> {
        CASES.tag(&Object::parse(text).map_err(|_| misfit("a JSON object"))?)
    }

    #[test]
    fn a_value_that_is_read_once_fits_as_one_whose_members_are_looked_at() {
        let fitting = [
            "{\"name\":\"\\ud800\"}",
            "{\"name\":\"\",\"time\":1}",
            "{\"name\":1,\"name\":\"a\"}",
            "{\"n\\u0061me\":\"\"}",
        ];
        let not = [
            "{}",
            "[]",
            "{\"name\":\"a\",\"name\":1}",
            "{\"name\":\"\",\"time\":1e999}",
            "{\"name\":\"\",\"time\":null}",
        ];
        for (item, fits) in fitting.map(|item| (item, true)).into_iter().chain(not.map(|item| (item, false))) {
            let texts = [
                format!(r#"{{"type":"a","list":[{item}]}}"#),
                format!(r#"{{"list":[{item}],"more":[{{"x":[]}}],"type":"a"}}"#),
                format!(r#"{{"type":"c","list":[{item}],"type":"a"}}"#),
            ];
            for text in texts {
                let tag = tag(&text);
                assert_eq!(tag.is_ok(), fits, "{text}: {tag:?}");
                assert_eq!(tag.map(drop), CASES.check(Raw::parse(&text).unwrap()), "{text}");
                assert_eq!(
                    CASES.check(Raw::parse(&text).unwrap()),
                    CASES.explain(Raw::parse(&text).unwrap()),
                    "{text}"
                );
            }
        }
        assert_eq!(tag(r#"{"type":"b","x":1}"#), Ok("b"));
        for text in
            [r#"{"type":"b","x":1} x"#, r#"{"type":"b","x":1"#, "3", r#"{"type":"b","x":1,"type":"c"}"#, r#"{"x":1}"#]
        {
            assert!(tag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn base64_is_what_the_pattern_says() {
        for (text, fits) in [("", true), ("YQ==", true), ("YWI=", true), ("YWJj", true), ("YQ", false), ("Y===", false)]
        {
            assert_eq!(is_base64(text), fits, "{text}");
        }
        assert!(!is_base64("Y=Q="));
        assert!(!is_base64("a b="));
    }
}
