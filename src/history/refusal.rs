//! What a stored 400 says is wrong with the request, prefill aside: which rule, and where.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumIter};

use super::metadata::{Digest, ends_of, item_name};

/// What a provider refused a request for. Each stands for the texts in [`TEXTS`] (docs/opencode.md §12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum RefusalClass {
    /// A message whose text is nothing but white space.
    BlankText,
    /// A message without content.
    EmptyContent,
    /// An image of too many bytes.
    ImageBytes,
    /// An image of too many pixels.
    ImagePixels,
    /// Bytes that are no image, or one of another type than is said.
    BadImage,
    /// More images than a request may hold.
    TooManyImages,
    /// An image, of which the model takes none.
    NoImages,
    /// A document, as a PDF, of which the model takes none.
    NoDocuments,
    /// Ids of tool calls that are used twice, empty or spelled with other characters.
    CallIds,
    /// A tool's result without its call, or the other way round.
    CallPairs,
    /// Thinking whose signature does not hold.
    Signature,
    /// An answer that ends with thinking.
    ThinkingLast,
    /// Encrypted reasoning that the service does not take back.
    EncryptedReasoning,
    /// A reasoning item that nothing follows.
    ReasoningOrder,
    /// Names of items that the service does not know, or not any more.
    ItemIds,
    /// A call without the thinking that led to it.
    MissingReasoning,
    /// A call without Google's signature.
    ThoughtSignature,
    /// Calls or results in a place where the service takes none.
    TurnOrder,
    /// A history longer than the model's window.
    Window,
    /// Anything else.
    Other,
}

/// Words of each class, lower case; the first that is found decides. Sources: docs/opencode.md §12.
const TEXTS: &[(&str, RefusalClass)] = &[
    ("must contain non-whitespace text", RefusalClass::BlankText),
    ("text content blocks must be non-empty", RefusalClass::BlankText),
    ("text field in the contentblock object", RefusalClass::BlankText),
    ("must have non-empty content", RefusalClass::EmptyContent),
    ("with role 'assistant' must not be empty", RefusalClass::EmptyContent),
    ("assistant message must not be empty", RefusalClass::EmptyContent),
    ("chat content is empty", RefusalClass::EmptyContent),
    ("content or tool_calls", RefusalClass::EmptyContent),
    ("exceed max allowed size", RefusalClass::ImagePixels),
    ("image dimensions exceed", RefusalClass::ImagePixels),
    ("image was specified using the", RefusalClass::BadImage),
    ("does not match the provided media type", RefusalClass::BadImage),
    ("could not process image", RefusalClass::BadImage),
    ("unable to process input image", RefusalClass::BadImage),
    ("does not represent a valid image", RefusalClass::BadImage),
    ("image cannot be empty", RefusalClass::BadImage),
    ("media_type: input should be", RefusalClass::BadImage),
    ("invalid base64 data", RefusalClass::BadImage),
    ("image format image/", RefusalClass::BadImage),
    ("too many images", RefusalClass::TooManyImages),
    ("images, exceeding the maximum of", RefusalClass::TooManyImages),
    ("too much media", RefusalClass::TooManyImages),
    ("image exceeds", RefusalClass::ImageBytes),
    ("unknown variant `image_url`, expected", RefusalClass::NoImages),
    ("unknown variant 'image_url', expected", RefusalClass::NoImages),
    ("unknown variant image_url, expected", RefusalClass::NoImages),
    ("unknown variant `image_url`: expected", RefusalClass::NoImages),
    ("support image input", RefusalClass::NoImages),
    ("support image content", RefusalClass::NoImages),
    ("support image_url", RefusalClass::NoImages),
    ("support images", RefusalClass::NoImages),
    ("support image files", RefusalClass::NoImages),
    ("support image attachments", RefusalClass::NoImages),
    ("support image messages", RefusalClass::NoImages),
    ("support image blocks", RefusalClass::NoImages),
    ("support image modality", RefusalClass::NoImages),
    ("support image.", RefusalClass::NoImages),
    ("support the image field", RefusalClass::NoImages),
    ("support the image content", RefusalClass::NoImages),
    ("unknown variant `file`, expected", RefusalClass::NoDocuments),
    ("support document input", RefusalClass::NoDocuments),
    ("support document content", RefusalClass::NoDocuments),
    ("support documents", RefusalClass::NoDocuments),
    ("support the document field", RefusalClass::NoDocuments),
    ("support the document content", RefusalClass::NoDocuments),
    ("support pdf input", RefusalClass::NoDocuments),
    ("support pdf content", RefusalClass::NoDocuments),
    ("support document blocks", RefusalClass::NoDocuments),
    ("support pdf files", RefusalClass::NoDocuments),
    ("support pdf documents", RefusalClass::NoDocuments),
    ("support pdf attachments", RefusalClass::NoDocuments),
    ("support pdf.", RefusalClass::NoDocuments),
    ("support pdfs", RefusalClass::NoDocuments),
    ("support file input", RefusalClass::NoDocuments),
    ("`tool_use` ids must be unique", RefusalClass::CallIds),
    ("tool_use ids must be unique", RefusalClass::CallIds),
    ("string should match pattern '^[a-za-z0-9_-]+$'", RefusalClass::CallIds),
    ("tool_use.id: string should have at least 1 character", RefusalClass::CallIds),
    ("unexpected `tool_use_id`", RefusalClass::CallPairs),
    ("ids were found without `tool_result` blocks", RefusalClass::CallPairs),
    ("must be followed by tool messages", RefusalClass::CallPairs),
    ("invalid `signature` in `thinking` block", RefusalClass::Signature),
    ("invalid signature in thinking block", RefusalClass::Signature),
    ("final block in an assistant message cannot be", RefusalClass::ThinkingLast),
    ("was not issued to this caller", RefusalClass::EncryptedReasoning),
    ("invalid_encrypted_content", RefusalClass::EncryptedReasoning),
    ("the encrypted content for item", RefusalClass::EncryptedReasoning),
    ("without its required following item", RefusalClass::ReasoningOrder),
    ("without its required 'reasoning' item", RefusalClass::ItemIds),
    ("items are not persisted", RefusalClass::ItemIds),
    ("item with id '", RefusalClass::ItemIds),
    ("reasoning_content is missing", RefusalClass::MissingReasoning),
    ("missing reasoning_content", RefusalClass::MissingReasoning),
    ("must be passed back to the api", RefusalClass::MissingReasoning),
    ("missing a thought_signature", RefusalClass::ThoughtSignature),
    ("missing a `thought_signature`", RefusalClass::ThoughtSignature),
    ("missing thought_signature", RefusalClass::ThoughtSignature),
    ("function call turn comes immediately after", RefusalClass::TurnOrder),
    ("function response turn comes immediately after", RefusalClass::TurnOrder),
    ("no tool output found for function call", RefusalClass::CallPairs),
    ("prompt is too long", RefusalClass::Window),
    ("maximum context length", RefusalClass::Window),
    ("input is too long", RefusalClass::Window),
    ("exceeds the context window", RefusalClass::Window),
    ("context_length_exceeded", RefusalClass::Window),
];

/// A refusal that a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub class: RefusalClass,
    /// Which content it points at.
    pub at: Option<Pointer>,
    /// The number of images that the provider says it takes.
    pub most: Option<u64>,
    /// The item that it names.
    pub named: Option<Named>,
}

/// How a refusal names an item of a Responses request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// By its id.
    Item(Digest),
    /// By the first and last bytes of its encrypted content: "gAAA...DQ==".
    Ends([u8; 8]),
}

/// `messages.258.content.1`: a place in the request as the provider counts, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// The message.
    pub message: usize,
    /// The block of it.
    pub block: Option<usize>,
    /// The piece of that tool's result.
    pub inner: Option<usize>,
}

/// Words with which a text goes on that is about some files of a kind and not about all of them.
const OF_SOME: [&str; 6] = ["larger", "smaller", "bigger", "above", "over ", "of type"];

/// Whether a text says the words, and not only of some files.
fn says(text: &str, words: &str, class: RefusalClass) -> bool {
    let of_a_kind = matches!(class, RefusalClass::NoImages | RefusalClass::NoDocuments);
    text.match_indices(words).any(|(at, _)| {
        let rest = text[at + words.len()..].trim_start_matches(' ');
        !of_a_kind || !OF_SOME.iter().any(|word| rest.starts_with(word))
    })
}

/// What gateways say before they list what may be wrong: such a text proves nothing.
const GUESSES: [&str; 4] = ["possible reason", "possible cause", "may be one of", "common causes"];

/// What says that no answer came from the service.
const UNREACHED: [&str; 6] = ["econnrefused", "econnreset", "etimedout", "enotfound", "fetch failed", "socket hang up"];

/// What of a text, a JSON string, is the service's own word on what is wrong, with the same in lower case: nothing of a web
/// page, what stands before a list of guesses, and, where no status came with it, nothing about a service that was never
/// reached.
pub(super) fn told(text: &str, status: Option<i64>) -> Option<(&str, String)> {
    let mut lower = text.to_ascii_lowercase();
    let page = ["\"<!doctype", "\"<html"].iter().any(|start| lower.starts_with(start));
    if page || status.is_none() && UNREACHED.iter().any(|words| lower.contains(words)) {
        return None;
    }
    let end = GUESSES.iter().filter_map(|words| lower.find(words)).min().unwrap_or(lower.len());
    lower.truncate(end);
    Some((text.get(..end)?, lower))
}

/// Words for encrypted reasoning, what is said of it where it is not taken back, and what is said of it elsewhere.
const ENCRYPTED: [&str; 4] = ["encrypted_content", "encrypted content", "encrypted reasoning", "reasoning_opaque"];
const NOT_TAKEN: [&str; 13] = [
    "not be verified",
    "not verif",
    "cannot verif",
    "verification failed",
    "failed to verify",
    "unable to verify",
    "n't be verified",
    "decrypt",
    "not issued",
    "invalid",
    "not valid",
    "does not match",
    "n't verif",
];
/// What ends a sentence, or a member of the JSON that is quoted.
const ENDS: [&str; 8] = [". ", "\\n", "\",\"", "\\\",\\\"", "\":", "\\\":", "{", "}"];
const OF_PARAMETERS: [&str; 4] = ["not supported", "supported values", "unknown parameter", "unsupported"];

/// Whether a text says in words of its own that encrypted reasoning is not taken back.
fn of_encrypted(text: &str) -> bool {
    let says = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    if !says(text, &ENCRYPTED) || says(text, &OF_PARAMETERS) {
        return false;
    }
    // Every other 400 says "invalid" in its type.
    let mut text = text.replace("invalid_request_error", "").replace("invalid request", "");
    for end in ENDS {
        text = text.replace(end, "\n");
    }
    text.lines().any(|sentence| says(sentence, &ENCRYPTED) && says(sentence, &NOT_TAKEN))
}

/// What the texts of an error say; `name` is the error's, `lower` the texts in lower case, letter by letter.
pub(super) fn of(name: &str, texts: &[&str], lower: &[String]) -> Refusal {
    let found = TEXTS.iter().find(|(words, class)| lower.iter().any(|text| says(text, words, *class)));
    let class = match found {
        Some((_, class)) => *class,
        None if name == "ContextOverflowError" => RefusalClass::Window,
        None if lower.iter().any(|text| of_encrypted(text)) => RefusalClass::EncryptedReasoning,
        None => RefusalClass::Other,
    };
    let most = lower.iter().find_map(|text| {
        let (_, rest) = text.split_once("exceeding the maximum of ")?;
        number(rest)
    });
    let named = texts.iter().zip(lower).find_map(|(text, lower)| named(text, lower));
    Refusal { class, at: lower.iter().find_map(|text| pointer(text)), most: most.map(|n| n as u64), named }
}

/// The item that a text names: "The encrypted content for item rs_… could not be verified", "The encrypted content gAAA...DQ==
/// could not be verified", "Item 'rs_…' of type 'reasoning'", "Item with id 'rs_…' not found".
fn named(text: &str, lower: &str) -> Option<Named> {
    const BEFORE: [&str; 4] = ["encrypted content for item ", "item with id '", "item '", "the encrypted content "];
    BEFORE.iter().find_map(|words| {
        let rest = text.get(lower.find(words)? + words.len()..)?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '\\' | '`'))?;
        let name = &rest[..end];
        match name.split_once("...") {
            Some((first, last)) => Some(Named::Ends(ends_of(first, last)?)),
            None => name.contains('_').then(|| Named::Item(item_name(name))),
        }
    })
}

fn number(text: &str) -> Option<usize> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text[..digits].parse().ok()
}

/// The first `messages.N` in the text, and what follows it.
fn pointer(text: &str) -> Option<Pointer> {
    text.match_indices("messages.").find_map(|(at, words)| {
        let rest = &text[at + words.len()..];
        let message = number(rest)?;
        let after = |rest: &str, words: &str| -> Option<(usize, String)> {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(words)?;
            Some((number(rest)?, rest.to_owned()))
        };
        let block = after(rest, ".content.");
        let inner = block.as_ref().and_then(|(_, rest)| after(rest, ".tool_result.content."));
        Some(Pointer { message, block: block.map(|(n, _)| n), inner: inner.map(|(n, _)| n) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Refusal {
        of("APIError", &[text], &[text.to_ascii_lowercase()])
    }

    #[test]
    fn what_people_have_reported_is_told_apart() {
        for (text, class) in [
            ("messages: text content blocks must contain non-whitespace text", RefusalClass::BlankText),
            (
                "The model returned the following errors: messages.258.content.1.image.source.base64: image exceeds 5 MB \
                 maximum: 5895160 bytes > 5242880 bytes",
                RefusalClass::ImageBytes,
            ),
            (
                "messages.13.content.214.image.source.base64.data: At least one of the image dimensions exceed max allowed \
                 size for many-image requests: 2000 pixels",
                RefusalClass::ImagePixels,
            ),
            (
                "messages.3.content.0.tool_result.content.1.image.source.base64: The image was specified using the \
                 image/png media type, but the image appears to be a image/jpeg image",
                RefusalClass::BadImage,
            ),
            ("Could not process image", RefusalClass::BadImage),
            (
                "Failed to deserialize the JSON body into the target type: messages[137]: unknown variant `image_url`, \
                 expected `text` at line 1 column 460917",
                RefusalClass::NoImages,
            ),
            ("No endpoints found that support image input", RefusalClass::NoImages),
            ("The model does not support images.", RefusalClass::NoImages),
            ("The model does not support image/bmp; use png or jpeg", RefusalClass::Other),
            ("This model does not support image generation", RefusalClass::Other),
            ("The model does not support image detail 'original'", RefusalClass::Other),
            ("The model does not support images larger than 20 MB", RefusalClass::Other),
            ("tools.3.description: `unknown variant `image_url`` is too long", RefusalClass::Other),
            (
                r#"{"error":{"message":"You must set store to false to include reasoning.encrypted_content","type":"invalid_request_error"}}"#,
                RefusalClass::Other,
            ),
            (
                r#"{"error":{"message":"Invalid value for temperature"},"request":{"include":["reasoning.encrypted_content"]}}"#,
                RefusalClass::Other,
            ),
            ("Invalid 'input[3].encrypted_content': the content is not valid.", RefusalClass::EncryptedReasoning),
            ("The encrypted_content of input[2] is invalid", RefusalClass::EncryptedReasoning),
            ("This model doesn't support the image content block that you provided.", RefusalClass::NoImages),
            ("Your organization must be verified to receive encrypted content.", RefusalClass::Other),
            ("This model doesn't support documents.", RefusalClass::NoDocuments),
            (
                "This model doesn't support the document field for user messages. Remove document and try again.",
                RefusalClass::NoDocuments,
            ),
            (
                "request contains 52 images, exceeding the maximum of 50 allowed per request",
                RefusalClass::TooManyImages,
            ),
            ("messages.1.content.2: `tool_use` ids must be unique", RefusalClass::CallIds),
            ("messages.1.content.1.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", RefusalClass::CallIds),
            ("messages.1.content.0: Invalid `signature` in `thinking` block", RefusalClass::Signature),
            ("messages.4: all messages must have non-empty content", RefusalClass::EmptyContent),
            ("prompt is too long: 213000 tokens > 200000 maximum", RefusalClass::Window),
            (
                "Error from provider (Console): Upstream request failed: [invalid_request_error] reasoning \
                 `encrypted_content` was not issued to this caller",
                RefusalClass::EncryptedReasoning,
            ),
            ("The encrypted content gAAA...DQ== could not be verified.", RefusalClass::EncryptedReasoning),
            ("Could not decrypt the provided encrypted_content.", RefusalClass::EncryptedReasoning),
            ("Encrypted content is not supported with this model.", RefusalClass::Other),
            (
                "Invalid value: 'reasoning.encrypted_content'. Supported values are: 'file_search_call.results'",
                RefusalClass::Other,
            ),
            (
                "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
                RefusalClass::ReasoningOrder,
            ),
            (
                "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
                RefusalClass::ItemIds,
            ),
            (
                "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
                RefusalClass::ItemIds,
            ),
            (
                "Invalid request: the message at position 5 with role 'assistant' must not be empty",
                RefusalClass::EmptyContent,
            ),
            (
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index 32",
                RefusalClass::MissingReasoning,
            ),
            ("Function call is missing a thought_signature in functionCall parts.", RefusalClass::ThoughtSignature),
            (
                "Please ensure that function call turn comes immediately after a user turn or after a function \
                 response turn.",
                RefusalClass::TurnOrder,
            ),
            ("max_tokens: must be at least 1", RefusalClass::Other),
        ] {
            assert_eq!(read(text).class, class, "{text}");
        }
        assert_eq!(read("contains 52 images, exceeding the maximum of 50 allowed").most, Some(50));
        let named = |text: &str| read(text).named;
        let item = Some(Named::Item(item_name("rs_0A-b")));
        assert_eq!(named("The encrypted content for item rs_0A-b could not be verified."), item);
        assert_eq!(named("{\\\"message\\\":\\\"Item with id 'rs_0A-b' not found. Items are not persisted"), item);
        assert_eq!(named("Item 'rs_0A-b' of type 'reasoning' was provided without"), item);
        let ends = Some(Named::Ends(*b"gAAADQ=="));
        assert_eq!(named("The encrypted content gAAA...DQ== could not be verified."), ends);
        assert_eq!(named("Reason: the encrypted content could not be decrypted"), None);
        let at = |text: &str| read(text).at.map(|p| (p.message, p.block, p.inner));
        assert_eq!(at("errors: messages.258.content.1.image.source"), Some((258, Some(1), None)));
        assert_eq!(at("messages.3.content.0.tool_result.content.1.image"), Some((3, Some(0), Some(1))));
        assert_eq!(at("messages.4: all messages must"), Some((4, None, None)));
        assert_eq!(at("messages: text content blocks"), None);
    }
}
