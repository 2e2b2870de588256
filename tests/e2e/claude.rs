//! What Claude's API refuses wherever it stands, with its own words. The sources are those of `src/diagnosis/request`.

use serde_json::{Value, json};

/// A signature that this provider has not made.
pub(crate) const FOREIGN: &str = "Zm9yZWlnbg==";

/// More images than the scripted service takes: another limit than Claude's, as gateways have.
const IMAGES: usize = 50;

/// A message with its blocks, as Anthropic's API is told of it: those of one side that follow each other are one.
fn messages(turns: &[&Value]) -> Vec<(bool, Vec<Value>)> {
    let mut out: Vec<(bool, Vec<Value>)> = Vec::new();
    for turn in turns {
        let assistant = turn["role"] == "assistant";
        let mut blocks = match &turn["content"] {
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            Value::Array(blocks) => blocks.iter().filter(|b| b["text"] != "").map(block).collect(),
            _ => Vec::new(),
        };
        if turn["role"] == "tool" {
            blocks = vec![json!({"type": "tool_result", "tool_use_id": turn["tool_call_id"], "content": blocks})];
        }
        for call in turn["tool_calls"].as_array().into_iter().flatten() {
            blocks.push(json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}));
        }
        if blocks.is_empty() {
            continue;
        }
        match out.last_mut() {
            Some((last, all)) if *last == assistant => all.extend(blocks),
            _ => out.push((assistant, blocks)),
        }
    }
    out
}

/// A block of either protocol as Anthropic's.
fn block(block: &Value) -> Value {
    let Some(url) = block["image_url"]["url"].as_str() else { return block.clone() };
    let (head, data) = url.split_once(',').unwrap_or((url, ""));
    let mime = head.trim_start_matches("data:").trim_end_matches(";base64");
    json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}})
}

pub(crate) fn refuses(turns: &[&Value]) -> Option<String> {
    let messages = messages(turns);
    let images: Vec<(String, &Value)> = messages
        .iter()
        .enumerate()
        .flat_map(|(m, (_, blocks))| {
            blocks.iter().enumerate().flat_map(move |(b, block)| {
                let place = format!("messages.{m}.content.{b}");
                let inner = block["content"].as_array().into_iter().flatten().enumerate();
                let inner = inner.map({
                    let place = place.clone();
                    move |(at, piece)| (format!("{place}.tool_result.content.{at}"), piece)
                });
                std::iter::once((place, block))
                    .chain(inner)
                    .filter(|(_, piece)| piece["type"] == "image")
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for (place, image) in &images {
        if let Some(why) = refused_image(image, images.len() > 20) {
            return Some(format!("{place}.image.source.base64{why}"));
        }
    }
    if images.len() > IMAGES {
        let count = images.len();
        return Some(format!("request contains {count} images, exceeding the maximum of {IMAGES} allowed per request"));
    }
    for (m, (assistant, blocks)) in messages.iter().enumerate() {
        let words = |b: &&Value| b["type"] == "text" && b["text"].as_str().is_some_and(|t| !t.trim().is_empty());
        let texts = || blocks.iter().filter(|b| b["type"] == "text");
        if texts().next().is_some() && !blocks.iter().any(|b| words(&b)) {
            return Some("messages: text content blocks must contain non-whitespace text".to_owned());
        }
        for (b, block) in blocks.iter().enumerate() {
            let id = block["id"].as_str().unwrap_or_default();
            if block["type"] == "thinking" && !block["signature"].is_string() {
                return Some(format!("messages.{m}.content.{b}.thinking.signature: Field required"));
            }
            if block["type"] == "thinking" && [FOREIGN, ""].map(Value::from).contains(&block["signature"]) {
                return Some(format!("messages.{m}.content.{b}: Invalid `signature` in `thinking` block"));
            }
            let spelled = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if block["type"] == "tool_use" && (id.is_empty() || !spelled) {
                return Some(format!(
                    "messages.{m}.content.{b}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
                ));
            }
        }
        if *assistant && blocks.last().is_some_and(|b| b["type"] == "thinking") {
            return Some(format!("messages.{m}: The final block in an assistant message cannot be `thinking`."));
        }
    }
    None
}

fn refused_image(image: &Value, many: bool) -> Option<String> {
    let data = image["source"]["data"].as_str().unwrap_or_default();
    if data.len() > 5_242_880 {
        return Some(format!(": image exceeds 5 MB maximum: {} bytes > 5242880 bytes", data.len()));
    }
    // The eight bytes that every PNG begins with.
    if !data.starts_with("iVBORw0KGgo") {
        return Some(".data: Could not process image".to_owned());
    }
    if image["source"]["media_type"] != "image/png" {
        let said = image["source"]["media_type"].as_str().unwrap_or_default();
        return Some(format!(
            ": The image was specified using the {said} media type, but the image appears to be a image/png image"
        ));
    }
    let number = |at: usize| -> u32 { (at..at + 4).fold(0, |n, at| n << 8 | u32::from(byte(data, at))) };
    let longest = number(16).max(number(20));
    if longest > 8_000 {
        return Some(".data: At least one of the image dimensions exceed max allowed size: 8000 pixels".to_owned());
    }
    (many && longest > 2_000).then(|| {
        ".data: At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels"
            .to_owned()
    })
}

/// One byte of what a base64 text stands for.
fn byte(data: &str, at: usize) -> u8 {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bit = at * 8;
    let digits = data.as_bytes();
    let get = |n: usize| u16::from(digits.get(n).copied().map_or(0, digit));
    let word = get(bit / 6) << 6 | get(bit / 6 + 1);
    ((word << (bit % 6) >> 4) & 0xff) as u8
}

/// A black PNG of that size, its pixels stored without compression, and as many further bytes.
pub(crate) fn png(width: u32, height: u32, padding: usize) -> Vec<u8> {
    let depth = 1;
    let row = 1 + (width as usize * usize::from(depth)).div_ceil(8);
    let raw = vec![0_u8; row * height as usize];
    let mut zlib = vec![0x78, 0x01];
    let pieces: Vec<&[u8]> = raw.chunks(65_535).collect();
    for (at, piece) in pieces.iter().enumerate() {
        zlib.push(u8::from(at + 1 == pieces.len()));
        let length = piece.len() as u16;
        zlib.extend(length.to_le_bytes());
        zlib.extend((!length).to_le_bytes());
        zlib.extend(*piece);
    }
    // Adler-32 of zeros: the first half stays 1, the second counts the bytes.
    zlib.extend((((raw.len() % 65_521) as u32) << 16 | 1).to_be_bytes());
    let mut head = Vec::from(width.to_be_bytes());
    head.extend(height.to_be_bytes());
    head.extend([depth, 0, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    // What nobody has to understand may stand between the pixels and the end.
    let padding = vec![0; padding];
    for (kind, data) in [(b"IHDR", &head), (b"IDAT", &zlib), (b"paDd", &padding), (b"IEND", &Vec::new())] {
        out.extend((data.len() as u32).to_be_bytes());
        let start = out.len();
        out.extend(kind);
        out.extend(data);
        let sum = crc(&out[start..]);
        out.extend(sum.to_be_bytes());
    }
    out
}

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}
