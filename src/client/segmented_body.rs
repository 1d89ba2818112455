//! Request bodies of several parts, so that requests can share the large ones.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The maximum size of a frame of a body, in bytes: one TLS record (RFC 8446, 5.1). Each write in flight has a
/// connection with buffers of this size.
pub(super) const FRAME: usize = 16 * 1024;

/// A request body of several parts, some of which many requests share.
#[derive(Debug)]
pub(super) struct SegmentedBody {
    /// The remaining parts, in reverse order.
    rest: Vec<Bytes>,
}

impl SegmentedBody {
    /// Creates a body of these parts, in this order.
    pub(super) fn new(mut parts: Vec<Bytes>) -> Self {
        parts.reverse();
        Self { rest: parts }
    }
}

impl Body for SegmentedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = self.rest.pop().map(|mut part| {
            if part.len() > FRAME {
                let frame = part.split_to(FRAME);
                self.rest.push(part);
                return Ok(Frame::data(frame));
            }
            Ok(Frame::data(part))
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.iter().map(|part| part.len() as u64).sum())
    }
}
