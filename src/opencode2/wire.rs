//! From what is said to the turns of a request, as each of opencode 2's protocols writes them.
//!
//! Calls that a provider ran can be sent to Anthropic if the tool is `web_search`, `code_execution` or `web_fetch`, and
//! by the Responses protocol. Others, and all by chat completions or by Google's and Amazon's protocols (these read),
//! end the run before anything is sent. So does a result's file that is no image, nor (but for chat completions) a PDF,
//! or no base64. Results are a user turn each (Anthropic) or a tool message each (chat completions; their images follow
//! as a user turn). Measured on the preview and read in 2.0.26 unless marked.

use schemars::JsonSchema;
use serde::Serialize;

use super::generation::Generation;
use super::json::{Raw, Text};
use super::request::{Piece, Said, Speaker, Words, is_error};
use super::rows::{Output, Status, Tool};
use super::shape::is_base64;

/// The protocol that a model is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Anthropic's messages: `@ai-sdk/anthropic`.
    Anthropic,
    /// OpenAI's chat completions: `@ai-sdk/openai-compatible`.
    Chat,
    /// OpenAI's responses: `@ai-sdk/openai`. Items are sent whole with `store: false`, else by their ids.
    Responses {
        /// Whether the configuration says `store: false`.
        stateless: bool,
    },
    /// Google's and Amazon's own: `@ai-sdk/google`, `@ai-sdk/amazon-bedrock`. Turns are told as they are said.
    GeminiOrBedrock,
    /// Any other. Turns are told as they are said.
    Other,
}

impl Api {
    /// The protocol of an AI SDK package. `store` is the configuration's `options.store`.
    #[must_use]
    pub fn of(package: &str, store: Option<bool>) -> Self {
        match package {
            "@ai-sdk/anthropic" => Self::Anthropic,
            "@ai-sdk/openai-compatible" => Self::Chat,
            "@ai-sdk/openai" => Self::Responses { stateless: store != Some(true) },
            "@ai-sdk/google" | "@ai-sdk/amazon-bedrock" => Self::GeminiOrBedrock,
            _ => Self::Other,
        }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user's, or a tool's result.
    User,
    /// The assistant's.
    Assistant,
    /// A tool's, where the protocol tells it apart.
    Tool,
    /// An item that is nobody's turn (reasoning and calls of the responses protocol).
    Item,
}

/// A turn of a request.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Whose it is.
    pub role: Role,
    /// What it holds.
    pub blocks: Vec<Block<'a>>,
}

/// What a block of a turn is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// Words.
    Text(Words<'a>),
    /// An image, a PDF or another file.
    Media,
    /// Thinking that is sent as such, with its signature if there is one.
    Thinking(Text<'a>, Option<Text<'a>>),
    /// Thinking that the provider has encrypted, or a reference to it.
    Encrypted,
    /// A call.
    Call(Text<'a>),
    /// A call that the provider ran.
    HostedCall(Text<'a>),
    /// A call's result, and whether it is an error.
    Result(Text<'a>, bool),
    /// The result of a call that the provider ran.
    HostedResult(Text<'a>),
}

impl Kind<'_> {
    /// Its name in documents.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Media => "media",
            Self::Thinking(..) => "thinking",
            Self::Encrypted => "encrypted",
            Self::Call(_) => "call",
            Self::HostedCall(_) => "hosted-call",
            Self::Result(_, false) => "result",
            Self::Result(_, true) => "error-result",
            Self::HostedResult(_) => "hosted-result",
        }
    }

    /// Its words, or the id of its call.
    #[must_use]
    pub fn words(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Text(words) => Some(words.render()),
            Self::Thinking(words, _) => Some(words.decode()),
            Self::Media | Self::Encrypted => None,
            Self::Call(id) | Self::HostedCall(id) | Self::Result(id, _) | Self::HostedResult(id) => Some(id.decode()),
        }
    }
}

/// A block of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The row that it comes from; empty for what is not stored.
    pub row: &'a str,
    /// The place in the row's `content`.
    pub part: Option<usize>,
    /// What it is.
    pub kind: Kind<'a>,
}

/// opencode itself cannot write the request, so that nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsendable<'a> {
    /// The row.
    pub row: &'a str,
    /// The place in its `content`.
    pub part: Option<usize>,
    /// What the protocol cannot take.
    pub why: Why,
}

/// What a protocol cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A call that another provider ran.
    HostedCall,
    /// A file of a type that is not known, or that is no base64.
    Media,
}

/// The tools of Anthropic's servers whose results can be sent again.
const HOSTED: [&str; 3] = ["web_search", "code_execution", "web_fetch"];
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

type Written<'a> = Result<Vec<Turn<'a>>, Unsendable<'a>>;

/// The turns of a request.
///
/// # Errors
/// What the protocol cannot take: opencode then sends nothing.
pub(super) fn turns<'a>(generation: &Generation, api: Api, said: &[Said<'a, '_>]) -> Written<'a> {
    match api {
        Api::Anthropic => anthropic(generation, said),
        Api::Chat => chat(said),
        Api::Responses { stateless } => responses(stateless, said),
        Api::GeminiOrBedrock => hosted(api, said).map_or_else(|| Ok(plain(said)), Err),
        Api::Other => Ok(plain(said)),
    }
}

/// Whether a call that a provider ran can be sent again.
pub(super) fn takes_hosted(api: Api, tool: &Tool<'_>) -> bool {
    match api {
        Api::Anthropic => HOSTED.iter().any(|name| tool.name == **name),
        Api::Chat | Api::GeminiOrBedrock => false,
        Api::Responses { .. } | Api::Other => true,
    }
}

/// The first call that a provider ran and that cannot be sent again.
fn hosted<'a>(api: Api, said: &[Said<'a, '_>]) -> Option<Unsendable<'a>> {
    said.iter().find_map(|one| {
        let refused =
            |piece: &Piece<'_, '_>| matches!(piece, Piece::Result(t, _) if t.executed && !takes_hosted(api, t));
        let (part, _) = one.pieces.iter().find(|(_, piece)| refused(piece))?;
        Some(Unsendable { row: one.row, part: *part, why: Why::HostedCall })
    })
}

fn role(speaker: Speaker) -> Role {
    if speaker == Speaker::Assistant { Role::Assistant } else { Role::User }
}

/// Adds an update of the instructions to the user's turn before it, or as a turn of its own.
fn push_update<'a>(turns: &mut Vec<Turn<'a>>, block: Block<'a>) {
    match turns.last_mut() {
        Some(turn) if turn.role == Role::User => turn.blocks.push(block),
        _ => turns.push(Turn { role: Role::User, blocks: vec![block] }),
    }
}

fn anthropic<'a>(generation: &Generation, said: &[Said<'a, '_>]) -> Written<'a> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for one in said {
        let mut blocks = Vec::with_capacity(one.pieces.len());
        for (part, piece) in &one.pieces {
            let kind =
                anthropic_block(generation, piece).map_err(|why| Unsendable { row: one.row, part: *part, why })?;
            blocks.extend(kind.map(|kind| Block { row: one.row, part: *part, kind }));
        }
        let results = |turn: &Turn<'_>| turn.blocks.iter().all(|block| matches!(block.kind, Kind::Result(..)));
        match (one.speaker, turns.last_mut()) {
            (Speaker::System, _) => blocks.into_iter().for_each(|block| push_update(&mut turns, block)),
            (Speaker::Tool, Some(last)) if generation.joins_results && last.role == Role::User && results(last) => {
                last.blocks.extend(blocks);
            }
            _ if blocks.is_empty() && generation.drops_blank => {}
            _ => turns.push(Turn { role: role(one.speaker), blocks }),
        }
    }
    Ok(turns)
}

fn anthropic_block<'a>(generation: &Generation, piece: &Piece<'a, '_>) -> Result<Option<Kind<'a>>, Why> {
    Ok(match piece {
        Piece::Text(words, _) if generation.drops_blank && words.is_blank() => None,
        Piece::Text(words, _) => Some(Kind::Text(*words)),
        Piece::Media(file) => {
            check_media(&file.mime.decode(), file.data, &["application/pdf"])?;
            Some(Kind::Media)
        }
        Piece::Reasoning(text, state) => {
            let state = state.and_then(Raw::members);
            let member = |name| state.as_ref().and_then(|state| state.text(name));
            let signature = member("signature");
            if signature.is_none() && member("redactedData").is_some() {
                return Ok(Some(Kind::Encrypted));
            }
            if generation.unsigned_as_text && signature.is_none_or(Text::is_blank) {
                return Ok((!text.is_blank()).then_some(Kind::Text(Words::Row(*text))));
            }
            Some(Kind::Thinking(*text, signature))
        }
        Piece::Call(tool, _) if tool.executed => Some(Kind::HostedCall(tool.id)),
        Piece::Call(tool, _) => Some(Kind::Call(tool.id)),
        Piece::Result(tool, _) if tool.executed => {
            if !takes_hosted(Api::Anthropic, tool) {
                return Err(Why::HostedCall);
            }
            Some(Kind::HostedResult(tool.id))
        }
        Piece::Result(tool, _) => {
            for (mime, data) in files(tool) {
                check_media(&mime.decode(), data, &["application/pdf"])?;
            }
            Some(Kind::Result(tool.id, is_error(tool)))
        }
    })
}

fn chat<'a>(said: &[Said<'a, '_>]) -> Written<'a> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut images: Vec<Block<'a>> = Vec::new();
    for one in said {
        if one.speaker != Speaker::Tool && one.speaker != Speaker::System && !images.is_empty() {
            turns.push(Turn { role: Role::User, blocks: std::mem::take(&mut images) });
        }
        let mut blocks = Vec::with_capacity(one.pieces.len());
        for (part, piece) in &one.pieces {
            let failed = |why| Unsendable { row: one.row, part: *part, why };
            let kind = match piece {
                Piece::Text(words, _) => Kind::Text(*words),
                Piece::Media(file) => {
                    check_media(&file.mime.decode(), file.data, &[]).map_err(failed)?;
                    Kind::Media
                }
                Piece::Reasoning(text, _) => Kind::Thinking(*text, None),
                Piece::Call(tool, _) => Kind::Call(tool.id),
                Piece::Result(tool, _) if tool.executed => return Err(failed(Why::HostedCall)),
                Piece::Result(tool, _) => {
                    for (mime, data) in files(tool) {
                        check_media(&mime.decode(), data, &[]).map_err(failed)?;
                        images.push(Block { row: one.row, part: *part, kind: Kind::Media });
                    }
                    Kind::Result(tool.id, is_error(tool))
                }
            };
            blocks.push(Block { row: one.row, part: *part, kind });
        }
        match one.speaker {
            Speaker::System if !images.is_empty() => {
                images.extend(blocks);
                turns.push(Turn { role: Role::User, blocks: std::mem::take(&mut images) });
            }
            Speaker::System => blocks.into_iter().for_each(|block| push_update(&mut turns, block)),
            Speaker::Tool => turns.push(Turn { role: Role::Tool, blocks }),
            speaker => turns.push(Turn { role: role(speaker), blocks }),
        }
    }
    if !images.is_empty() {
        turns.push(Turn { role: Role::User, blocks: images });
    }
    Ok(turns)
}

fn responses<'a>(stateless: bool, said: &[Said<'a, '_>]) -> Written<'a> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for one in said {
        let mut seen: Vec<Text<'a>> = Vec::new();
        let mut open = false;
        for (part, piece) in &one.pieces {
            let failed = |why| Unsendable { row: one.row, part: *part, why };
            let text = matches!(piece, Piece::Text(..) | Piece::Media(_));
            let kind = match piece {
                Piece::Text(words, _) => Some(Kind::Text(*words)),
                Piece::Media(file) => {
                    check_media(&file.mime.decode(), file.data, &["application/pdf"]).map_err(failed)?;
                    Some(Kind::Media)
                }
                Piece::Reasoning(_, state) => encrypted(stateless, *state, &mut seen),
                Piece::Call(tool, _) => (!tool.executed).then_some(Kind::Call(tool.id)),
                Piece::Result(tool, state) if tool.executed => {
                    let item = state.and_then(|state| state.string("itemId"));
                    item.filter(|item| !stateless && !item.is_empty()).map(|_| Kind::HostedResult(tool.id))
                }
                Piece::Result(tool, _) => {
                    for (mime, data) in files(tool) {
                        check_media(&mime.decode(), data, &["application/pdf"]).map_err(failed)?;
                    }
                    Some(Kind::Result(tool.id, is_error(tool)))
                }
            };
            let block = kind.map(|kind| Block { row: one.row, part: *part, kind });
            match (block, turns.last_mut()) {
                (None, _) => {}
                (Some(block), _) if one.speaker == Speaker::System => push_update(&mut turns, block),
                (Some(block), Some(last)) if text && open => last.blocks.push(block),
                (Some(block), _) => {
                    let role = if text { role(one.speaker) } else { Role::Item };
                    turns.push(Turn { role, blocks: vec![block] });
                }
            }
            open = text;
        }
    }
    Ok(turns)
}

/// A reasoning item: once for each id, and without a server's memory only if it is encrypted.
fn encrypted<'a>(stateless: bool, state: Option<Raw<'a>>, seen: &mut Vec<Text<'a>>) -> Option<Kind<'a>> {
    let state = state?.members()?;
    let id = state.text("itemId").filter(|id| !id.is_empty())?;
    if stateless && state.text("reasoningEncryptedContent").is_none() || seen.contains(&id) {
        return None;
    }
    seen.push(id);
    Some(Kind::Encrypted)
}

fn plain<'a>(said: &[Said<'a, '_>]) -> Vec<Turn<'a>> {
    let kind = |piece: &Piece<'a, '_>| match piece {
        Piece::Text(words, _) => Kind::Text(*words),
        Piece::Media(_) => Kind::Media,
        Piece::Reasoning(text, state) => Kind::Thinking(*text, state.and_then(|state| state.string("signature"))),
        Piece::Call(tool, _) if tool.executed => Kind::HostedCall(tool.id),
        Piece::Call(tool, _) => Kind::Call(tool.id),
        Piece::Result(tool, _) if tool.executed => Kind::HostedResult(tool.id),
        Piece::Result(tool, _) => Kind::Result(tool.id, is_error(tool)),
    };
    let turn = |one: &Said<'a, '_>| Turn {
        role: role(one.speaker),
        blocks: one.pieces.iter().map(|(part, piece)| Block { row: one.row, part: *part, kind: kind(piece) }).collect(),
    };
    said.iter().map(turn).collect()
}

fn files<'a>(tool: &Tool<'a>) -> impl Iterator<Item = (Text<'a>, Text<'a>)> {
    let pieces = match &tool.status {
        Status::Completed(pieces) if pieces.len() > 1 || !matches!(pieces.first(), Some(Output::Text(_))) => {
            pieces.as_slice()
        }
        _ => &[],
    };
    pieces.iter().filter_map(|piece| match piece {
        Output::File(mime, uri) => Some((*mime, *uri)),
        Output::Text(_) => None,
    })
}

/// Whether a file is of a type that is sent, and is base64: bare, or in a `data:` URL of that type.
fn check_media(mime: &str, data: Text<'_>, more: &[&str]) -> Result<(), Why> {
    let mime = mime.to_ascii_lowercase();
    if !IMAGES.contains(&mime.as_str()) && !more.contains(&mime.as_str()) {
        return Err(Why::Media);
    }
    let data = data.decode();
    let bare = match data.strip_prefix("data:") {
        None => data.as_ref(),
        Some(rest) => match rest.split_once(";base64,") {
            Some((said, bare)) if said.eq_ignore_ascii_case(&mime) => bare,
            _ => return Err(Why::Media),
        },
    };
    if bare.is_empty() || !is_base64(bare) { Err(Why::Media) } else { Ok(()) }
}
