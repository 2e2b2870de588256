//! JSON Schema (draft 2020-12) of every document, from the types that are written.

use std::borrow::Cow;
use std::fmt::Display;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator};

use super::{
    ErrorDoc, ExplainDoc, JournalsDoc, RelinkDoc, RepairDoc, ScanDoc, ScansDoc, SessionDoc, StatsDoc, UndoDoc,
};
use crate::diagnosis::{Code, LeftReason};
use crate::error::ErrorCode;
use crate::stats::Cause;

/// A document that a command writes with `--json`. Names are those of `unstick schema` and of `docs/schema/*.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Document {
    /// `scan --json`.
    Scan,
    /// A line of `scan --json-lines`.
    ScanLine,
    /// `repair --json`.
    Repair,
    /// `undo --json`.
    Undo,
    /// `undo --list --json`.
    UndoList,
    /// `relink --json`.
    Relink,
    /// `explain --json`.
    Explain,
    /// `stats --json`.
    Stats,
    /// What is written instead when something cannot be done.
    Error,
}

/// `scan --json`: one store, or several.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is wanted")]
enum Scans {
    One(Box<ScanDoc>),
    Several(ScansDoc),
}

/// The schema of a document. It allows members that it does not name: a later version may add some.
#[must_use]
pub fn schema(document: Document) -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = match document {
        Document::Scan => generator.into_root_schema_for::<Scans>(),
        Document::ScanLine => generator.into_root_schema_for::<SessionDoc>(),
        Document::Repair => generator.into_root_schema_for::<RepairDoc>(),
        Document::Undo => generator.into_root_schema_for::<UndoDoc>(),
        Document::UndoList => generator.into_root_schema_for::<JournalsDoc>(),
        Document::Relink => generator.into_root_schema_for::<RelinkDoc>(),
        Document::Explain => generator.into_root_schema_for::<ExplainDoc>(),
        Document::Stats => generator.into_root_schema_for::<StatsDoc>(),
        Document::Error => generator.into_root_schema_for::<ErrorDoc>(),
    };
    schema.insert("title".to_owned(), format!("unstick {document}, schema version 1").into());
    schema
}

/// The names of an enum, each with the sentence that people read.
fn names<T>(what: &str, sentence: fn(T) -> &'static str) -> Schema
where
    T: Copy + Display + IntoEnumIterator,
{
    let one = |name: T| serde_json::json!({ "const": name.to_string(), "description": sentence(name) });
    json_schema!({ "description": what, "type": "string", "oneOf": T::iter().map(one).collect::<Vec<_>>() })
}

macro_rules! named {
    ($($type:ident, $what:literal, $sentence:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                names::<Self>($what, $sentence)
            }
        }
    )*};
}

named! {
    Code, "A finding's code (docs/findings.md).", Code::description;
    LeftReason, "Why a session is left (docs/findings.md).", LeftReason::description;
    ErrorCode, "An error's code (docs/errors.md).", ErrorCode::cause;
    Cause, "What made a request end with the assistant (docs/commands.md).", Cause::description;
}
