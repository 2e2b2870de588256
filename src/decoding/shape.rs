//! What a value of a row has to be: rules as data, and the one function that holds a value against them.

use crate::json::{Name, Object, array, number, string};

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    String,
    /// A string that begins so.
    Id(&'static str),
    /// One of these.
    Words(&'static [&'static str]),
    /// A number that is finite.
    Number,
    /// A whole number from 0 on.
    Natural,
    /// A number, from [`super::FRACTIONS`] on with a fraction too.
    PromptTime,
    Flag,
    /// Whatever is there.
    Any,
    /// Whatever is there but null.
    Some,
    /// Anything below a generation, another shape from there on.
    Since(usize, &'static Shape),
    /// Nothing: no value is taken.
    Nothing,
    List(&'static Shape),
    /// An object with values of one shape.
    Map(&'static Shape),
    Object(&'static [Member]),
    /// An object whose members follow from one of them, a word.
    OneOf(&'static str, &'static [Variant]),
}

/// A member of an object. A member that is not named is not looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) name: Name<'static>,
    pub(super) shape: Shape,
    /// Whether it may be absent. It may never be null.
    pub(super) must: bool,
}

/// What an object has to hold where the word says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub(super) word: &'static str,
    pub(super) members: &'static [Member],
    /// The index of the first generation that knows the word.
    pub(super) since: usize,
}

pub(super) const fn must(name: &'static str, shape: Shape) -> Member {
    Member { name: Name::of(name), shape, must: true }
}

pub(super) const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name: Name::of(name), shape, must: false }
}

pub(super) const fn when(word: &'static str, members: &'static [Member]) -> Variant {
    Variant { word, members, since: 0 }
}

/// What is wrong with a value.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Wrong {
    /// A member that has to be there is not.
    Missing,
    /// It is null.
    Null,
    /// It is of another kind: a number where a string is due.
    Kind,
    /// A number with a fraction, or below zero.
    Number,
    /// A word that the program does not know.
    Word,
    /// An id of another kind of row.
    Prefix,
    /// The program takes no value at all.
    Unwanted,
    /// It is no JSON.
    Json,
}

/// Looks at values under one generation.
pub(super) struct Check<'a> {
    pub(super) generation: usize,
    /// Called with what is wrong and where: `tokens.cache.read`.
    pub(super) found: &'a mut dyn FnMut(&str, Wrong),
}

impl Check<'_> {
    /// Holds one value against its shape. `path` names it.
    pub(super) fn value(&mut self, path: &str, shape: Shape, raw: &str) {
        let wrong = match shape {
            Shape::Any => None,
            Shape::Since(since, _) if self.generation < since => None,
            Shape::Since(_, shape) => return self.value(path, *shape, raw),
            Shape::Nothing => Some(Wrong::Unwanted),
            _ if raw == "null" => Some(Wrong::Null),
            Shape::Some => None,
            Shape::String => (!raw.starts_with('"')).then_some(Wrong::Kind),
            Shape::Id(prefix) => text(raw, |id| if id.starts_with(prefix) { None } else { Some(Wrong::Prefix) }),
            Shape::Words(words) => text(raw, |word| if words.contains(&word) { None } else { Some(Wrong::Word) }),
            Shape::Flag => (!["true", "false"].contains(&raw)).then_some(Wrong::Kind),
            Shape::Number => of_number(raw, f64::is_finite),
            Shape::Natural => of_number(raw, natural),
            Shape::PromptTime if self.generation < super::FRACTIONS => of_number(raw, natural),
            Shape::PromptTime => of_number(raw, |number| number.is_finite() && number >= 0.0),
            Shape::List(of) => return self.list(path, *of, raw),
            Shape::Map(of) => return self.map(path, *of, raw),
            Shape::Object(members) => return self.object(path, members, raw),
            Shape::OneOf(name, variants) => return self.one_of(path, name, variants, raw),
        };
        if let Some(wrong) = wrong {
            (self.found)(path, wrong);
        }
    }

    fn list(&mut self, path: &str, of: Shape, raw: &str) {
        let Some(elements) = array(raw) else { return (self.found)(path, Wrong::Kind) };
        for (at, raw) in elements.iter().enumerate() {
            self.value(&join(path, &at.to_string()), of, raw);
        }
    }

    fn map(&mut self, path: &str, of: Shape, raw: &str) {
        let Ok(object) = Object::parse(raw) else { return (self.found)(path, Wrong::Kind) };
        if !matches!(of, Shape::Any) {
            for (name, raw) in object.members() {
                self.value(&join(path, name), of, raw);
            }
        }
    }

    fn object(&mut self, path: &str, members: &'static [Member], raw: &str) {
        match Object::parse(raw) {
            Ok(object) => self.members(path, members, &object),
            Err(_) => (self.found)(path, Wrong::Kind),
        }
    }

    pub(super) fn members(&mut self, path: &str, members: &'static [Member], object: &Object<'_>) {
        for member in members {
            let at = || join(path, member.name.as_str());
            match object.entry(member.name) {
                Some(entry) => self.value(&at(), member.shape, entry.raw()),
                None if member.must => (self.found)(&at(), Wrong::Missing),
                None => {}
            }
        }
    }

    fn one_of(&mut self, path: &str, name: &'static str, variants: &'static [Variant], raw: &str) {
        match Object::parse(raw) {
            Ok(object) => self.variant(path, name, variants, &object),
            Err(_) => (self.found)(path, Wrong::Kind),
        }
    }

    /// The members that go with the word that an object holds.
    pub(super) fn variant(
        &mut self,
        path: &str,
        name: &'static str,
        variants: &'static [Variant],
        object: &Object<'_>,
    ) {
        let at = join(path, name);
        let Some(raw) = object.get(name) else { return (self.found)(&at, Wrong::Missing) };
        let Some(word) = string(raw) else {
            return (self.found)(&at, if raw == "null" { Wrong::Null } else { Wrong::Kind });
        };
        match variants.iter().find(|variant| variant.word == word && variant.since <= self.generation) {
            Some(variant) => self.members(path, variant.members, object),
            None => (self.found)(&at, Wrong::Word),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn text(raw: &str, wrong: impl Fn(&str) -> Option<Wrong>) -> Option<Wrong> {
    string(raw).map_or(Some(Wrong::Kind), |text| wrong(&text))
}

fn of_number(raw: &str, fits: impl Fn(f64) -> bool) -> Option<Wrong> {
    number(raw).map_or(Some(Wrong::Kind), |number| if fits(number) { None } else { Some(Wrong::Number) })
}

/// JavaScript's safe integers from 0 on.
fn natural(number: f64) -> bool {
    number.fract() == 0.0 && (0.0..=9_007_199_254_740_991.0).contains(&number)
}
