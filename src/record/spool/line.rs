//! One record as a line: the CRC-32 of the record in eight hexadecimal digits, a space, the record, a newline.

use serde::de::IgnoredAny;

/// Bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Digits of the checksum and the space behind them.
const PREFIX_BYTES: usize = 9;

/// Bytes of one line.
pub const LINE_BYTES_MAX: usize = PREFIX_BYTES + RECORD_BYTES_MAX + 1;

/// Bytes of the line of a record that has `record` bytes.
pub fn line_bytes(record: usize) -> u64 {
    (PREFIX_BYTES + record + 1) as u64
}

/// Appends the line of a record, which holds no newline.
pub fn encode(record: &[u8], line: &mut Vec<u8>) {
    line.extend_from_slice(format!("{:08x} ", crc32fast::hash(record)).as_bytes());
    line.extend_from_slice(record);
    line.push(b'\n');
}

/// What the bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'b> {
    /// An intact record. `bytes` reach to where the next line begins.
    Record { record: &'b [u8], bytes: usize },
    /// Bytes that are no intact line.
    Damaged { bytes: usize },
    /// Not a whole line yet.
    Partial,
}

/// Reads what stands at the beginning of `bytes`. `is_end` says that nothing comes behind them.
///
/// Where a line is damaged, the next one is found even when the newline between them is what was damaged. A record found
/// so must be a JSON text: a caller may have put something like a line into a string of the damaged record, but no tail
/// of a JSON object that begins inside a string is a JSON text again.
pub fn decode(bytes: &[u8], is_end: bool) -> Line<'_> {
    let newline = bytes.iter().position(|byte| *byte == b'\n');
    let (line, taken) = match newline {
        Some(at) => (bytes.get(..at).unwrap_or_default(), at + 1),
        None if is_end => (bytes, bytes.len()),
        None if bytes.len() > LINE_BYTES_MAX => {
            return Line::Damaged {
                bytes: bytes.len() - LINE_BYTES_MAX,
            };
        }
        None => return Line::Partial,
    };
    let whole = if newline.is_some() {
        intact(line)
    } else {
        salvaged(line).or_else(|| salvaged(but_last(line)))
    };
    if let Some(record) = whole {
        return Line::Record {
            record,
            bytes: taken,
        };
    }
    let Some(next) = restart(line) else {
        return Line::Damaged { bytes: taken };
    };
    match line.get(..next).map(but_last).and_then(salvaged) {
        Some(record) => Line::Record {
            record,
            bytes: next,
        },
        None => Line::Damaged { bytes: next },
    }
}

/// The record of a line, without its newline, whose checksum is right.
fn intact(line: &[u8]) -> Option<&[u8]> {
    let (digits, rest) = line.split_at_checked(PREFIX_BYTES - 1)?;
    let record = rest.strip_prefix(b" ")?;
    let checksum = digits.iter().try_fold(0_u32, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u32::from(value))
    })?;
    (record.len() <= RECORD_BYTES_MAX && crc32fast::hash(record) == checksum).then_some(record)
}

/// The same for a line whose beginning or end is not where a newline stands.
fn salvaged(line: &[u8]) -> Option<&[u8]> {
    intact(line).filter(|record| serde_json::from_slice::<IgnoredAny>(record).is_ok())
}

/// Where in a damaged line an intact one begins that reaches to its end.
fn restart(line: &[u8]) -> Option<usize> {
    let first = line.len().saturating_sub(LINE_BYTES_MAX - 1).max(1);
    (first..line.len()).find(|at| line.get(*at..).and_then(salvaged).is_some())
}

fn but_last(bytes: &[u8]) -> &[u8] {
    bytes.split_last().map_or(bytes, |(_, before)| before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The records, and the ranges of bytes that are none.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut at, mut records, mut damaged) = (0, Vec::new(), 0);
        while at < bytes.len() {
            match decode(&bytes[at..], true) {
                Line::Record { record, bytes } => {
                    records.push(record.to_vec());
                    at += bytes;
                }
                Line::Damaged { bytes } => {
                    assert!(bytes > 0);
                    damaged += bytes;
                    at += bytes;
                }
                Line::Partial => panic!("partial at the end"),
            }
        }
        (records, damaged)
    }

    fn lines(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode(record, &mut bytes));
        bytes
    }

    #[test]
    fn a_line_is_written_as_documented() {
        assert_eq!(lines(&[b"{\"a\":1}".to_vec()]), b"561bacaf {\"a\":1}\n");
        assert_eq!(line_bytes(7), 17);
    }

    #[test]
    fn lines_are_told_from_what_is_none() {
        let good = b"561bacaf {\"a\":1}\n";
        let table: [(&[u8], bool, Line<'_>); 8] = [
            (good, false, record(17)),
            (b"561bacaf {\"a\":1}", false, Line::Partial),
            (b"561bacaf {\"a\":1}", true, record(16)),
            (b"561bacaf {\"a\":1}\x0b", true, record(17)),
            (b"561bacaf {\"a\":", true, Line::Damaged { bytes: 14 }),
            (b"561BACAF {\"a\":1}\n", false, Line::Damaged { bytes: 17 }),
            (b"x561bacaf {\"a\":1}\n", false, Line::Damaged { bytes: 1 }),
            (b"\n561bacaf", false, Line::Damaged { bytes: 1 }),
        ];
        for (bytes, is_end, expected) in table {
            assert_eq!(decode(bytes, is_end), expected, "{bytes:?}");
        }
        fn record(bytes: usize) -> Line<'static> {
            Line::Record {
                record: b"{\"a\":1}",
                bytes,
            }
        }
    }

    #[test]
    fn a_region_without_newlines_is_left_in_bounded_steps() {
        let mut bytes = vec![0; 3 * LINE_BYTES_MAX];
        assert_eq!(
            decode(&bytes, false),
            Line::Damaged {
                bytes: 2 * LINE_BYTES_MAX
            }
        );
        let record = format!("\"{}\"", "x".repeat(RECORD_BYTES_MAX - 2)).into_bytes();
        encode(&record, &mut bytes);
        assert_eq!(read(&bytes), (vec![record], 3 * LINE_BYTES_MAX));
    }

    #[test]
    fn a_line_inside_a_damaged_record_is_not_taken_for_one() {
        for inner in ["{", "{}", "[", "\"", "1", "{\\\"a\\\":1}"] {
            let tail = format!("{inner}\",\"b\":\"c\"}}");
            let forged = format!("{:08x} {tail}", crc32fast::hash(tail.as_bytes()));
            let record = format!("{{\"a\":\"{forged}").into_bytes();
            let mut bytes = lines(std::slice::from_ref(&record));
            assert_eq!(read(&bytes).0, [record]);
            bytes[10] ^= 1;
            assert_eq!(read(&bytes).0, Vec::<Vec<u8>>::new(), "{inner}");
        }
    }

    /// Records whose strings look like lines, among others.
    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = prop_oneof![
            "[ -~]{0,40}",
            "[0-9a-f]{8} [{}\\[\\]a:,0-9]{0,9}",
            "\\PC{0,30}"
        ];
        prop::collection::vec(text, 1..12).prop_map(|texts| {
            let each = texts.iter().enumerate();
            each.map(|(number, text)| {
                serde_json::json!({"number": number, "text": text})
                    .to_string()
                    .into_bytes()
            })
            .collect()
        })
    }

    /// Where each line begins, and where the last one ends.
    fn bounds(records: &[Vec<u8>]) -> Vec<usize> {
        let mut at = vec![0];
        for record in records {
            at.push(at[at.len() - 1] + record.len() + 10);
        }
        at
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        #[test]
        fn what_is_cut_loses_only_what_was_cut(records in records(), cut: prop::sample::Index, from_start: bool) {
            let bytes = lines(&records);
            let cut = cut.index(bytes.len() + 1);
            let bounds = bounds(&records);
            let (kept, expected) = if from_start {
                let whole = bounds.iter().position(|bound| *bound >= cut).unwrap();
                (&bytes[cut..], &records[whole..])
            } else {
                // A record of which only the newline is missing is whole.
                let whole = bounds.iter().rposition(|bound| *bound <= cut + 1).unwrap();
                (&bytes[..cut], &records[..whole])
            };
            prop_assert_eq!(&read(kept).0[..], expected);
        }

        #[test]
        fn a_flipped_bit_costs_at_most_its_line(records in records(), at: prop::sample::Index, bit in 0..8) {
            let mut bytes = lines(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let bounds = bounds(&records);
            let hit = bounds.iter().rposition(|bound| *bound <= at).unwrap();
            let mut others = records.clone();
            // A newline that was damaged costs nothing.
            if at + 1 != bounds[hit + 1] {
                others.remove(hit);
            }
            prop_assert_eq!(read(&bytes).0, others);
        }

        #[test]
        fn overwritten_bytes_cost_only_the_lines_they_touch(
            records in records(),
            from: prop::sample::Index,
            garbage in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            let mut bytes = lines(&records);
            let from = from.index(bytes.len());
            let to = bytes.len().min(from + garbage.len());
            bytes[from..to].copy_from_slice(&garbage[..to - from]);
            let bounds = bounds(&records);
            let (found, _) = read(&bytes);
            let untouched = records.iter().enumerate().filter(|(number, _)| {
                bounds[number + 1] <= from || bounds[*number] >= to
            });
            let missing: Vec<_> = untouched.filter(|(_, record)| !found.contains(record)).collect();
            prop_assert!(missing.is_empty(), "{missing:?}");
            prop_assert!(found.iter().all(|record| records.contains(record)));
        }
    }
}
