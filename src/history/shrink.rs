//! Large JSON in little memory: a copy with its long strings cut short, made piece by piece.
//!
//! What the rules ask of a tool call lies in its short members; what makes it large is a result of many megabytes. The
//! copy is sound JSON where the whole is, and is no JSON where the whole is none.

/// Longest string that is kept whole, in bytes.
const LONGEST: usize = 16 << 10;

/// Takes in a JSON text in pieces, and gives it back with its long strings cut short.
#[derive(Debug)]
pub struct Shrink {
    longest: usize,
    short: Vec<u8>,
    at: At,
    /// Bytes of the current string so far.
    string: usize,
    /// The start of a character that the last piece ends in.
    cut: Vec<u8>,
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

impl Default for Shrink {
    fn default() -> Self {
        Self::to(LONGEST)
    }
}

/// How many bytes there are before one that may end the string, begin an escape or be refused.
fn plain(text: &[u8]) -> usize {
    let ordinary = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // Without an early exit, so that a block is looked at at once.
    let whole = text.chunks_exact(32).take_while(|block| block.iter().fold(true, |all, byte| all & ordinary(byte)));
    let blocks = 32 * whole.count();
    blocks + text[blocks..].iter().take_while(|byte| ordinary(byte)).count()
}

impl Shrink {
    /// Cuts strings that are longer than so many bytes.
    #[must_use]
    pub fn to(longest: usize) -> Self {
        Self { longest, short: Vec::new(), at: At::default(), string: 0, cut: Vec::new(), odd: false }
    }

    /// Takes in the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.check_utf8(piece);
        let mut rest = piece;
        while let Some((byte, after)) = rest.split_first() {
            if self.at == At::Inside && self.string == usize::MAX {
                let passed = plain(rest);
                if passed > 0 {
                    rest = &rest[passed..];
                    continue;
                }
            }
            rest = after;
            let keep = match self.at {
                At::Outside => {
                    if *byte == b'"' {
                        (self.at, self.string) = (At::Inside, 0);
                    }
                    true
                }
                At::Inside => {
                    // Cut at the beginning of a character or escape, and never resumed.
                    let begins = byte & 0xc0 != 0x80;
                    if self.string < self.longest || (self.string < self.longest + 4 && !begins) {
                        self.string += 1;
                    } else {
                        self.string = usize::MAX;
                    }
                    let kept = self.string != usize::MAX;
                    match byte {
                        b'"' => self.at = At::Outside,
                        b'\\' => self.at = At::Escape(kept),
                        _ => {}
                    }
                    // A control character is not allowed here, and the parser is to say so.
                    kept || *byte == b'"' || *byte < 0x20
                }
                At::Escape(kept) => {
                    self.at = if *byte == b'u' { At::Digits(4, kept) } else { At::Inside };
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
            };
            if keep {
                self.short.push(*byte);
            }
        }
    }

    fn check_utf8(&mut self, piece: &[u8]) {
        let mut piece = piece;
        while !self.cut.is_empty() && !piece.is_empty() {
            self.cut.push(piece[0]);
            piece = &piece[1..];
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(e) if e.error_len().is_none() => {}
                Err(_) => {
                    self.odd = true;
                    self.cut.clear();
                }
            }
        }
        if let Err(e) = std::str::from_utf8(piece) {
            self.odd |= e.error_len().is_some();
            self.cut = piece[e.valid_up_to()..].iter().copied().take(4).collect();
        }
    }

    /// Gives what there is of the text in short so far, instead of what `short` holds.
    pub fn take(&mut self, short: &mut Vec<u8>) {
        short.clear();
        std::mem::swap(short, &mut self.short);
    }

    /// Whether the whole so far holds nothing that the parser has to see.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.odd && self.cut.is_empty()
    }

    /// The text in short; `None` where the whole holds something that the parser has to see.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        if self.is_sound() { String::from_utf8(self.short).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LONGEST, Shrink};
    use crate::history::{self, PartKind};

    fn shrunk(text: &[u8], piece: usize) -> Option<String> {
        let mut shrink = Shrink::default();
        text.chunks(piece).for_each(|p| shrink.push(p));
        shrink.finish()
    }

    fn kind(data: &str) -> Option<PartKind> {
        history::part("prt_1", 0, data).ok().map(|part| part.kind)
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
