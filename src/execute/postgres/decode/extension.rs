//! Types of extensions, and the text search query: shown in the text that PostgreSQL prints and reads.
//!
//! Extensions' types are known by name alone, since their numbers differ from database to database. Only a
//! superuser makes a base type, so a name means what its extension means.

use std::fmt::Write as _;

use super::number::push_float4;
use super::reader::{Malformed, Reader};

/// Deepest `tsquery` that is shown.
const QUERY_DEPTH_MAX: usize = 500;

/// `hstore`: a count, then each key and value with its length; -1 is NULL.
pub(super) fn hstore(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::new();
    for position in 0..reader.length()? {
        if position > 0 {
            out.push_str(", ");
        }
        let size = reader.length()?;
        quoted(reader.take(size)?, &mut out)?;
        out.push_str("=>");
        match usize::try_from(reader.i32()?) {
            Ok(size) => quoted(reader.take(size)?, &mut out)?,
            Err(_) => out.push_str("NULL"),
        }
    }
    reader.end()?;
    Ok(out)
}

fn quoted(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    Ok(())
}

/// pgvector's `vector`: a count of dimensions, two bytes for later, and the dimensions.
pub(super) fn vector(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let count = reader.u16()?;
    reader.u16()?;
    let mut out = String::from("[");
    for position in 0..count {
        if position > 0 {
            out.push(',');
        }
        push_float4(&mut out, reader.f32()?);
    }
    reader.end()?;
    out.push(']');
    Ok(out)
}

/// PostGIS' `geometry` and `geography`: extended well-known binary, printed in hexadecimal.
pub(super) fn geometry(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02X}");
    }
    out
}

/// The operators of a `tsquery`, by how tightly they bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Nothing,
    Or,
    And,
    Phrase,
    Not,
}

/// `tsquery`: operators before their operands, the right one first.
pub(super) fn tsquery(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    if reader.length()? == 0 {
        return Ok(String::new());
    }
    let out = term(&mut reader, Binding::Nothing, false, QUERY_DEPTH_MAX)?;
    reader.end()?;
    Ok(out)
}

fn term(
    reader: &mut Reader<'_>,
    around: Binding,
    right_of_phrase: bool,
    depth: usize,
) -> Result<String, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    if reader.u8()? == 1 {
        return lexeme(reader);
    }
    let (binding, sign) = match reader.u8()? {
        1 => {
            let operand = term(reader, Binding::Not, false, depth)?;
            return Ok(grouped(format!("!{operand}"), Binding::Not < around));
        }
        2 => (Binding::And, "&".to_owned()),
        3 => (Binding::Or, "|".to_owned()),
        4 => match reader.u16()? {
            1 => (Binding::Phrase, "<->".to_owned()),
            distance => (Binding::Phrase, format!("<{distance}>")),
        },
        _ => return Err(Malformed),
    };
    let is_phrase = binding == Binding::Phrase;
    let right = term(reader, binding, is_phrase, depth)?;
    let left = term(reader, binding, false, depth)?;
    let is_grouped = binding < around || (is_phrase && right_of_phrase);
    Ok(grouped(format!("{left} {sign} {right}"), is_grouped))
}

fn grouped(text: String, is_grouped: bool) -> String {
    if is_grouped {
        format!("( {text} )")
    } else {
        text
    }
}

fn lexeme(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let (weights, is_prefix) = (reader.u8()?, reader.u8()? != 0);
    let lexeme = std::str::from_utf8(reader.until_zero()?).map_err(|_| Malformed)?;
    let mut out = String::from("'");
    for character in lexeme.chars() {
        if matches!(character, '\'' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('\'');
    if weights != 0 || is_prefix {
        out.push(':');
    }
    if is_prefix {
        out.push('*');
    }
    for (bit, letter) in [(8, 'A'), (4, 'B'), (2, 'C'), (1, 'D')] {
        if weights & bit != 0 {
            out.push(letter);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_show_their_own_text() {
        let bytes = b"\0\0\0\x02\0\0\0\x01a\0\0\0\x02\"b\0\0\0\x01c\xff\xff\xff\xff";
        assert_eq!(hstore(bytes).as_deref(), Ok(r#""a"=>"\"b", "c"=>NULL"#));
        assert_eq!(hstore(b"\0\0\0\x01\0\0\0\x09a"), Err(Malformed));
        let bytes = b"\0\x02\0\0\x3f\x80\0\0\xc0\0\0\0";
        assert_eq!(vector(bytes).as_deref(), Ok("[1,-2]"));
        assert_eq!(geometry(&[0, 0xAB]), "00AB");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = (hstore(&bytes), vector(&bytes), tsquery(&bytes), geometry(&bytes));
        }
    }
}
