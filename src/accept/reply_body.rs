//! The body of a reply: bytes that are there, or the chunks of a stream as they come; packed where the caller asked.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::coding::{Coder, Coding};
use crate::lock::Unpoisoned as _;
use crate::memory::Part;
use crate::record::health::Lingering;

/// How much of a whole body goes out at once: packing it does not hold its thread up, and what a client does not
/// take stays here, where its time runs out, and not in the connection's buffers.
const SLICE_BYTES_MAX: usize = 128 * 1024;

/// What comes through a stream's channel.
#[derive(Debug)]
pub enum Chunk {
    Lines(Bytes),
    /// The last lines. A stream without them was cut.
    Last(Bytes),
}

/// The stream ended before its last line; the connection says so too, by ending without a proper end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream was cut")]
pub struct Cut;

enum Source {
    Whole(Bytes),
    Watched(Watched),
    Stream(mpsc::Receiver<Chunk>),
    Ended,
}

/// A whole body that is too large for one slice. Its memory is freed when its client takes nothing for too long;
/// HTTP/2 does not ask a body for more while its client takes nothing, so a task looks after it.
struct Watched {
    rest: Arc<Rest>,
    size: u64,
    watcher: JoinHandle<()>,
}

#[derive(Default)]
struct Rest {
    /// `None` once it was given up.
    held: Mutex<Option<(Bytes, Option<Part>)>>,
    taken: Notify,
}

impl Watched {
    fn new(bytes: Bytes, part: Option<Part>, patience: Duration) -> Self {
        let size = bytes.len() as u64;
        let rest = Arc::new(Rest {
            held: Mutex::new(Some((bytes, part))),
            taken: Notify::new(),
        });
        let watched = Arc::clone(&rest);
        let watcher = tokio::spawn(async move {
            while tokio::time::timeout(patience, watched.taken.notified())
                .await
                .is_ok()
            {}
            watched.held().take();
        });
        Self {
            rest,
            size,
            watcher,
        }
    }

    /// The next slice, and whether it is the last.
    fn slice(&self) -> Result<(Bytes, bool), Cut> {
        self.rest.taken.notify_one();
        let mut held = self.rest.held();
        let (bytes, _) = held.as_mut().ok_or(Cut)?;
        let slice = bytes.split_to(bytes.len().min(SLICE_BYTES_MAX));
        Ok((slice, bytes.is_empty()))
    }
}

impl Rest {
    fn held(&self) -> MutexGuard<'_, Option<(Bytes, Option<Part>)>> {
        self.held.lock().unpoisoned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watcher.abort();
        self.rest.held().take();
    }
}

/// A reply's body.
pub struct ReplyBody {
    source: Source,
    coder: Option<Box<Coder>>,
    /// Frames made and not yet handed out.
    ready: VecDeque<Bytes>,
    /// What it holds of the memory for all.
    part: Option<Part>,
    /// Keeps the drain waiting while the reply is on its way.
    lingering: Option<Lingering>,
}

impl ReplyBody {
    pub fn whole(bytes: Bytes) -> Self {
        Self::new(Source::Whole(bytes))
    }

    pub fn stream(chunks: mpsc::Receiver<Chunk>) -> Self {
        Self::new(Source::Stream(chunks))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            coder: None,
            ready: VecDeque::new(),
            part: None,
            lingering: None,
        }
    }

    /// Keeps what the body holds of the memory for all until it is gone.
    pub fn hold(&mut self, part: Option<Part>) {
        self.part = part;
    }

    pub fn linger(&mut self, lingering: Lingering) {
        self.lingering = Some(lingering);
    }

    /// Bytes of a body that is there whole.
    pub fn whole_bytes(&self) -> Option<usize> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes.len()),
            Source::Watched(_) | Source::Stream(_) | Source::Ended => None,
        }
    }

    /// Gives a large body up when its client takes nothing of it for so long.
    pub fn watch(&mut self, patience: Duration) {
        if let Source::Whole(bytes) = &mut self.source
            && bytes.len() > SLICE_BYTES_MAX
        {
            let bytes = std::mem::take(bytes);
            self.source = Source::Watched(Watched::new(bytes, self.part.take(), patience));
        }
    }

    /// Packs the body on its way out; false where that cannot be done.
    pub fn pack(&mut self, coding: Coding) -> bool {
        self.coder = Coder::new(coding).map(Box::new);
        self.coder.is_some()
    }

    /// Puts bytes on their way; `flush`: whoever reads them must be able to unpack them at once.
    fn send(&mut self, bytes: Bytes, flush: bool) -> Result<(), Cut> {
        let frame = match &mut self.coder {
            None => bytes,
            Some(coder) => coder.pack(&bytes, flush).map_err(|_| Cut)?.into(),
        };
        self.ready.push_back(frame);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Cut> {
        self.source = Source::Ended;
        if let Some(coder) = self.coder.take() {
            let end = coder.finish().map_err(|_| Cut)?;
            self.ready.push_back(end.into());
        }
        Ok(())
    }

    /// Makes frames from what the source has; false at the end of it.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Cut>> {
        let made = match &mut self.source {
            Source::Ended => return Poll::Ready(Ok(false)),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.send(bytes, false).and_then(|()| self.finish())
            }
            Source::Watched(watched) => match watched.slice() {
                Ok((slice, false)) => self.send(slice, false),
                Ok((slice, true)) => self.send(slice, false).and_then(|()| self.finish()),
                Err(cut) => {
                    self.source = Source::Ended;
                    Err(cut)
                }
            },
            Source::Stream(chunks) => match std::task::ready!(chunks.poll_recv(cx)) {
                Some(Chunk::Lines(lines)) => self.send(lines, true),
                Some(Chunk::Last(lines)) => self.send(lines, false).and_then(|()| self.finish()),
                None => {
                    self.source = Source::Ended;
                    Err(Cut)
                }
            },
        };
        Poll::Ready(made.map(|()| true))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                if frame.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            match std::task::ready!(self.poll_source(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(cut) => return Poll::Ready(Some(Err(cut))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.source {
            Source::Whole(bytes) => bytes.is_empty() && self.coder.is_none(),
            Source::Ended => true,
            Source::Watched(_) | Source::Stream(_) => false,
        };
        is_over && self.ready.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) if self.coder.is_none() => {
                SizeHint::with_exact(bytes.len() as u64)
            }
            Source::Watched(watched) if self.coder.is_none() => SizeHint::with_exact(watched.size),
            Source::Whole(_) | Source::Watched(_) | Source::Stream(_) | Source::Ended => {
                SizeHint::default()
            }
        }
    }
}
