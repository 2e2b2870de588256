//! What a value has to look like to be decoded, as data, and the check of it.
//!
//! opencode 2 decodes rows with a schema and refuses what does not fit; keys that a schema does not know do no harm.
//! The tables in `shapes.rs` and `import/shapes.rs` are made of these.

use super::json::{Kind, Raw};

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
    pub(super) fn check(&self, value: Raw<'_>) -> Result<(), Misfit> {
        match self {
            Self::Any => Ok(()),
            Self::String => string(value, "a string", |_| true),
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
            Self::RecordOf(inner) => record_of(value, inner),
            Self::List(inner) | Self::NonEmpty(inner) => list(self, value, inner),
            Self::Struct(fields) => structure(value, fields),
            Self::Tagged(by, cases) => tagged(value, by, cases),
        }
    }
}

fn string(value: Raw<'_>, wanted: &'static str, fits: impl Fn(&str) -> bool) -> Result<(), Misfit> {
    let fits = value.text().is_some_and(|text| fits(&text.decode()));
    if fits { Ok(()) } else { Err(misfit(wanted)) }
}

fn number(value: Raw<'_>, wanted: &'static str, fits: impl Fn(f64) -> bool) -> Result<(), Misfit> {
    if value.number().is_some_and(fits) { Ok(()) } else { Err(misfit(wanted)) }
}

fn record_of(value: Raw<'_>, inner: &'static Shape) -> Result<(), Misfit> {
    let members = value.members().ok_or_else(|| misfit("an object"))?;
    members.each().try_for_each(|(name, value)| inner.check(value).map_err(|e| within(name, &e)))
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

fn structure(value: Raw<'_>, fields: &'static [Field]) -> Result<(), Misfit> {
    let members = value.members().ok_or_else(|| misfit("an object"))?;
    fields.iter().try_for_each(|field| match members.get(field.name) {
        Some(value) => field.shape.check(value).map_err(|e| within(field.name, &e)),
        None if field.due => Err(within(field.name, &misfit("is missing"))),
        None => Ok(()),
    })
}

fn tagged(value: Raw<'_>, by: &'static str, cases: &'static [(&'static str, &'static Shape)]) -> Result<(), Misfit> {
    let members = value.members().ok_or_else(|| misfit("an object"))?;
    let tag = members.text(by);
    match cases.iter().find(|(name, _)| tag.is_some_and(|tag| tag == **name)) {
        Some((_, shape)) => shape.check(value),
        None => Err(within(by, &misfit("one of the words that are known"))),
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
