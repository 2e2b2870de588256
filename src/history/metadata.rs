//! What a provider's package has stored with a part, as far as a package sends it again: kinds, sizes and digests.
//!
//! A package keeps what it was told about thinking, texts and calls in the part's `metadata`, under a namespace of its
//! own, and reads it there when it writes the next request (docs/opencode.md §5.7).

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Depth;
use crate::json::{self, Entry, Object};

/// A digest of content: the first half of its SHA-256. Two contents with the same digest are taken to be the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Of pieces, each with its length, so that none can pass for a part of another.
    #[must_use]
    pub fn of(pieces: &[&[u8]]) -> Self {
        let mut sum = Sha256::new();
        for piece in pieces {
            sum.update((piece.len() as u64).to_be_bytes());
            sum.update(piece);
        }
        let sum: [u8; 32] = sum.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&sum[..16]);
        Self(half)
    }

    /// Of two digests.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self::of(&[&self.0, &other.0])
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

/// The metadata of a part; `None` where it has none, which is not the same as an empty object: the AI SDK keeps an empty
/// text that carries one.
pub type Metadata = Option<Box<[Meta]>>;

/// One member of a namespace of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Under which name a package keeps it: `anthropic`, `openai`, a provider's id.
    pub namespace: Box<str>,
    /// What it is.
    pub kind: MetaKind,
    /// Size of its JSON in bytes.
    pub bytes: u64,
    /// Of its JSON.
    pub digest: Digest,
    /// What it holds, where it is [`MetaKind::ReasoningDetails`].
    pub details: Box<[Detail]>,
    /// Its first and last four bytes, where it is a text of at least as many.
    pub ends: Option<[u8; 8]>,
}

/// The first four bytes of one text and the last four of another.
pub(super) fn ends_of(first: &str, last: &str) -> Option<[u8; 8]> {
    let last = last.as_bytes();
    let ends = [first.as_bytes().get(..4)?, last.get(last.len().checked_sub(4)?..)?].concat();
    ends.try_into().ok()
}

/// What an item of that name is known by, however little of a row was read.
pub(super) fn item_name(name: &str) -> Digest {
    Digest::of(&[b"itemId", json::quote(name).as_bytes()])
}

/// What a member of a namespace is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetaKind {
    /// `signature`: the provider vouches for the thinking.
    Signature,
    /// `redactedData`: thinking that only the provider can read.
    RedactedData,
    /// `redactedContent`: the same in Bedrock's newer form.
    RedactedContent,
    /// `reasoningEncryptedContent`: thinking that only the provider can read.
    EncryptedContent,
    /// `itemId`: the provider's own name for the item.
    ItemId,
    /// `phase`: which part of the answer a text is.
    Phase,
    /// `reasoning_details`: OpenRouter's list.
    ReasoningDetails,
    /// `reasoningOpaque`: thinking that only Copilot can read.
    ReasoningOpaque,
    /// `thoughtSignature`: Google vouches for what it stands with.
    ThoughtSignature,
    /// `serverToolCallId` or `serverToolType`: a call that Google's servers ran.
    ServerTool,
    /// Anything else.
    Unknown,
}

impl MetaKind {
    fn of(name: &str) -> Self {
        match name {
            "signature" => Self::Signature,
            "redactedData" => Self::RedactedData,
            "redactedContent" => Self::RedactedContent,
            "reasoningEncryptedContent" => Self::EncryptedContent,
            "itemId" => Self::ItemId,
            "phase" => Self::Phase,
            "reasoning_details" => Self::ReasoningDetails,
            "reasoningOpaque" => Self::ReasoningOpaque,
            "thoughtSignature" => Self::ThoughtSignature,
            "serverToolCallId" | "serverToolType" => Self::ServerTool,
            _ => Self::Unknown,
        }
    }
}

/// One of OpenRouter's reasoning details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// The package sends it: it has what the format asks for.
    pub sendable: bool,
    /// What the package knows it again by; details that it has sent already are left out.
    pub key: Option<Digest>,
    /// Only the provider can read it.
    pub encrypted: bool,
    /// The provider's own name for it.
    pub item: Option<Digest>,
    /// The first and last four bytes of what is encrypted.
    pub ends: Option<[u8; 8]>,
    /// Size of its JSON in bytes.
    pub bytes: u64,
    /// Of its JSON.
    pub digest: Digest,
}

impl Detail {
    /// Read in `@openrouter/ai-sdk-provider` 2.8.1 and 2.9.0.
    fn of(raw: &str) -> Option<Self> {
        let object = Object::parse(raw).ok()?;
        let text = |name: &str| object.some(name).filter(|raw| raw.len() > 2);
        let kind = object.some("type").and_then(json::string)?;
        let key = match kind.as_str() {
            "reasoning.summary" => object.some("summary"),
            "reasoning.encrypted" => text("id").or(object.some("data")),
            "reasoning.text" => text("text").or(text("signature")),
            _ => None,
        };
        let format = object.some("format").and_then(json::string);
        let signed = format.as_deref().is_none_or(|f| ["anthropic-claude-v1", "google-gemini-v1"].contains(&f));
        let sendable = kind != "reasoning.text" || !signed || text("signature").is_some();
        Some(Self {
            sendable,
            key: key.map(|raw| Digest::of(&[raw.as_bytes()])),
            encrypted: kind == "reasoning.encrypted",
            item: object.some("id").map(|raw| Digest::of(&[b"itemId", raw.as_bytes()])),
            ends: object.some("data").and_then(json::string).and_then(|data| ends_of(&data, &data)),
            bytes: raw.len() as u64,
            digest: Digest::of(&[raw.as_bytes()]),
        })
    }
}

/// The metadata of a part's JSON. What is `null` counts as absent, as it does in every package.
pub(super) fn of(part: &Object<'_>, depth: Depth) -> Metadata {
    let raw = part.some("metadata")?;
    let whole = |namespace: &str, raw: &str| Meta {
        namespace: namespace.into(),
        kind: MetaKind::Unknown,
        bytes: raw.len() as u64,
        digest: depth.digest(&[raw.as_bytes()]),
        details: Box::default(),
        ends: None,
    };
    let Ok(Some(outer)) = part.object("metadata") else { return Some(Box::new([whole("", raw)])) };
    let mut out = Vec::new();
    // A call that the provider ran is marked beside the namespaces, and the mark is not sent.
    let sent = |entry: &Entry<'_, '_>| entry.name() != "providerExecuted" && entry.raw() != "null";
    let mut entries: Vec<_> = outer.entries().filter(sent).collect();
    entries.reverse();
    for entry in entries {
        let (namespace, raw) = (entry.name(), entry.raw());
        let Some(inner) = entry.object().or_else(|| Object::parse(raw).ok()) else {
            out.push(whole(namespace, raw));
            continue;
        };
        for (name, raw) in inner.members().filter(|(_, raw)| *raw != "null") {
            let kind = MetaKind::of(name);
            let details = match kind {
                MetaKind::ReasoningDetails => json::array(raw).unwrap_or_default(),
                _ => Vec::new(),
            };
            out.push(Meta {
                namespace: namespace.into(),
                kind,
                bytes: raw.len() as u64,
                digest: match kind {
                    // Refusals name items.
                    MetaKind::ItemId => Digest::of(&[name.as_bytes(), raw.as_bytes()]),
                    _ => depth.digest(&[name.as_bytes(), raw.as_bytes()]),
                },
                ends: raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).and_then(|raw| ends_of(raw, raw)),
                details: details.into_iter().filter_map(Detail::of).collect(),
            });
        }
    }
    Some(out.into_boxed_slice())
}

/// The member of that kind in the first of these namespaces that holds any member.
#[must_use]
pub fn find<'a>(metadata: &'a Metadata, namespaces: &[&str], kind: MetaKind) -> Option<&'a Meta> {
    namespace(metadata, namespaces).find(|meta| meta.kind == kind)
}

/// The members of the first of these namespaces that holds any.
pub fn namespace<'a>(metadata: &'a Metadata, namespaces: &[&str]) -> impl Iterator<Item = &'a Meta> + use<'a> {
    let all = metadata.as_deref().unwrap_or_default();
    let first = namespaces.iter().find_map(|name| all.iter().find(|meta| *meta.namespace == **name));
    let first = first.map(|meta| &meta.namespace);
    all.iter().filter(move |meta| first == Some(&meta.namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(metadata: &str) -> Metadata {
        of(&Object::parse(&format!(r#"{{"type":"text","metadata":{metadata}}}"#)).unwrap(), Depth::Whole)
    }

    fn kinds(metadata: &str) -> Vec<MetaKind> {
        of_text(metadata).unwrap_or_default().iter().map(|m| m.kind).collect()
    }

    #[test]
    fn what_is_stored_is_told_apart_by_its_name() {
        assert_eq!(kinds(r#"{"anthropic":{"signature":"x"}}"#), [MetaKind::Signature]);
        let item = [MetaKind::ItemId, MetaKind::EncryptedContent];
        assert_eq!(kinds(r#"{"openai":{"itemId":"r","reasoningEncryptedContent":"e"}}"#), item);
        assert_eq!(kinds(r#"{"openai":{"itemId":"r","reasoningEncryptedContent":null}}"#), item[..1]);
        assert_eq!(kinds(r#"{"new":{"thing":1}}"#), [MetaKind::Unknown]);
        assert_eq!(kinds(r#"{"new":"thing"}"#), [MetaKind::Unknown]);
        assert_eq!(kinds(r#"{"providerExecuted":true}"#), []);
    }

    #[test]
    fn an_empty_object_is_metadata_and_null_is_none() {
        assert_eq!(of_text("{}").map(|m| m.len()), Some(0));
        assert_eq!(of_text(r#"{"anthropic":{}}"#).map(|m| m.len()), Some(0));
        assert_eq!(of_text("null"), None);
        assert_eq!(of(&Object::parse(r#"{"type":"text"}"#).unwrap(), Depth::Whole), None);
        assert_eq!(of_text("5").map(|m| m.len()), Some(1), "of unknown shape");
    }

    #[test]
    fn the_same_size_is_not_the_same_content() {
        let digest = |m: &str| of_text(m).unwrap()[0].digest;
        assert_ne!(digest(r#"{"anthropic":{"signature":"x"}}"#), digest(r#"{"anthropic":{"signature":"y"}}"#));
        assert_ne!(digest(r#"{"anthropic":{"signature":"x"}}"#), digest(r#"{"anthropic":{"redactedData":"x"}}"#));
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
    }

    #[test]
    fn details_without_what_their_format_asks_for_are_not_sent() {
        let details = |list: &str| {
            let text = format!(r#"{{"openrouter":{{"reasoning_details":{list}}}}}"#);
            of_text(&text).unwrap()[0].details.iter().map(|d| d.sendable && d.key.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(details(r#"[{"type":"reasoning.encrypted","data":"x"}]"#), [true]);
        assert_eq!(details(r#"[{"type":"reasoning.text","text":"x"}]"#), [false], "no format is Claude's");
        assert_eq!(details(r#"[{"type":"reasoning.text","text":"x","signature":"s"}]"#), [true]);
        assert_eq!(details(r#"[{"type":"reasoning.text","text":"x","format":"xai-responses-v1"}]"#), [true]);
        assert_eq!(
            details(r#"[{"type":"reasoning.new","x":1},{"type":"reasoning.summary","summary":"s"}]"#),
            [false, true]
        );
        assert_eq!(details("[]"), [] as [bool; 0]);
    }
}
