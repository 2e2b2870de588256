//! Rows to typed rows, strictly as opencode 2 does it.

use super::json::Raw;
use super::rows::{
    AsUser, Assistant, Attachment, Failure, Message, MessageRow, Model, Output, Part, SessionRow, Status, Tool,
    Undecodable, WaitingRow,
};
use super::shape::{Misfit, NO_OBJECT, Node, Shape};
use super::shapes::{self, Types};

/// Decodes a row, as all programs do that know its type.
///
/// # Errors
/// What does not decode, and where.
pub fn message<'a>(row: &MessageRow<'a>) -> Result<Message<'a>, Misfit> {
    let data: Node<'a> = shape_of(shapes::MESSAGES, row.id, row.kind)?.read_text(row.data)?;
    narrow(row.kind, &data).ok_or(NO_OBJECT)
}

fn shape_of(types: Types, id: &str, kind: &str) -> Result<&'static Shape, Misfit> {
    if !id.starts_with("msg_") {
        return Err(column("id", "an id with its prefix"));
    }
    types.iter().find(|(name, _)| *name == kind).map(|(_, shape)| *shape).ok_or_else(unknown_type)
}

/// What is wrong with a row whose type a program does not know.
pub(super) fn unknown_type() -> Misfit {
    column("type", "one of the words that are known")
}

/// Whether a waiting prompt decodes.
///
/// # Errors
/// What does not decode, and where.
pub fn waiting<'a>(row: &WaitingRow<'a>) -> Result<(), Undecodable<'a>> {
    let undecodable = |why| Undecodable { id: row.id, why };
    let shape = shape_of(shapes::WAITING, row.id, row.kind).map_err(undecodable)?;
    let delivered = row.kind == "compaction" || matches!(row.delivery, Some("steer" | "queue"));
    if !delivered {
        return Err(undecodable(column("delivery", "one of the words that are known")));
    }
    shape.read_text(row.data).map_err(undecodable)
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

/// The typed row; `None` if the table of shapes has let through what this expects to be there.
fn narrow<'a>(kind: &str, data: &Node<'a>) -> Option<Message<'a>> {
    Some(match kind {
        "user" => Message::User {
            skills: data
                .raw("skills")
                .map(Raw::items)
                .unwrap_or_default()
                .iter()
                .filter_map(|s| s.string("text"))
                .collect(),
            text: data.text("text")?,
            files: data
                .get("files")
                .map(Node::items)
                .unwrap_or_default()
                .iter()
                .map(attachment)
                .collect::<Option<_>>()?,
        },
        "synthetic" | "skill" => Message::AsUser(AsUser::Words(data.text("text")?)),
        "shell" => {
            let output = data.get("output").and_then(|output| output.text("output"));
            Message::AsUser(AsUser::Shell(data.text("command")?, output))
        }
        "location-switched" => Message::AsUser(AsUser::Moved(data.get("location")?.text("directory")?)),
        "system" => Message::System(data.text("text")?),
        "assistant" => Message::Assistant(assistant(data)?),
        "compaction" if data.text("status")? == *"completed" => {
            Message::Summary(data.text("summary")?, data.text("recent")?)
        }
        _ => Message::Nothing,
    })
}

fn attachment<'a>(file: &Node<'a>) -> Option<Attachment<'a>> {
    Some(Attachment {
        mime: file.text("mime")?,
        data: file.text("data")?,
        name: file.text("name"),
        uri: file.get("source").and_then(|source| source.text("uri")),
        description: file.text("description"),
    })
}

/// The model that a session's column names.
pub(super) fn model_of(column: &str) -> Option<Model<'_>> {
    let model = Raw::parse(column)?.members()?;
    Some(Model { provider: model.text("providerID")?, id: model.text("id")? })
}

fn model<'a>(model: &Node<'a>) -> Option<Model<'a>> {
    Some(Model { provider: model.text("providerID")?, id: model.text("id")? })
}

fn assistant<'a>(data: &Node<'a>) -> Option<Assistant<'a>> {
    Some(Assistant {
        model: model(data.get("model")?)?,
        parts: data.get("content")?.items().iter().map(part).collect::<Option<_>>()?,
        error: match data.get("error") {
            Some(error) => Some((error.text("type")?, error.text("message")?)),
            None => None,
        },
        completed: data.get("time")?.get("completed").is_some(),
        tokens: data.get("tokens").and_then(tokens),
    })
}

fn tokens(all: &Node<'_>) -> Option<f64> {
    let cache = all.get("cache")?;
    Some(
        all.number("input")?
            + all.number("output")?
            + all.number("reasoning")?
            + cache.number("read")?
            + cache.number("write")?,
    )
}

fn part<'a>(part: &Node<'a>) -> Option<Part<'a>> {
    let kind = part.text("type")?;
    if kind == *"text" {
        return Some(Part::Text(part.text("text")?, part.raw("state")));
    }
    if kind == *"reasoning" {
        return Some(Part::Reasoning(part.text("text")?, part.raw("state")));
    }
    Some(Part::Tool(Tool {
        id: part.text("id")?,
        name: part.text("name")?,
        executed: part.raw("executed").is_some_and(Raw::is_true),
        state: part.raw("providerState"),
        result_state: part.raw("providerResultState"),
        status: status(part.get("state")?)?,
        ended: part.get("time")?.number("completed"),
    }))
}

fn status<'a>(state: &Node<'a>) -> Option<Status<'a>> {
    let status = state.text("status")?;
    if status == *"completed" {
        let pieces = state.get("content")?.items().iter().map(output);
        return Some(Status::Completed(pieces.collect::<Option<_>>()?));
    }
    if status == *"error" {
        let error = state.get("error")?;
        let metadata = state.raw("metadata").and_then(Raw::members);
        return Some(Status::Error(Failure {
            kind: error.text("type")?,
            message: error.text("message")?,
            interrupted: metadata.and_then(|m| m.get("interrupted")).is_some_and(Raw::is_true),
        }));
    }
    Some(Status::Open)
}

fn output<'a>(piece: &Node<'a>) -> Option<Output<'a>> {
    if piece.text("type")? == *"text" {
        return Some(Output::Text(piece.text("text")?));
    }
    Some(Output::File(piece.text("mime")?, piece.text("uri")?))
}
