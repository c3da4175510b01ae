//! Content codings: gzip and zstd, both ways, where the caller asks.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};

use zstd::stream::raw::{self, DParameter, InBuffer, Operation as _, OutBuffer};

use crate::memory::Part;

/// Shorter replies are not worth packing.
pub const PACKED_BYTES_MIN: usize = 1024;

/// How far back zstd may look, as a power of two: it holds that much memory for each body.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const ZSTD_WINDOW_LOG: u32 = 20;

const ZSTD_LEVEL: i32 = 1;

/// Bytes that are unpacked at once.
const ZSTD_CHUNK_BYTES: usize = 32 * 1024;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            Some(Self::Gzip)
        } else if name.eq_ignore_ascii_case("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    pub const fn header(self) -> HeaderValue {
        match self {
            Self::Gzip => HeaderValue::from_static("gzip"),
            Self::Zstd => HeaderValue::from_static("zstd"),
        }
    }

    /// How the request's body is packed. `Err` is a coding that is not known, or several on top of each other.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let mut coding = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = value.to_str().unwrap_or("?");
            for name in text.split(',').map(str::trim) {
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                match (Self::parse(name), coding) {
                    (Some(known), None) => coding = Some(known),
                    (Some(_), Some(_)) | (None, _) => return Err(text.to_owned()),
                }
            }
        }
        Ok(coding)
    }

    /// The coding that the caller likes best; zstd where it likes both the same.
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for value in headers.get_all(ACCEPT_ENCODING) {
            let offers = value.to_str().unwrap_or("").split(',');
            for (name, quality) in offers.map(quality) {
                let Some(coding) = Self::parse(name).filter(|_| quality > 0.0) else {
                    continue;
                };
                let is_better = best.is_none_or(|(known, _)| {
                    quality > known || (quality == known && coding == Self::Zstd)
                });
                if is_better {
                    best = Some((quality, coding));
                }
            }
        }
        best.map(|(_, coding)| coding)
    }
}

/// An element of a header's list with its weight (RFC 9110, section 12.4.2).
pub fn quality(element: &str) -> (&str, f32) {
    let mut parts = element.split(';').map(str::trim);
    let name = parts.next().unwrap_or("");
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
}

/// Packs a reply as it goes out.
pub enum Coder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Coder {
    /// `None` where zstd has no memory.
    pub fn new(coding: Coding) -> Option<Self> {
        match coding {
            Coding::Gzip => Some(Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast()))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW_LOG).ok()?;
                Some(Self::Zstd(encoder))
            }
        }
    }

    /// The packed bytes that are ready; with `flush`, all that were put in so far.
    pub fn pack(&mut self, bytes: &[u8], flush: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                if flush {
                    encoder.flush()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                if flush {
                    encoder.flush()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Larger than it may be, once unpacked.
    TooLarge,
    /// No memory is left for it.
    Memory,
    /// Not what its header says.
    Malformed,
}

/// A body while it arrives: unpacked, within its bound and the memory for all.
pub struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// The length that the caller stated: no more room than this is made ahead.
    expected: usize,
    part: Part,
    refused: Option<Refused>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let after = self.bytes.len().saturating_add(bytes.len());
        if after > self.bytes_max {
            self.refused = Some(Refused::TooLarge);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if after > self.bytes.capacity() {
            // Twice as much each time, so that it is moved seldom; what was only stated takes no memory.
            let ahead = self.bytes.len().saturating_mul(2).min(self.expected);
            let room = after.max(ahead);
            if self.part.cover(room).is_err() {
                self.refused = Some(Refused::Memory);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a body's frames.
pub enum Receiver {
    Plain(Bounded),
    Gzip(Box<GzDecoder<Bounded>>),
    Zstd(Box<ZstdFrames>),
}

/// Unpacks zstd. The library's own writer does not tell a frame that is cut from a whole one.
pub struct ZstdFrames {
    decoder: raw::Decoder<'static>,
    bounded: Bounded,
    chunk: Box<[u8]>,
    /// Whether what has come so far ends with a frame.
    is_whole: bool,
}

impl ZstdFrames {
    fn new(bounded: Bounded) -> io::Result<Self> {
        let mut decoder = raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self {
            decoder,
            bounded,
            chunk: vec![0; ZSTD_CHUNK_BYTES].into_boxed_slice(),
            is_whole: false,
        })
    }

    fn take(&mut self, packed: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(packed);
        let mut is_full = false;
        // Frames may follow one another (RFC 8878, section 3.1).
        while input.pos() < packed.len() || (is_full && !self.is_whole) {
            let mut output = OutBuffer::around(&mut *self.chunk);
            self.is_whole = self.decoder.run(&mut input, &mut output)? == 0;
            let unpacked = output.as_slice();
            is_full = unpacked.len() == ZSTD_CHUNK_BYTES;
            self.bounded.write_all(unpacked)?;
        }
        Ok(())
    }
}

impl Receiver {
    /// `expected`: the length that the caller stated, which is judged and not yet believed.
    pub fn new(
        coding: Option<Coding>,
        expected: usize,
        bytes_max: usize,
        part: Part,
    ) -> Result<Self, Refused> {
        let bounded = Bounded {
            bytes: Vec::new(),
            bytes_max,
            // Packed, it says nothing of what unfolds.
            expected: if coding.is_none() {
                expected
            } else {
                bytes_max
            },
            part,
            refused: None,
        };
        match coding {
            None => {
                if expected > bytes_max {
                    return Err(Refused::TooLarge);
                }
                Ok(Self::Plain(bounded))
            }
            Some(Coding::Gzip) => Ok(Self::Gzip(Box::new(GzDecoder::new(bounded)))),
            Some(Coding::Zstd) => {
                let frames = ZstdFrames::new(bounded).map_err(|_| Refused::Memory)?;
                Ok(Self::Zstd(Box::new(frames)))
            }
        }
    }

    pub fn take(&mut self, frame: &[u8]) -> Result<(), Refused> {
        let written = match self {
            Self::Plain(bounded) => bounded.write_all(frame),
            Self::Gzip(decoder) => decoder.write_all(frame),
            Self::Zstd(frames) => frames.take(frame),
        };
        written.map_err(|_| self.refused())
    }

    fn refused(&self) -> Refused {
        let bounded = match self {
            Self::Plain(bounded) => bounded,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(frames) => &frames.bounded,
        };
        bounded.refused.unwrap_or(Refused::Malformed)
    }

    /// The whole body, and what it holds of the memory for all.
    pub fn finish(mut self) -> Result<(Vec<u8>, Part), Refused> {
        let flushed = match &mut self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(frames) if frames.is_whole => Ok(()),
            Self::Zstd(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if flushed.is_err() {
            return Err(self.refused());
        }
        let bounded = match self {
            Self::Plain(bounded) => bounded,
            Self::Gzip(decoder) => decoder.finish().map_err(|_| Refused::Malformed)?,
            Self::Zstd(frames) => frames.bounded,
        };
        Ok((bounded.bytes, bounded.part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn headers(name: hyper::header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_caller_chooses() {
        for (accept, expected) in [
            ("gzip, zstd", Some(Coding::Zstd)),
            ("zstd, gzip", Some(Coding::Zstd)),
            ("gzip;q=1.0, zstd;q=0.5", Some(Coding::Gzip)),
            ("gzip;q=0, br", None),
            ("identity", None),
            ("*", None),
            ("GZIP", Some(Coding::Gzip)),
            ("zstd;q=x", None),
        ] {
            let found = Coding::accepted(&headers(ACCEPT_ENCODING, accept));
            assert_eq!(found, expected, "{accept}");
        }
        for (sent, expected) in [
            ("gzip", Ok(Some(Coding::Gzip))),
            ("identity", Ok(None)),
            ("gzip, gzip", Err("gzip, gzip".to_owned())),
            ("br", Err("br".to_owned())),
        ] {
            let found = Coding::of_request(&headers(CONTENT_ENCODING, sent));
            assert_eq!(found, expected, "{sent}");
        }
    }

    fn pack(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut coder = Coder::new(coding).unwrap();
        let mut out = coder.pack(bytes, true).unwrap();
        out.extend(coder.finish().unwrap());
        out
    }

    fn unpack(
        coding: Option<Coding>,
        packed: &[u8],
        bytes_max: usize,
        memory: usize,
    ) -> Result<Vec<u8>, Refused> {
        let part = Memory::new(memory).part();
        let mut receiver = Receiver::new(coding, 0, bytes_max, part)?;
        for piece in packed.chunks(7) {
            receiver.take(piece)?;
        }
        receiver.finish().map(|(bytes, _)| bytes)
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let text = b"the same again and again ".repeat(1000);
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = pack(coding, &text);
            assert!(packed.len() < text.len() / 10);
            assert_eq!(
                unpack(Some(coding), &packed, 1 << 20, 1 << 20),
                Ok(text.clone())
            );
        }
    }

    #[test]
    fn a_flushed_chunk_can_be_read_at_once() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut coder = Coder::new(coding).unwrap();
            let packed = coder.pack(b"[1]\n", true).unwrap();
            let mut receiver =
                Receiver::new(Some(coding), 0, 100, Memory::new(1 << 20).part()).unwrap();
            receiver.take(&packed).unwrap();
            let seen = match &mut receiver {
                Receiver::Gzip(decoder) => {
                    decoder.flush().unwrap();
                    decoder.get_ref().bytes.clone()
                }
                Receiver::Zstd(frames) => frames.bounded.bytes.clone(),
                Receiver::Plain(bounded) => bounded.bytes.clone(),
            };
            assert_eq!(seen, b"[1]\n", "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_as_it_unfolds() {
        let zeros = vec![0; 4 << 20];
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = pack(coding, &zeros);
            assert!(packed.len() < 32 * 1024);
            for (bytes_max, memory, expected) in [
                (1 << 20, 1 << 30, Refused::TooLarge),
                (1 << 30, 1 << 20, Refused::Memory),
            ] {
                let refused = unpack(Some(coding), &packed, bytes_max, memory);
                assert_eq!(refused, Err(expected), "{coding:?}");
            }
        }
        assert_eq!(unpack(None, &zeros, 100, 1 << 30), Err(Refused::TooLarge));
    }

    #[test]
    fn what_is_only_stated_takes_no_memory() {
        let memory = Memory::new(1 << 20);
        let stated = 1 << 19;
        let mut bodies: Vec<Receiver> = (0..8)
            .map(|_| {
                Receiver::new(None, stated, stated, memory.part()).unwrap_or_else(|_| panic!())
            })
            .collect();
        for body in &mut bodies {
            body.take(b"{").unwrap();
        }
        assert_eq!(memory.held(), 8 << 16);
        let refused = Receiver::new(None, stated + 1, stated, memory.part());
        assert_eq!(refused.err(), Some(Refused::TooLarge));
        // The whole of it takes what was stated, and no more.
        bodies.truncate(1);
        let body = bodies.first_mut().unwrap();
        for _ in 1..stated / 512 {
            body.take(&[b' '; 512]).unwrap();
        }
        assert!(memory.held() <= stated);
    }

    #[test]
    fn what_is_not_packed_so_is_refused() {
        let junk = b"{\"sql\":\"SELECT 1\"} and then some";
        for coding in [Coding::Gzip, Coding::Zstd] {
            let refused = unpack(Some(coding), junk, 1 << 20, 1 << 20);
            assert_eq!(refused, Err(Refused::Malformed), "{coding:?}");
        }
        // Whatever is cut off, and whatever stands behind the end.
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = pack(coding, b"{\"sql\":\"SELECT 1\"}");
            for length in 0..packed.len() {
                let cut = packed.get(..length).unwrap();
                let refused = unpack(Some(coding), cut, 1 << 20, 1 << 20);
                assert_eq!(refused, Err(Refused::Malformed), "{coding:?} {length}");
            }
            for behind in [b"x".as_slice(), b"\0", junk] {
                let more = [packed.as_slice(), behind].concat();
                let refused = unpack(Some(coding), &more, 1 << 20, 1 << 20);
                assert_eq!(refused, Err(Refused::Malformed), "{coding:?} {behind:?}");
            }
        }
    }
}
