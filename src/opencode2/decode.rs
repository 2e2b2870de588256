//! Rows to typed rows, strictly as opencode 2 does it.

use super::generation::Generation;
use super::json::{Members, Raw, Text};
use super::rows::{
    AsUser, Assistant, Attachment, Failure, Message, MessageRow, Model, Output, Part, SessionRow, Status, Tool,
    Undecodable, WaitingRow,
};
use super::shape::{Misfit, Shape};
use super::shapes;

pub(super) const NO_JSON: Misfit = Misfit { place: String::new(), wanted: "a JSON object" };

/// Decodes a row.
///
/// # Errors
/// What does not decode, and where.
pub fn message<'a>(generation: &Generation, row: &MessageRow<'a>) -> Result<Message<'a>, Undecodable<'a>> {
    let undecodable = |why| Undecodable { id: row.id, why };
    if !row.id.starts_with("msg_") {
        return Err(undecodable(column("id", "an id with its prefix")));
    }
    let shape = generation.types.iter().find(|(name, _)| *name == row.kind).map(|(_, shape)| *shape);
    let shape = shape.ok_or_else(|| undecodable(column("type", "one of the words that are known")))?;
    let data = document(shape, row.data).map_err(undecodable)?;
    narrow(row.kind, &data).ok_or_else(|| undecodable(NO_JSON))
}

/// Whether a waiting prompt decodes.
///
/// # Errors
/// What does not decode, and where.
pub fn waiting<'a>(row: &WaitingRow<'a>) -> Result<(), Undecodable<'a>> {
    let undecodable = |why| Undecodable { id: row.id, why };
    if !row.id.starts_with("msg_") {
        return Err(undecodable(column("id", "an id with its prefix")));
    }
    let shape = shapes::WAITING.iter().find(|(name, _)| *name == row.kind).map(|(_, shape)| *shape);
    let shape = shape.ok_or_else(|| undecodable(column("type", "one of the words that are known")))?;
    let delivered = row.kind == "compaction" || matches!(row.delivery, Some("steer" | "queue"));
    if !delivered {
        return Err(undecodable(column("delivery", "one of the words that are known")));
    }
    document(shape, row.data).map(drop).map_err(undecodable)
}

/// Whether a session's row decodes. Where it does not, the session is missing and so is every list that it is in.
///
/// # Errors
/// What does not decode, and where.
pub fn session<'a>(row: &SessionRow<'a>) -> Result<(), Undecodable<'a>> {
    let undecodable = |why| Undecodable { id: row.id, why };
    if !row.id.starts_with("ses") {
        return Err(undecodable(column("id", "an id with its prefix")));
    }
    columns(row)
}

/// Whether the columns of a session decode that are more than plain values.
pub(super) fn columns<'a>(row: &SessionRow<'a>) -> Result<(), Undecodable<'a>> {
    let undecodable = |why| Undecodable { id: row.id, why };
    if !row.directory.is_empty() && !is_absolute(row.directory) {
        return Err(undecodable(column("directory", "an absolute path")));
    }
    let named = [("model", row.model), ("revert", row.revert)];
    let named = named.into_iter().filter_map(|(name, text)| Some((name, text?)));
    for (name, text) in named.chain(row.documents.iter().copied()) {
        let wanted = match name {
            "model" => &shapes::MODEL,
            "revert" => &shapes::REVERT,
            _ => &Shape::Any,
        };
        let misfit = match Raw::parse(text) {
            None => Some(Misfit { place: String::new(), wanted: "JSON" }),
            Some(value) if value.as_str() == "null" => None,
            Some(value) => wanted.check(value).err(),
        };
        if let Some(misfit) = misfit {
            let place = if misfit.place.is_empty() { name.to_owned() } else { format!("{name}.{}", misfit.place) };
            return Err(undecodable(Misfit { place, wanted: misfit.wanted }));
        }
    }
    Ok(())
}

fn column(name: &str, wanted: &'static str) -> Misfit {
    Misfit { place: name.to_owned(), wanted }
}

/// A path as opencode keeps it: with `/`, on Windows after a drive or as a share.
fn is_absolute(path: &str) -> bool {
    let mut chars = path.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    path.starts_with('/') || drive && matches!(chars.next(), Some('/' | '\\')) || path.starts_with("\\\\")
}

pub(super) fn document<'a>(shape: &'static Shape, text: &'a str) -> Result<Members<'a>, Misfit> {
    let members = Members::parse(text).ok_or(NO_JSON)?;
    shape.check_members(members.object())?;
    Ok(members)
}

/// The typed row; `None` if the table of shapes has let through what this expects to be there.
fn narrow<'a>(kind: &str, data: &Members<'a>) -> Option<Message<'a>> {
    Some(match kind {
        "user" => Message::User {
            skills: data
                .get("skills")
                .map(Raw::items)
                .unwrap_or_default()
                .iter()
                .filter_map(|s| s.string("text"))
                .collect(),
            text: data.text("text")?,
            files: data
                .get("files")
                .map(Raw::items)
                .unwrap_or_default()
                .into_iter()
                .map(attachment)
                .collect::<Option<_>>()?,
        },
        "synthetic" | "skill" => Message::AsUser(AsUser::Words(data.text("text")?)),
        "shell" => {
            let output = data.get("output").and_then(|output| output.string("output"));
            Message::AsUser(AsUser::Shell(data.text("command")?, output))
        }
        "location-switched" => Message::AsUser(AsUser::Moved(data.get("location")?.string("directory")?)),
        "system" => Message::System(data.text("text")?),
        "assistant" => Message::Assistant(assistant(data)?),
        "compaction" if data.text("status")? == *"completed" => {
            Message::Summary(data.text("summary")?, data.text("recent")?)
        }
        _ => Message::Nothing,
    })
}

fn attachment(raw: Raw<'_>) -> Option<Attachment<'_>> {
    let file = raw.members()?;
    Some(Attachment {
        mime: file.text("mime")?,
        data: file.text("data")?,
        name: file.text("name"),
        uri: file.get("source").and_then(|source| source.string("uri")),
        description: file.text("description"),
    })
}

/// The model that a JSON text names.
pub(super) fn model(raw: Raw<'_>) -> Option<Model<'_>> {
    let members = raw.members()?;
    Some(Model { provider: members.text("providerID")?, id: members.text("id")? })
}

fn assistant<'a>(data: &Members<'a>) -> Option<Assistant<'a>> {
    let error = data.get("error").and_then(Raw::members);
    Some(Assistant {
        model: model(data.get("model")?)?,
        parts: data.get("content")?.items().into_iter().map(part).collect::<Option<_>>()?,
        error: match error {
            Some(error) => Some((error.text("type")?, error.text("message")?)),
            None => None,
        },
        completed: data.get("time")?.members()?.get("completed").is_some(),
        tokens: data.get("tokens").and_then(tokens),
    })
}

fn tokens(raw: Raw<'_>) -> Option<f64> {
    let all = raw.members()?;
    let cache = all.get("cache")?.members()?;
    let number = |members: &Members<'_>, name: &str| members.get(name).and_then(Raw::number);
    Some(
        number(&all, "input")?
            + number(&all, "output")?
            + number(&all, "reasoning")?
            + number(&cache, "read")?
            + number(&cache, "write")?,
    )
}

fn part(raw: Raw<'_>) -> Option<Part<'_>> {
    let members = raw.members()?;
    let kind = members.text("type")?;
    if kind == *"text" {
        return Some(Part::Text(members.text("text")?, members.get("state")));
    }
    if kind == *"reasoning" {
        return Some(Part::Reasoning(members.text("text")?, members.get("state")));
    }
    Some(Part::Tool(Tool {
        id: members.text("id")?,
        name: members.text("name")?,
        executed: members.get("executed").is_some_and(Raw::is_true),
        state: members.get("providerState"),
        result_state: members.get("providerResultState"),
        status: status(&members.get("state")?.members()?)?,
        ended: members.get("time")?.members()?.get("completed").and_then(Raw::number),
    }))
}

fn status<'a>(state: &Members<'a>) -> Option<Status<'a>> {
    let status = state.text("status")?;
    if status == *"completed" {
        let pieces = state.get("content")?.items().into_iter().map(output);
        return Some(Status::Completed(pieces.collect::<Option<_>>()?));
    }
    if status == *"error" {
        let error = state.get("error")?.members()?;
        let metadata = state.get("metadata").and_then(Raw::members);
        return Some(Status::Error(Failure {
            kind: error.text("type")?,
            message: error.text("message")?,
            interrupted: metadata.and_then(|m| m.get("interrupted")).is_some_and(Raw::is_true),
        }));
    }
    Some(Status::Open)
}

fn output(raw: Raw<'_>) -> Option<Output<'_>> {
    let members = raw.members()?;
    let text: Option<Text<'_>> = members.text("text");
    match text {
        Some(text) if members.text("type")? == *"text" => Some(Output::Text(text)),
        _ => Some(Output::File(members.text("mime")?, members.text("uri")?)),
    }
}
