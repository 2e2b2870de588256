//! What a value has to look like to be decoded, as data, and how it is read so.
//!
//! opencode 2 decodes rows with a schema and refuses what does not fit; keys that a schema does not know do no harm.
//! The tables in `shapes.rs` and `import/shapes.rs` are made of these.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Key, Kind, Raw, Text};
use crate::json::{Entry, Name, Object};

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
    name: Name<'static>,
    shape: &'static Shape,
    due: bool,
}

/// A key that must be there.
pub(super) const fn due(name: &'static str, shape: &'static Shape) -> Field {
    Field { name: Name::of(name), shape, due: true }
}

/// A key that may be missing. It may not be `null`.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Field {
    Field { name: Name::of(name), shape, due: false }
}

/// Why a value does not decode. It names the place and what is wanted there, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// `content[2].state.status`; empty for the whole row.
    pub place: String,
    /// What would decode.
    pub wanted: &'static str,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place.as_str(), self.wanted) {
            ("", wanted) => write!(f, "it should be {wanted}"),
            (place, MISSING) => write!(f, "`{place}` {MISSING}"),
            (place, wanted) => write!(f, "`{place}` should be {wanted}"),
        }
    }
}

/// What is said of a key that is due and not there.
const MISSING: &str = "is missing";

/// What a text is that is no object.
pub(super) const NO_OBJECT: Misfit = Misfit { place: String::new(), wanted: "a JSON object" };

fn misfit(wanted: &'static str) -> Misfit {
    Misfit { place: String::new(), wanted }
}

/// A misfit, seen from one level further out.
fn within(name: &str, inner: &Misfit) -> Misfit {
    let dot = if inner.place.is_empty() || inner.place.starts_with('[') { "" } else { "." };
    Misfit { place: format!("{name}{dot}{}", inner.place), wanted: inner.wanted }
}

/// What a value that fits is made into.
pub(super) trait Made<'a>: Sized {
    /// Whether anything of the value is kept.
    const KEPT: bool;
    fn value(raw: Raw<'a>) -> Self;
    fn object(members: Vec<(&'static str, Self)>) -> Self;
    fn list(items: Vec<Self>) -> Self;
}

/// It fits, and that is all.
impl<'a> Made<'a> for () {
    const KEPT: bool = false;
    fn value(_: Raw<'a>) {}
    fn object(_: Vec<(&'static str, ())>) {}
    fn list(_: Vec<()>) {}
}

/// A value that fits, as its shape sees it: what no shape looks into stays text.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Value(Raw<'a>),
    /// The members that the shape knows.
    Object(Vec<(&'static str, Node<'a>)>),
    List(Vec<Node<'a>>),
}

impl<'a> Made<'a> for Node<'a> {
    const KEPT: bool = true;

    fn value(raw: Raw<'a>) -> Self {
        Self::Value(raw)
    }

    fn object(members: Vec<(&'static str, Self)>) -> Self {
        Self::Object(members)
    }

    fn list(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl<'a> Node<'a> {
    /// A member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The elements of an array; none where it is another value.
    pub(super) fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// A member that no shape looks into.
    pub(super) fn raw(&self, name: &str) -> Option<Raw<'a>> {
        if let Self::Value(raw) = self.get(name)? { Some(*raw) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<Text<'a>> {
        self.raw(name)?.text()
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.raw(name)?.number()
    }
}

impl Shape {
    /// Whether a value decodes.
    ///
    /// # Errors
    /// The first place that does not.
    pub(super) fn check(&'static self, value: Raw<'_>) -> Result<(), Misfit> {
        self.read(value)
    }

    /// What a value is decoded to.
    ///
    /// # Errors
    /// The first place that does not decode.
    pub(super) fn read<'a, T: Made<'a>>(&'static self, value: Raw<'a>) -> Result<T, Misfit> {
        match self {
            Self::List(_) | Self::NonEmpty(_) | Self::RecordOf(_) | Self::Struct(_) | Self::Tagged(..) => {
                let mut json = serde_json::Deserializer::from_str(value.as_str());
                Fits::of(self).deserialize(&mut json).or_else(|_| self.explain(value))
            }
            plain => plain.check_plain(value).map(|()| T::value(value)),
        }
    }

    /// What the object that a whole text is decodes to.
    ///
    /// # Errors
    /// The first place that does not decode; [`NO_OBJECT`] where the text is no object.
    pub(super) fn read_text<'a, T: Made<'a>>(&'static self, text: &'a str) -> Result<T, Misfit> {
        let mut json = serde_json::Deserializer::from_str(text);
        if matches!(self, Self::Struct(_) | Self::Tagged(..))
            && let Ok(read) = Fits::of(self).deserialize(&mut json)
            && json.end().is_ok()
        {
            return Ok(read);
        }
        self.read_members(&Object::parse(text).map_err(|_| NO_OBJECT)?)
    }

    fn check_plain(&'static self, value: Raw<'_>) -> Result<(), Misfit> {
        match self {
            Self::String if value.kind() == Kind::String => Ok(()),
            Self::String => Err(misfit("a string")),
            Self::Starts(start) => string(value, "an id with its prefix", |text| text.starts_with(start)),
            Self::Base64 => string(value, "base64", is_base64),
            Self::Bool if value.kind() == Kind::Bool => Ok(()),
            Self::Bool => Err(misfit("true or false")),
            // Nearly all are.
            Self::Number | Self::Finite | Self::Timestamp | Self::Millis if value.is_count() => Ok(()),
            Self::Int(least) if *least <= 0.0 && value.is_count() => Ok(()),
            Self::Number => number(value, "a number", |_| true),
            Self::Finite => number(value, "a finite number", f64::is_finite),
            Self::Timestamp => number(value, "a number not below 0", |n| n.is_finite() && n >= 0.0),
            Self::Int(least) => {
                number(value, "an integer in its range", |n| n.fract() == 0.0 && n.abs() <= LAST_INTEGER && n >= *least)
            }
            Self::Millis => number(value, "a time in milliseconds", |n| n.abs() <= LAST_MILLISECOND),
            Self::OneOf(words) => string(value, "one of the words that are known", |text| words.contains(&text)),
            Self::Record if value.kind() != Kind::Object => Err(misfit("an object")),
            // Anything, and what is looked into elsewhere.
            _ => Ok(()),
        }
    }

    /// What does not fit of a value that was read once and may not fit.
    fn explain<'a, T: Made<'a>>(&'static self, value: Raw<'a>) -> Result<T, Misfit> {
        match self {
            Self::List(inner) | Self::NonEmpty(inner) => list(self, value, inner),
            _ => self.read_members(&Object::parse(value.as_str()).map_err(|_| misfit("an object"))?),
        }
    }

    /// Whether an object decodes whose members are at hand.
    ///
    /// # Errors
    /// The first place that does not.
    pub(super) fn check_members(&'static self, members: &Object<'_>) -> Result<(), Misfit> {
        self.read_members(members)
    }

    fn read_members<'a, T: Made<'a>>(&'static self, members: &Object<'a>) -> Result<T, Misfit> {
        match self {
            Self::Struct(fields) => structure(members, fields, room(fields)),
            Self::Tagged(by, cases) => match tagged(members, by, cases)? {
                (tag, _, Self::Struct(fields)) => structure(members, fields, room_after(by, tag, fields)),
                (_, _, other) => other.read_members(members),
            },
            Self::RecordOf(inner) => record_of(members, inner),
            Self::Any | Self::Record => Ok(T::object(Vec::new())),
            // No other shape is an object's.
            other => other.read(Raw::EMPTY),
        }
    }

    /// [`Shape::read`], of a member.
    fn read_entry<'a, T: Made<'a>>(&'static self, entry: &Entry<'_, 'a>) -> Result<T, Misfit> {
        match self {
            Self::Struct(_) | Self::Tagged(..) | Self::RecordOf(_) => match entry.object() {
                Some(object) => self.read_members(&object),
                None => self.read(Raw::inner(entry.raw())),
            },
            _ => self.read(Raw::inner(entry.raw())),
        }
    }

    /// Which of the cases of a [`Shape::Tagged`] an object is, where it decodes: its tag.
    ///
    /// # Errors
    /// The first place that does not decode.
    pub(super) fn tag(&'static self, members: &Object<'_>) -> Result<&'static str, Misfit> {
        let Self::Tagged(by, cases) = self else { return Err(misfit("an object")) };
        let (_, tag, shape) = tagged(members, by, cases)?;
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

fn record_of<'a, T: Made<'a>>(members: &Object<'a>, inner: &'static Shape) -> Result<T, Misfit> {
    members.members().try_for_each(|(name, raw)| inner.check(Raw::inner(raw)).map_err(|e| within(name, &e)))?;
    Ok(T::object(Vec::new()))
}

fn list<'a, T: Made<'a>>(shape: &Shape, value: Raw<'a>, inner: &'static Shape) -> Result<T, Misfit> {
    if value.kind() != Kind::Array {
        return Err(misfit("an array"));
    }
    let items = value.items();
    if items.is_empty() && matches!(shape, Shape::NonEmpty(_)) {
        return Err(misfit("an array that is not empty"));
    }
    let items = items.into_iter().enumerate();
    let read = items.map(|(at, item)| inner.read(item).map_err(|e| within(&format!("[{at}]"), &e)));
    read.collect::<Result<_, _>>().map(T::list)
}

fn structure<'a, T: Made<'a>>(
    members: &Object<'a>,
    fields: &'static [Field],
    mut out: Vec<(&'static str, T)>,
) -> Result<T, Misfit> {
    if !T::KEPT && all_fit(members, fields) {
        return Ok(T::object(out));
    }
    for Field { name, shape, due } in fields {
        match members.entry(*name) {
            Some(entry) => {
                let read = shape.read_entry(&entry).map_err(|e| within(name.as_str(), &e))?;
                keep(&mut out, name.as_str(), read);
            }
            None if *due => return Err(within(name.as_str(), &misfit(MISSING))),
            None => {}
        }
    }
    Ok(T::object(out))
}

/// Whether an object is surely one with these fields: most are, and looked through once.
fn all_fit(members: &Object<'_>, fields: &'static [Field]) -> bool {
    let mut seen = 0_u32;
    for entry in members.entries() {
        let Some(at) = fields.iter().position(|field| entry.is(field.name)) else { continue };
        // Of a key that stands twice the last one counts.
        if seen & (1 << at) != 0 || fields[at].shape.read_entry::<()>(&entry).is_err() {
            return false;
        }
        seen |= 1 << at;
    }
    fields.iter().enumerate().all(|(at, field)| !field.due || seen & (1 << at) != 0)
}

fn keep<'a, T: Made<'a>>(members: &mut Vec<(&'static str, T)>, name: &'static str, value: T) {
    if T::KEPT {
        members.push((name, value));
    }
}

/// The cases of a [`Shape::Tagged`].
type Cases = &'static [(&'static str, &'static Shape)];

/// The tag of an object as it stands, as the table has it, and the shape that it stands for.
fn tagged<'a>(
    members: &Object<'a>,
    by: &'static str,
    cases: Cases,
) -> Result<(Raw<'a>, &'static str, &'static Shape), Misfit> {
    let tag = members.get(by).map(Raw::inner);
    let case = tag.and_then(|tag| case_of(tag, cases).map(|(name, shape)| (tag, name, shape)));
    case.ok_or_else(|| within(by, &misfit("one of the words that are known")))
}

fn case_of(tag: Raw<'_>, cases: Cases) -> Option<(&'static str, &'static Shape)> {
    let text = tag.text()?;
    let quoted = |(name, _): &&(&str, _)| {
        tag.as_str().get(1..=name.len()) == Some(*name) && tag.as_str().len() == name.len() + 2
    };
    cases.iter().find(quoted).or_else(|| cases.iter().find(|(name, _)| text == **name)).copied()
}

/// Room for what is kept of an object with these fields.
fn room<'a, T: Made<'a>>(fields: &[Field]) -> Vec<(&'static str, T)> {
    // To grow again and again costs more than a few empty places.
    Vec::with_capacity(if T::KEPT { fields.len() + 1 } else { 0 })
}

/// That room with the tag of the object in it.
fn room_after<'a, T: Made<'a>>(by: &'static str, tag: Raw<'a>, fields: &[Field]) -> Vec<(&'static str, T)> {
    let mut out = room(fields);
    keep(&mut out, by, T::value(tag));
    out
}

/// Reads a value once, from its first byte to its last, and ends at the first thing that may not fit: [`Shape::explain`]
/// then says what and where. Most rows fit, and most of their bytes are of no interest.
struct Fits<S, T>(S, PhantomData<T>);

impl<S, T> Fits<S, T> {
    fn of(what: S) -> Self {
        Self(what, PhantomData)
    }
}

impl<'de, T: Made<'de>> DeserializeSeed<'de> for Fits<&'static Shape, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        match self.0 {
            Shape::Any if !T::KEPT => json.deserialize_ignored_any(IgnoredAny).map(|_| T::value(Raw::EMPTY)),
            Shape::Struct(fields) => json.deserialize_map(Fits::of(*fields)),
            Shape::Tagged(by, cases) => json.deserialize_map(Fits::of((*by, *cases))),
            Shape::List(inner) => json.deserialize_seq(Fits::of((*inner, true))),
            Shape::NonEmpty(inner) => json.deserialize_seq(Fits::of((*inner, false))),
            other => {
                let raw = Raw::of(<&RawValue as serde::Deserialize>::deserialize(json)?);
                let read = if matches!(other, Shape::RecordOf(_)) { other.explain(raw) } else { other.read(raw) };
                read.map_err(D::Error::custom)
            }
        }
    }
}

/// The shape of the elements, and whether there may be none.
impl<'de, T: Made<'de>> Visitor<'de> for Fits<(&'static Shape, bool), T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let (mut items, (shape, may_be_empty)) = (Vec::new(), self.0);
        while let Some(item) = seq.next_element_seed(Fits::of(shape))? {
            items.push(item);
        }
        if items.is_empty() && !may_be_empty { Err(A::Error::custom("it is empty")) } else { Ok(T::list(items)) }
    }
}

/// Reads the members of an object that has these fields. `tag` is one that was
/// met already, and `seen` has a bit for each field that was.
fn fields<'de, A: MapAccess<'de>, T: Made<'de>>(
    map: &mut A,
    fields: &'static [Field],
    (tag, mut seen): (&str, u32),
    mut out: Vec<(&'static str, T)>,
) -> Result<T, A::Error> {
    while let Some(Key(key)) = map.next_key()? {
        let Some(at) = fields.iter().position(|field| field.name.as_str() == key) else {
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
        keep(&mut out, fields[at].name.as_str(), map.next_value_seed(Fits::of(fields[at].shape))?);
    }
    let missing = |(at, field): (usize, &Field)| field.due && seen & (1 << at) == 0;
    if fields.iter().enumerate().any(missing) { Err(A::Error::custom("a key is missing")) } else { Ok(T::object(out)) }
}

impl<'de, T: Made<'de>> Visitor<'de> for Fits<&'static [Field], T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        fields(&mut map, self.0, ("", 0), room(self.0))
    }
}

/// An object whose tag stands first, as opencode writes it.
impl<'de, T: Made<'de>> Visitor<'de> for Fits<(&'static str, Cases), T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let (by, cases) = self.0;
        let first = map.next_key::<Key<'de>>()?.filter(|Key(key)| key == by);
        if first.is_none() {
            return Err(A::Error::custom("the tag does not stand first"));
        }
        let raw = Raw::of(map.next_value::<&RawValue>()?);
        let Some((_, Shape::Struct(of_case))) = case_of(raw, cases) else {
            return Err(A::Error::custom("not one of the words that are known"));
        };
        let mut seen = 0;
        if let Some(at) = of_case.iter().position(|field| field.name.as_str() == by) {
            of_case[at].shape.check(raw).map_err(A::Error::custom)?;
            seen = 1 << at;
        }
        fields(&mut map, of_case, (by, seen), room_after(by, raw, of_case))
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
    static OUTER: Shape = Shape::Struct(&[
        due("list", &Shape::NonEmpty(&INNER)),
        may("kind", &Shape::OneOf(&["a"])),
        may("state", &Shape::Record),
    ]);

    fn says(text: &str) -> String {
        let document = format!("{{\"x\":{text}}}");
        let value = Raw::parse(&document).unwrap().members().unwrap().get("x").unwrap();
        OUTER.check(value).map_or_else(|misfit| misfit.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn the_first_place_that_does_not_fit_is_named() {
        assert_eq!(says(r#"{"list":[{"name":"","more":1}],"kind":"a"}"#), "fits");
        assert_eq!(says(r#"{"list":[{"name":"a"},{}]}"#), "`list[1].name` is missing");
        assert_eq!(says(r#"{"list":[]}"#), "`list` should be an array that is not empty");
        assert_eq!(says(r#"{"list":[{"name":"a","time":1e16}]}"#), "`list[0].time` should be a time in milliseconds");
        assert_eq!(says(r#"{"list":[{"name":"a"}],"kind":null}"#), "`kind` should be one of the words that are known");
        assert_eq!(says("3"), "it should be an object");
    }

    static CASES: Shape = Shape::Tagged("type", &[("a", &OUTER), ("b", &NAMED)]);
    static NAMED: Shape = Shape::Struct(&[due("type", &Shape::OneOf(&["b"])), due("x", &Shape::Int(0.0))]);

    fn tag(text: &str) -> Result<&'static str, Misfit> {
        CASES.tag(&Object::parse(text).map_err(|_| misfit("a JSON object"))?)
    }

    /// What was read, with the members of objects in one order.
    fn read(value: &Result<Node<'_>, Misfit>) -> Result<String, Misfit> {
        fn told(node: &Node<'_>) -> String {
            match node {
                Node::Value(raw) => raw.as_str().to_owned(),
                Node::List(items) => format!("[{}]", items.iter().map(told).collect::<Vec<_>>().join(",")),
                Node::Object(members) => {
                    let members = members.iter().map(|(name, value)| (*name, told(value)));
                    format!("{:?}", members.collect::<std::collections::BTreeMap<_, _>>())
                }
            }
        }
        value.as_ref().map(told).map_err(Misfit::clone)
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
                format!(r#"{{"list":[{item}],"more":[{{"x":[]}}],"state":{{"x":1}},"type":"a"}}"#),
                format!(r#"{{"type":"a","state":{{"x":1}},"list":[{item}]}}"#),
                format!(r#"{{"type":"c","list":[{item}],"type":"a"}}"#),
            ];
            for text in texts {
                let tag = tag(&text);
                assert_eq!(tag.is_ok(), fits, "{text}: {tag:?}");
                assert_eq!(tag.map(drop), CASES.check(Raw::parse(&text).unwrap()), "{text}");
                let read_once = read(&CASES.read_text(&text));
                assert_eq!(read_once, read(&CASES.explain(Raw::parse(&text).unwrap())), "{text}");
                assert!(!fits || read_once.unwrap().contains(r#"{\"x\":1}"#) == text.contains("state"), "{text}");
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
