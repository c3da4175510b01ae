//! Networks, geometry, bit strings, text search: shown in the text that PostgreSQL prints and reads.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::number::push_float;
use super::reader::{Malformed, Reader};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 3;

/// `inet` and `cidr`; an `inet` of one host is shown without its prefix length.
pub(super) fn network(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let family = reader.u8()?;
    let prefix = reader.u8()?;
    let is_cidr = reader.u8()? != 0;
    let length = reader.u8()?;
    let (mut out, whole) = match (family, length) {
        (AF_INET, 4) => (Ipv4Addr::from(reader.array::<4>()?).to_string(), 32),
        (AF_INET6, 16) => (Ipv6Addr::from(reader.array::<16>()?).to_string(), 128),
        _ => return Err(Malformed),
    };
    reader.end()?;
    if is_cidr || prefix != whole {
        let _ = write!(out, "/{prefix}");
    }
    Ok(out)
}

/// `macaddr` (6 bytes) and `macaddr8` (8).
pub(super) fn mac(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for (position, byte) in bytes.iter().enumerate() {
        let separator = if position == 0 { "" } else { ":" };
        let _ = write!(out, "{separator}{byte:02x}");
    }
    out
}

/// `bit` and `varbit`: a count of bits, then the bits.
pub(super) fn bits(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let count = reader.length()?;
    let bits = reader.rest();
    if bits.len() != count.div_ceil(8) {
        return Err(Malformed);
    }
    let mut out = String::with_capacity(count);
    for byte in bits {
        for shift in (0..8).rev() {
            if out.len() < count {
                out.push(if byte >> shift & 1 == 1 { '1' } else { '0' });
            }
        }
    }
    Ok(out)
}

pub(super) fn uuid(bytes: &[u8]) -> Result<String, Malformed> {
    let bytes = uuid::Uuid::from_slice(bytes).map_err(|_| Malformed)?;
    Ok(bytes.hyphenated().to_string())
}

/// `tsvector`: lexemes with their positions and weights.
pub(super) fn tsvector(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::new();
    for position in 0..reader.length()? {
        if position > 0 {
            out.push(' ');
        }
        let lexeme = std::str::from_utf8(reader.until_zero()?).map_err(|_| Malformed)?;
        out.push('\'');
        for character in lexeme.chars() {
            if matches!(character, '\'' | '\\') {
                out.push(character);
            }
            out.push(character);
        }
        out.push('\'');
        for index in 0..reader.u16()? {
            let entry = reader.u16()?;
            let separator = if index == 0 { ':' } else { ',' };
            let weight = match entry >> 14 {
                3 => "A",
                2 => "B",
                1 => "C",
                _ => "",
            };
            let _ = write!(out, "{separator}{}{weight}", entry & 0x3FFF);
        }
    }
    reader.end()?;
    Ok(out)
}

/// The geometric types, which are all made of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::execute::postgres) enum Shape {
    Point,
    Segment,
    Box,
    Line,
    Circle,
    Path,
    Polygon,
}

pub(super) fn shape(shape: Shape, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::new();
    match shape {
        Shape::Point => points(&mut reader, 1, &mut out)?,
        Shape::Box => points(&mut reader, 2, &mut out)?,
        Shape::Segment => {
            out.push('[');
            points(&mut reader, 2, &mut out)?;
            out.push(']');
        }
        Shape::Line => {
            out.push('{');
            floats(&mut reader, 3, &mut out)?;
            out.push('}');
        }
        Shape::Circle => {
            out.push('<');
            points(&mut reader, 1, &mut out)?;
            out.push(',');
            floats(&mut reader, 1, &mut out)?;
            out.push('>');
        }
        Shape::Path => {
            let closed = reader.u8()? != 0;
            let count = reader.length()?;
            out.push(if closed { '(' } else { '[' });
            points(&mut reader, count, &mut out)?;
            out.push(if closed { ')' } else { ']' });
        }
        Shape::Polygon => {
            let count = reader.length()?;
            out.push('(');
            points(&mut reader, count, &mut out)?;
            out.push(')');
        }
    }
    reader.end()?;
    Ok(out)
}

fn points(reader: &mut Reader<'_>, count: usize, out: &mut String) -> Result<(), Malformed> {
    for position in 0..count {
        out.push_str(if position == 0 { "(" } else { ",(" });
        floats(reader, 2, out)?;
        out.push(')');
    }
    Ok(())
}

fn floats(reader: &mut Reader<'_>, count: usize, out: &mut String) -> Result<(), Malformed> {
    for position in 0..count {
        if position > 0 {
            out.push(',');
        }
        push_float(out, reader.f64()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (bytes, expected) in [
            (&[2, 32, 0, 4, 10, 0, 0, 1][..], Ok("10.0.0.1")),
            (&[2, 8, 0, 4, 10, 0, 0, 1], Ok("10.0.0.1/8")),
            (&[2, 32, 1, 4, 10, 0, 0, 1], Ok("10.0.0.1/32")),
            (
                &[
                    3, 128, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                ],
                Ok("::1"),
            ),
            (&[2, 32, 0, 16, 10, 0, 0, 1], Err(Malformed)),
            (&[9, 32, 0, 4, 10, 0, 0, 1], Err(Malformed)),
        ] {
            assert_eq!(network(bytes).as_deref(), expected.as_ref().copied());
        }
        assert_eq!(mac(&[8, 0, 0x2b, 1, 2, 255]), "08:00:2b:01:02:ff");
    }

    #[test]
    fn bit_strings() {
        for (bytes, expected) in [
            (&[0, 0, 0, 0][..], Ok("")),
            (&[0, 0, 0, 3, 0b1010_0000], Ok("101")),
            (&[0, 0, 0, 9, 0xFF, 0x80], Ok("111111111")),
            (&[0, 0, 0, 9, 0xFF], Err(Malformed)),
            (&[0xFF, 0xFF, 0xFF, 0xFF], Err(Malformed)),
        ] {
            assert_eq!(bits(bytes).as_deref(), expected.as_ref().copied());
        }
    }

    #[test]
    fn shapes() {
        let doubles = |values: &[f64]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_be_bytes())
                .collect()
        };
        let four = doubles(&[1.0, 2.0, 3.5, -4.0]);
        assert_eq!(shape(Shape::Box, &four).as_deref(), Ok("(1,2),(3.5,-4)"));
        assert_eq!(
            shape(Shape::Segment, &four).as_deref(),
            Ok("[(1,2),(3.5,-4)]")
        );
        let mut path = vec![0, 0, 0, 0, 2];
        path.extend(&four);
        assert_eq!(shape(Shape::Path, &path).as_deref(), Ok("[(1,2),(3.5,-4)]"));
        let three = doubles(&[1.0, 2.0, 3.0]);
        assert_eq!(shape(Shape::Circle, &three).as_deref(), Ok("<(1,2),3>"));
        assert_eq!(shape(Shape::Line, &three).as_deref(), Ok("{1,2,3}"));
        assert_eq!(shape(Shape::Point, &three), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = (network(&bytes), bits(&bytes), uuid(&bytes), tsvector(&bytes), mac(&bytes));
            for kind in [Shape::Path, Shape::Polygon, Shape::Line, Shape::Circle] {
                let _ = shape(kind, &bytes);
            }
        }
    }
}
