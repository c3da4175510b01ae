//! Reads records from the segments of one spool.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::folder::Folder;
use super::line::{self, LINE_BYTES_MAX, Line};

/// Bytes read at once, and so the most that one batch holds.
const READ_BYTES_MAX: u64 = 1024 * 1024;

const _: () = assert!(READ_BYTES_MAX > 2 * LINE_BYTES_MAX as u64);

/// The part of a spool that may be read.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Positions of the segments' first bytes, ascending. A segment ends where the next begins, whatever its file holds.
    pub segments: Vec<u64>,
    pub end: u64,
    /// Nothing will come behind `end`.
    pub has_ended: bool,
}

#[derive(Debug, Default)]
pub struct Found {
    pub records: Vec<Vec<u8>>,
    /// Where the next read begins: behind the last record, or at the end of the extent.
    pub to: u64,
    /// Ranges up to `to` that hold no intact record.
    pub damaged: Vec<Range<u64>>,
}

/// Reads on from `from`, through damage, until it has records or the extent ends.
pub fn read(
    folder: &Folder,
    spool: &str,
    extent: &Extent,
    from: u64,
    records_max: usize,
) -> io::Result<Found> {
    let mut reading = Reading {
        found: Found {
            to: from,
            ..Found::default()
        },
        at: from,
        records_max: records_max.max(1),
    };
    for (index, start) in extent.segments.iter().enumerate() {
        let next = extent.segments.get(index + 1);
        let end = next.copied().unwrap_or(extent.end).min(extent.end);
        if end <= reading.at {
            continue;
        }
        reading.at = reading.at.max(*start);
        let file = match File::open(folder.segment(spool, *start)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                reading.at = end;
                continue;
            }
            Err(error) => return Err(error),
        };
        while reading.at < end {
            let bytes = chunk(&file, reading.at - start, end - reading.at)?;
            reading.take(&bytes, end);
            if !reading.found.records.is_empty() && reading.at < extent.end {
                return Ok(reading.found);
            }
            if reading.is_full() {
                return Ok(reading.found);
            }
        }
    }
    reading.damaged_to(extent.end);
    Ok(reading.found)
}

/// At most `READ_BYTES_MAX` of the `left` bytes from `offset`. Empty where the file is shorter.
fn chunk(file: &File, offset: u64, left: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(left.min(READ_BYTES_MAX)).unwrap_or_default()];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

struct Reading {
    found: Found,
    /// How far was looked. Between `found.to` and here there is damage.
    at: u64,
    records_max: usize,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.found.records.len() >= self.records_max
    }

    /// Takes the records of a chunk of a segment that ends at `end`.
    fn take(&mut self, bytes: &[u8], end: u64) {
        if bytes.is_empty() {
            self.at = end;
        }
        let is_end = self.at + bytes.len() as u64 == end;
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_full() {
            let taken = match line::decode(rest, is_end) {
                Line::Record { record, bytes } => {
                    self.damaged_to(self.at);
                    self.found.records.push(record.to_vec());
                    self.found.to = self.at + bytes as u64;
                    bytes
                }
                Line::Damaged { bytes } => bytes,
                Line::Partial => break,
            };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
        let is_short = !is_end && (bytes.len() as u64) < READ_BYTES_MAX;
        if is_short && !self.is_full() {
            // The file ends before its segment does.
            self.at = end;
        }
    }

    fn damaged_to(&mut self, position: u64) {
        if position > self.found.to {
            self.found.damaged.push(self.found.to..position);
            self.found.to = position;
        }
    }
}
