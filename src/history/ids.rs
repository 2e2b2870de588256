//! opencode's ids: a prefix, 12 hex digits of time and counter, 14 base62 characters (docs/opencode.md §2).

/// The alphabet of an id's tail in the order in which both SQLite and JavaScript compare it.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of `msg_`, `prt_`, `ses_` or `evt_` plus 12 + 14 characters.
pub const ID_LENGTH: usize = 30;

/// The next id after `id`: the same prefix and time with the base62 tail incremented, carrying.
///
/// Returns `None` when `id` has not opencode's format or its tail is the greatest one: then no id can be
/// made that is sure to sort right after it.
#[must_use]
pub fn successor(id: &str) -> Option<String> {
    if id.len() != ID_LENGTH || !id.is_ascii() || id.as_bytes().get(3) != Some(&b'_') {
        return None;
    }
    let hex = &id[4..16];
    if !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let mut bytes = id.as_bytes().to_vec();
    for at in (16..ID_LENGTH).rev() {
        let digit = BASE62.iter().position(|b| *b == bytes[at])?;
        if digit + 1 < BASE62.len() {
            bytes[at] = BASE62[digit + 1];
            return String::from_utf8(bytes).ok();
        }
        bytes[at] = BASE62[0];
    }
    None
}

/// The id of a call as opencode sends it to a Claude, which takes letters, digits, `_` and `-` alone: JavaScript replaces
/// UTF-16 units, so a character beyond the first plane becomes two.
pub fn sent(id: &str) -> impl Iterator<Item = u8> {
    id.encode_utf16().map(|unit| match u8::try_from(unit) {
        Ok(c) if c.is_ascii_alphanumeric() || c == b'_' || c == b'-' => c,
        _ => b'_',
    })
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn sorts_right_after_and_keeps_the_format() {
        let id = "msg_1fd509681001s2jUCI2a1X97ZU";
        let next = successor(id).unwrap();
        assert_eq!(next, "msg_1fd509681001s2jUCI2a1X97ZV");
        assert!(next.as_str() > id && next.len() == id.len());
        assert_eq!(successor("msg_1fd509681001s2jUCI2a1X97zz").unwrap(), "msg_1fd509681001s2jUCI2a1X9800");
        assert_eq!(successor("msg_1fd509681001zzzzzzzzzzzzzz"), None, "no successor within the same time");
        assert_eq!(successor("msg_my-own-id"), None);
        assert_eq!(successor("msg_1FD509681001s2jUCI2a1X97ZU"), None, "hex digits are lower case");
    }
}
