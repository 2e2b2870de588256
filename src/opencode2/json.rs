//! The room's one door to JSON: values as raw text, never copied and never decoded before somebody asks.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Object};

pub(super) use crate::json::{Key, offset, quote};

/// What kind of value a raw text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A JSON value as it stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// A JSON string with its quotes and escapes, as it stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

/// The members of an object.
#[derive(Debug)]
pub(super) struct Members<'a>(Object<'a>);

impl<'a> Raw<'a> {
    /// An object without members.
    pub(super) const EMPTY: Raw<'static> = Raw("{}");

    /// The value that a whole text is; `None` for what is no JSON.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(|raw| Self(raw.get()))
    }

    /// The value of a member of an [`Object`].
    pub(super) fn inner(raw: &'a str) -> Self {
        Self(raw)
    }

    pub(super) fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    pub(super) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The raw text, as it stands in the row.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub(super) fn members(self) -> Option<Members<'a>> {
        Object::parse(self.0).ok().map(Members)
    }

    /// The elements of an array; none where it is another value.
    pub(super) fn items(self) -> Vec<Self> {
        json::array(self.0).unwrap_or_default().into_iter().map(Self).collect()
    }

    pub(super) fn text(self) -> Option<Text<'a>> {
        (self.kind() == Kind::String).then_some(Text(self.0))
    }

    pub(super) fn number(self) -> Option<f64> {
        json::number(self.0)
    }

    /// Whether it is a whole number from 0 on that every shape of numbers takes.
    pub(super) fn is_count(self) -> bool {
        (1..=15).contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_digit())
    }

    pub(super) fn is_true(self) -> bool {
        self.0 == "true"
    }

    /// A string member of an object.
    pub(super) fn string(self, name: &str) -> Option<Text<'a>> {
        self.members()?.text(name)
    }
}

impl<'a> Text<'a> {
    /// The string. It is borrowed unless it has escapes.
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        json::words(self.0).unwrap_or_default()
    }

    /// Whether it is the empty string.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.len() == 2
    }

    /// Whether JavaScript's `trim` leaves nothing of it.
    #[must_use]
    pub fn is_blank(self) -> bool {
        // A letter settles it, so that a long text is not decoded.
        let inner = &self.0[1..self.0.len() - 1];
        !inner.starts_with(|c: char| c.is_ascii_graphic() && c != '\\') && json::is_blank(&self.decode())
    }

    /// The text as it stands in the row.
    #[must_use]
    pub fn as_raw(self) -> Raw<'a> {
        Raw(self.0)
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        let inner = &self.0[1..self.0.len() - 1];
        // Escapes are longer than what they stand for.
        if inner.contains('\\') { inner.len() > other.len() && self.decode() == other } else { inner == other }
    }
}

impl<'a> Members<'a> {
    pub(super) fn of(object: Object<'a>) -> Self {
        Self(object)
    }

    /// The members of the object that a whole text is; `None` for what is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        Object::parse(text).ok().map(Self)
    }

    /// The value of a key; the last one where it stands twice.
    pub(super) fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.0.get(name).map(Raw)
    }

    pub(super) fn text(&self, name: &str) -> Option<Text<'a>> {
        self.get(name)?.text()
    }

    pub(super) fn object(&self) -> &Object<'a> {
        &self.0
    }

    /// The object's text with a key set. Every other byte stays.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        self.0.with(name, value)
    }

    /// The object's text without a key. Every other byte stays.
    pub(super) fn without(&self, name: &str) -> String {
        self.0.without(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_its_escapes_stand_for() {
        let text = |raw| Raw::parse(raw).and_then(Raw::text).unwrap();
        assert!(text(r#""msg_\u0041""#) == *"msg_A" && text(r#""msg_\u0041""#) != *r"msg_\u0041");
        assert!(text(r#""msg_\\u0041""#) == *r"msg_\u0041" && text(r#""msg_A""#) == *"msg_A");
    }
}
