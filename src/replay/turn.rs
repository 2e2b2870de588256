//! A request as it goes out: its turns in order, what each holds, and where that comes from.
//!
//! This is what everything else looks at: what re-entering comes to, whether a repair leaves the next prompt as it was, what
//! a provider refuses in it, and what `explain` shows.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::history::{Digest, Media, Message, Meta, MetaKind, Part, PartKind, Pointer, ToolCall};

/// Whose turn it is in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnRole {
    /// The user's.
    User,
    /// The assistant's.
    Assistant,
    /// Results of the tools that the assistant's turn before it called.
    Tool,
}

/// What one row of the history gives to one turn of the request.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    /// Whose turn it is.
    pub role: TurnRole,
    /// The row that it comes from.
    pub row: &'a Message,
    /// What is sent, in order. A package may send a turn without content.
    pub blocks: Vec<Block<'a>>,
    /// What opencode hands over and the package, or opencode on the way to it, leaves out.
    pub left_out: Vec<Block<'a>>,
    /// The number of the message that it is part of, counted as Anthropic's API counts: turns of one side that follow each
    /// other are one message, tools' results being the user's.
    pub message: usize,
}

/// One piece of a turn.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// What it is.
    pub kind: BlockKind,
    /// The part that it comes from; `None` for what opencode adds itself.
    pub part: Option<&'a Part>,
    /// Which attachment of that part it is, or which of its reasoning details, from 0.
    pub piece: Option<usize>,
    /// It stands inside the tool's result before it: its place there.
    pub inner: Option<usize>,
    /// Of what is sent, metadata aside.
    pub digest: Digest,
    /// What of the provider's metadata is sent with it.
    pub carries: Vec<Carried>,
}

/// A piece of a provider's metadata that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Carried {
    /// What it is.
    pub kind: MetaKind,
    /// Size of its JSON in bytes.
    pub bytes: u64,
    /// Of its JSON.
    pub digest: Digest,
}

impl From<&Meta> for Carried {
    fn from(meta: &Meta) -> Self {
        Self { kind: meta.kind, bytes: meta.bytes, digest: meta.digest }
    }
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// Text that is more than white space.
    Text,
    /// White space alone.
    BlankText,
    /// `""`.
    EmptyText,
    /// The single space that stands for an empty text beside signed thinking.
    StandIn,
    /// Thinking.
    Thinking,
    /// Thinking without a word and without anything that vouches for it.
    EmptyThinking,
    /// One of OpenRouter's reasoning details.
    ReasoningDetail,
    /// The name of an item that the provider has stored itself.
    ItemReference,
    /// A call of a tool.
    ToolCall,
    /// A call that the provider ran.
    ProviderToolCall,
    /// The result of such a call.
    ProviderToolResult,
    /// A tool's output.
    ToolResult,
    /// A tool's error.
    ToolError,
    /// "[Tool execution was interrupted]".
    ToolInterrupted,
    /// A file.
    File,
    /// "ERROR: Cannot read …", in place of a file that the model does not take.
    UnreadableFile,
    /// "Attached media from tool result:"
    MediaIntroduction,
    /// "What did we do so far?"
    CompactionPrompt,
    /// "The following tool was executed by the user"
    SubtaskPrompt,
    /// A reminder of plan or build mode that opencode adds to the last user row.
    Reminder,
    /// "Done.", which opencode puts between a tool's result and a prompt for Mistral's models.
    Done,
}

impl BlockKind {
    /// Whether the block says nothing at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        matches!(self, Self::EmptyText | Self::EmptyThinking)
    }

    /// Whether it is a text with words in it.
    #[must_use]
    pub fn has_words(self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::CompactionPrompt
                | Self::SubtaskPrompt
                | Self::Reminder
                | Self::UnreadableFile
                | Self::MediaIntroduction
                | Self::Done
        )
    }
}

impl<'a> Block<'a> {
    /// A block of a part, by what it says.
    #[must_use]
    pub fn of(kind: BlockKind, part: &'a Part) -> Self {
        let digest = match &part.kind {
            PartKind::Text { text, .. } | PartKind::Reasoning { text, .. } => text.digest,
            PartKind::Tool(call) if matches!(kind, BlockKind::ToolCall | BlockKind::ProviderToolCall) => call.call,
            PartKind::Tool(call) => call.result,
            PartKind::File(media) => media.digest,
            _ => Digest::default(),
        };
        Self { kind, part: Some(part), piece: None, inner: None, digest, carries: Vec::new() }
    }

    /// A block that opencode adds itself, always in the same words.
    #[must_use]
    pub fn added(kind: BlockKind) -> Self {
        Self { kind, part: None, piece: None, inner: None, digest: Digest::default(), carries: Vec::new() }
    }

    /// The part's id.
    #[must_use]
    pub fn part_id(&self) -> Option<&'a str> {
        self.part.map(Part::id)
    }

    /// Size of the part's JSON in bytes; 0 where there is none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.part.map_or(0, |part| part.bytes)
    }

    /// Whether the text of its part is `""`.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self.part.map(|part| &part.kind) {
            Some(PartKind::Text { text, .. } | PartKind::Reasoning { text, .. }) => text.empty,
            _ => false,
        }
    }

    /// Whether nothing is sent with it: no word, no call, no result, no metadata.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let nothing = self.kind.is_empty() || self.kind == BlockKind::Thinking && self.is_silent();
        nothing && self.carries.is_empty()
    }

    /// The call that it is, or the result of.
    #[must_use]
    pub fn call(&self) -> Option<&'a ToolCall> {
        match &self.part?.kind {
            PartKind::Tool(call) => Some(call),
            _ => None,
        }
    }

    /// The file that it is.
    #[must_use]
    pub fn media(&self) -> Option<&'a Media> {
        if self.kind != BlockKind::File {
            return None;
        }
        match &self.part?.kind {
            PartKind::File(media) => Some(media),
            PartKind::Tool(call) => call.attachments().get(self.piece?),
            _ => None,
        }
    }

    /// Which attachment of a tool's result it is, from 0.
    #[must_use]
    pub fn attachment(&self) -> Option<usize> {
        self.piece.filter(|_| self.kind == BlockKind::File)
    }

    /// What of it tells it from another block.
    fn content(&self) -> Content<'_> {
        (self.kind, self.digest, &self.carries)
    }
}

type Content<'b> = (BlockKind, Digest, &'b [Carried]);

impl<'a> Turn<'a> {
    /// Whether nothing is sent in it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.blocks.iter().all(Block::is_nothing)
    }

    /// Whether it is the assistant's.
    #[must_use]
    pub fn is_assistant(&self) -> bool {
        self.role == TurnRole::Assistant
    }

    /// Whether the two send the same.
    #[must_use]
    pub fn sends_the_same(&self, other: &Self) -> bool {
        self.role == other.role && self.blocks.iter().map(Block::content).eq(other.blocks.iter().map(Block::content))
    }
}

/// Why a row gives no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It has no parts.
    NoParts,
    /// It holds an error.
    Error,
    /// None of its parts is sent.
    NothingSent,
    /// The SDK package drops it, for its text is empty.
    EmptyForSdk,
    /// A pending revert takes it away first.
    Reverted,
    /// A compaction's summary stands for it.
    Compacted,
}

/// A part that keeps a request from being sent: opencode or the package gives up over it.
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a> {
    /// The row.
    pub row: &'a Message,
    /// The part.
    pub part: &'a Part,
    /// What it is that they cannot take.
    pub what: StopKind,
}

/// What keeps a request from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// A call that the provider ran.
    ProviderCall,
    /// A file of a kind that the package cannot send.
    File,
    /// A finished call without an output, over which the AI SDK itself gives up.
    NoOutput,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Its turns in order.
    pub turns: Vec<Turn<'a>>,
    /// The rows that give none.
    pub skipped: Vec<(&'a str, Why)>,
    /// What keeps it from being sent.
    pub stops: Vec<Stop<'a>>,
}

impl<'a> Request<'a> {
    /// Numbers its messages, and leaves out what the package sends only once.
    pub(super) fn number(&mut self, details_once: bool) {
        let mut seen = HashSet::new();
        let mut last = None;
        let mut number = 0;
        for turn in &mut self.turns {
            if details_once && turn.blocks.iter().any(|b| b.kind == BlockKind::ReasoningDetail) {
                turn.blocks.retain(|block| block.kind != BlockKind::ReasoningDetail || seen.insert(detail_key(block)));
                if !turn.blocks.iter().any(|b| b.kind == BlockKind::ReasoningDetail) {
                    // Without details, the words of the thinking are left out as well.
                    turn.blocks.retain(|block| block.kind != BlockKind::Thinking);
                }
            }
            if last.is_some_and(|last| last != turn.is_assistant()) {
                number += 1;
            }
            turn.message = number;
            last = Some(turn.is_assistant());
        }
    }

    /// The turn that it ends with.
    #[must_use]
    pub fn last(&self) -> Option<&Turn<'a>> {
        self.turns.last()
    }

    /// All blocks that are sent.
    pub fn blocks(&self) -> impl Iterator<Item = &Block<'a>> {
        self.turns.iter().flat_map(|turn| &turn.blocks)
    }

    /// Its messages, as Anthropic's API counts them: the turns of each.
    pub fn messages(&self) -> impl Iterator<Item = &[Turn<'a>]> {
        self.turns.chunk_by(|a, b| a.message == b.message)
    }

    /// The block that a refusal points at, with its turn.
    #[must_use]
    pub fn at(&self, pointer: Pointer) -> Option<(&Turn<'a>, &Block<'a>)> {
        let all = || {
            let turns = self.turns.iter().filter(|turn| turn.message == pointer.message);
            turns.flat_map(|turn| turn.blocks.iter().map(move |block| (turn, block)))
        };
        let place = all().filter(|(_, block)| block.inner.is_none()).nth(pointer.block?)?;
        let inside = || all().filter(|(_, b)| b.inner.is_some() && b.part_id() == place.1.part_id());
        match pointer.inner {
            Some(inner) => inside().find(|(_, block)| block.inner == Some(inner)).or(Some(place)),
            None if inside().count() == 1 => inside().next(),
            None => Some(place),
        }
    }
}

/// What OpenRouter's package knows a detail by.
fn detail_key(block: &Block<'_>) -> Option<Digest> {
    block.detail().and_then(|detail| detail.key)
}

impl<'a> Block<'a> {
    /// The reasoning detail that it is.
    #[must_use]
    pub fn detail(&self) -> Option<&'a crate::history::Detail> {
        let metadata = match &self.part?.kind {
            PartKind::Reasoning { metadata, .. } => metadata,
            PartKind::Tool(call) => &call.metadata,
            _ => return None,
        };
        let list = metadata.as_deref()?.iter().find(|meta| meta.kind == MetaKind::ReasoningDetails)?;
        list.details.get(self.piece?)
    }
}
