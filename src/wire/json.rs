//! Writing JSON text (RFC 8259) into a byte buffer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Bytes that are looked at together.
const WORD_BYTES: usize = size_of::<u64>();

/// Appends `text` as a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = first_to_escape(rest.as_bytes()) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = tail.chars();
        if let Some(character) = chars.next() {
            escape(out, character);
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// Appends a number that is finite, in the shortest digits that read back the same.
pub fn number(out: &mut Vec<u8>, number: &impl Serialize) {
    // Writing into a Vec cannot fail, and a number can be shown.
    let _ = serde_json::to_writer(out, number);
}

/// Appends `bytes` as a base64 JSON string.
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where the first byte is that needs to be escaped, found a word at a time.
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    for (place, word) in words.iter().enumerate() {
        let found = to_escape(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(place * WORD_BYTES + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().copied().position(needs_escape)?;
    Some(words.len() * WORD_BYTES + at)
}

/// The highest bit of each byte that needs to be escaped. Above the first such byte, others may be marked that do not.
/// (Hacker's Delight, 6-1: a byte below `n` borrows when `n` is taken from it.)
const fn to_escape(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST: u64 = ONES << 7;
    const fn below(word: u64, n: u64) -> u64 {
        word.wrapping_sub(ONES * n) & !word & HIGHEST
    }
    below(word, 0x20)
        | below(word ^ (ONES * b'"' as u64), 1)
        | below(word ^ (ONES * b'\\' as u64), 1)
}

/// Only ASCII needs escaping, so a byte that does is a character of its own.
fn escape(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        other => out.extend_from_slice(format!("\\u{:04x}", u32::from(other)).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_json_demands() {
        let check = |text: &str, expected: &str| {
            let mut out = Vec::new();
            string(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check("", r#""""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\u{0}\n\t\u{1f}é", "\"\\u0000\\n\\t\\u001fé\"");
    }

    #[test]
    fn what_needs_escaping_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for length in 1..=2 * WORD_BYTES + 1 {
                for at in 0..length {
                    for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                        let mut bytes = vec![filler; length];
                        bytes[at] = byte;
                        let expected = needs_escape(byte).then_some(at);
                        assert_eq!(
                            first_to_escape(&bytes),
                            expected,
                            "{byte} {filler} {length}"
                        );
                    }
                }
            }
        }
        assert_eq!(first_to_escape(b"1234567\x1f\"\x00345678"), Some(7));
    }

    proptest! {
        #[test]
        fn any_string_is_read_back(text in ".*") {
            let mut out = Vec::new();
            string(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
