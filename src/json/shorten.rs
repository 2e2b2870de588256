//! Large JSON in little memory: its text with long strings cut short, made piece by piece.
//!
//! What the rules ask of a row stands in short members; a result or a diff of many megabytes makes it large. A cut string
//! ends with a SHA-256 of what was cut off, so two texts that differ still differ when they are shortened. The short text
//! is sound JSON if the whole text is, and only then.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 16;

/// Reads a JSON text and gives it with its long strings cut short.
#[derive(Debug)]
pub struct Shorten<R> {
    json: R,
    longest: usize,
    piece: Vec<u8>,
    short: Vec<u8>,
    given: usize,
    at: At,
    /// Bytes of the current string so far; `usize::MAX` where it is being cut.
    string: usize,
    cut_off: Sha256,
    /// The start of a character in which the last piece ends.
    split: Vec<u8>,
    odd: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum At {
    #[default]
    Outside,
    Inside,
    /// After a backslash; whether the two are kept.
    Escape(bool),
    /// In the digits of `\u`, so many to come; whether they are kept.
    Digits(u8, bool),
}

/// Reads `json` to its end. Returns it with strings of more than `longest` bytes cut short; `None` where it holds what a
/// JSON parser has to refuse.
///
/// # Errors
/// What reading it says.
pub fn shortened(json: impl Read, longest: usize) -> io::Result<Option<String>> {
    let mut shorten = Shorten::new(json, longest);
    let mut text = Vec::new();
    shorten.read_to_end(&mut text)?;
    Ok(if shorten.is_sound() { String::from_utf8(text).ok() } else { None })
}

/// How many bytes there are before one that may end the string, begin an escape or be refused.
fn plain(text: &[u8]) -> usize {
    let ordinary = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // Without an early exit, so that a block is looked at at once.
    let whole = text.chunks_exact(32).take_while(|block| block.iter().fold(true, |all, byte| all & ordinary(byte)));
    let blocks = 32 * whole.count();
    blocks + text[blocks..].iter().take_while(|byte| ordinary(byte)).count()
}

impl<R: Read> Shorten<R> {
    /// Cuts strings of more than `longest` bytes.
    pub fn new(json: R, longest: usize) -> Self {
        Self {
            json,
            longest,
            piece: vec![0; PIECE],
            short: Vec::new(),
            given: 0,
            at: At::default(),
            string: 0,
            cut_off: Sha256::new(),
            split: Vec::new(),
            odd: false,
        }
    }

    /// Whether what was read so far holds nothing that a JSON parser has to refuse and that was cut off.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.odd && self.split.is_empty()
    }

    fn take(&mut self, piece: &[u8]) {
        self.check_utf8(piece);
        let mut rest = piece;
        while let Some((byte, after)) = rest.split_first() {
            if self.at == At::Inside && self.string == usize::MAX {
                let passed = plain(rest);
                if passed > 0 {
                    self.cut_off.update(&rest[..passed]);
                    rest = &rest[passed..];
                    continue;
                }
            }
            rest = after;
            let kept = self.step(*byte);
            if kept {
                self.short.push(*byte);
            } else {
                self.cut_off.update([*byte]);
            }
        }
    }

    /// Takes in one byte. Returns whether it is kept.
    fn step(&mut self, byte: u8) -> bool {
        match self.at {
            At::Outside => {
                if byte == b'"' {
                    (self.at, self.string) = (At::Inside, 0);
                }
                true
            }
            At::Inside => {
                // Cut at the beginning of a character or escape, and never resumed.
                let begins = byte & 0xc0 != 0x80;
                if self.string < self.longest || (self.string < self.longest + 4 && !begins) {
                    self.string += 1;
                } else if byte != b'"' {
                    self.string = usize::MAX;
                }
                let kept = self.string != usize::MAX;
                match byte {
                    b'"' => {
                        self.at = At::Outside;
                        if !kept {
                            let digest = std::mem::take(&mut self.cut_off).finalize();
                            self.short.extend(crate::rows::hex(&digest).bytes());
                        }
                    }
                    b'\\' => self.at = At::Escape(kept),
                    _ => {}
                }
                // A control character is not allowed here, and the parser is to say so.
                kept || byte == b'"' || byte < 0x20
            }
            At::Escape(kept) => {
                self.at = if byte == b'u' { At::Digits(4, kept) } else { At::Inside };
                self.string = self.string.saturating_add(1);
                self.odd |= !matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u');
                kept
            }
            At::Digits(left, kept) => {
                self.at = if left == 1 { At::Inside } else { At::Digits(left - 1, kept) };
                self.string = self.string.saturating_add(1);
                self.odd |= !byte.is_ascii_hexdigit();
                kept
            }
        }
    }

    fn check_utf8(&mut self, piece: &[u8]) {
        let mut piece = piece;
        while !self.split.is_empty() && !piece.is_empty() {
            self.split.push(piece[0]);
            piece = &piece[1..];
            match std::str::from_utf8(&self.split) {
                Ok(_) => self.split.clear(),
                Err(e) if e.error_len().is_none() => {}
                Err(_) => {
                    self.odd = true;
                    self.split.clear();
                }
            }
        }
        if let Err(e) = std::str::from_utf8(piece) {
            self.odd |= e.error_len().is_some();
            self.split = piece[e.valid_up_to()..].iter().copied().take(4).collect();
        }
    }
}

impl<R: Read> Read for Shorten<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.short.len() {
            let mut piece = std::mem::take(&mut self.piece);
            let got = self.json.read(&mut piece)?;
            self.short.clear();
            self.given = 0;
            self.take(&piece[..got]);
            self.piece = piece;
            if got == 0 {
                return Ok(0);
            }
        }
        let many = out.len().min(self.short.len() - self.given);
        out[..many].copy_from_slice(&self.short[self.given..self.given + many]);
        self.given += many;
        Ok(many)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Read, shortened};
    use crate::history::{self, Depth, PartKind};

    const LONGEST: usize = 16 << 10;

    /// Gives a text a few bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let many = self.1.min(out.len());
            self.0.read(&mut out[..many])
        }
    }

    fn shrunk(text: &[u8], piece: usize) -> Option<String> {
        shortened(Pieces(text, piece), LONGEST).unwrap()
    }

    fn kind(data: &str) -> Option<PartKind> {
        let mut kind = history::part("prt_1", 0, data, Depth::Whole).ok()?.kind;
        if let PartKind::Tool(call) = &mut kind {
            // Of what was cut off, these tell by another hash.
            (call.call, call.result) = Default::default();
        }
        Some(kind)
    }

    /// Text as it stands in JSON, with things in it that it must not hold.
    fn inside() -> impl Strategy<Value = Vec<u8>> {
        let sound = prop_oneof![
            Just(b"x".to_vec()),
            Just("\u{e9}\u{1f600}".as_bytes().to_vec()),
            Just(b"\\\"".to_vec()),
            Just(b"\\\\".to_vec()),
            Just(b"\\ud83d\\u0041".to_vec()),
            Just(b"\\n, {}[]:".to_vec()),
        ];
        let broken = prop_oneof![
            Just(b"\\q".to_vec()),
            Just(b"\\u00g0".to_vec()),
            Just(vec![7]),
            Just(vec![0xff]),
            Just(vec![0xc3])
        ];
        let many = proptest::collection::vec(sound, 0..12);
        (many, 1usize..1_500, proptest::option::weighted(0.3, broken)).prop_map(|(many, times, broken)| {
            let mut out = many.concat().repeat(times);
            if let Some(broken) = broken {
                out.extend(broken);
                out.extend(many.concat());
            }
            out
        })
    }

    #[test]
    fn what_is_cut_off_still_tells_two_texts_apart() {
        let of = |end: &str| shortened(format!("[\"{}{end}\"]", "x".repeat(300)).as_bytes(), 100).unwrap().unwrap();
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(of("a").len() < 200);
        let exact = format!("\"{}\"", "x".repeat(100));
        assert_eq!(shortened(exact.as_bytes(), 100).unwrap().as_ref(), Some(&exact), "as long as it may be");
    }

    proptest! {
        #[test]
        fn a_tool_call_in_short_is_the_tool_call(
            output in inside(),
            status in proptest::sample::select(vec!["completed", "error", "running", "done"]),
            end in proptest::sample::select(vec!["}", "", "}}"]),
            piece in prop_oneof![1usize..40, Just(65_536usize)],
        ) {
            let mut text = format!(r#"{{"type":"tool","tool":"bash","callID":"c","state":{{"status":"{status}","input":{{"a":""#).into_bytes();
            text.extend(&output);
            text.extend(br#""},"output":""#);
            text.extend(&output);
            text.extend(br#"","metadata":{"interrupted":true,"output":""#);
            text.extend(&output);
            text.extend(format!(r#""}},"error":"Tool execution aborted","time":{{"start":1}}}},"metadata":{{"providerExecuted":true}}{end}"#).bytes());
            let whole = std::str::from_utf8(&text).ok().and_then(kind);
            match shrunk(&text, piece) {
                Some(short) => {
                    prop_assert!(short.len() < 4 * LONGEST + 1_000);
                    prop_assert_eq!(kind(&short), whole);
                }
                // What is refused here is read whole; sound rows never are.
                None => prop_assert!(whole.is_none()),
            }
        }
    }
}
