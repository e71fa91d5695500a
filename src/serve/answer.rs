//! Answers and their bodies.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::access_log::Note;
use super::body::{BLOCK, FileBody};
use super::connection::InFlight;
use super::error::ServeError;
use super::metrics::Metrics;

pub type Answer = Response<AnswerBody>;

pub const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers with a text of our own.
pub fn text(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let text = text.into();
    let mut answer = Response::new(AnswerBody::Bytes(text.clone()));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CONTENT_LENGTH, &text.len().to_string());
    answer
}

/// Answers with a text that is made while it is sent; with its length, when it is a short one. No chunk is empty.
pub fn made(
    status: StatusCode,
    media_type: &'static str,
    mut chunks: impl Iterator<Item = Bytes> + Send + 'static,
) -> Answer {
    let first = chunks.next().unwrap_or_default();
    let Some(second) = chunks.next() else { return text(status, media_type, first) };
    let all = [first, second].into_iter().chain(chunks);
    let mut answer = Response::new(AnswerBody::Chunks(Box::new(all)));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

/// The answer, which lets go of `held` once it is made.
pub(super) fn holding(answer: Answer, held: impl Send + 'static) -> Answer {
    answer.map(|body| match body {
        AnswerBody::Chunks(mut chunks) => {
            let held = Some(held);
            AnswerBody::Chunks(Box::new(std::iter::from_fn(move || {
                let _here = &held;
                chunks.next()
            })))
        }
        body => body,
    })
}

/// Answers with what comes out of `chunks`, as it comes; none is empty. Whoever fills it sees when the client has left.
pub fn live(status: StatusCode, media_type: &'static str, chunks: mpsc::Receiver<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::Live(chunks));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::Bytes(Bytes::new()));
    // Room for all that is set as a rule, at once.
    *answer.headers_mut() = HeaderMap::with_capacity(16);
    *answer.status_mut() = status;
    answer
}

/// Answers with what went wrong, in one line.
pub fn failed(error: &ServeError) -> Answer {
    let mut answer = text(error.status(), PLAIN, format!("{}\n", one_line(&error.words())));
    // In a moment it may be otherwise: what was missing was uploaded, who was unknown has a token.
    set_static(&mut answer, CACHE_CONTROL, "no-store");
    match error {
        ServeError::MethodNotAllowed { allow, .. } => set(&mut answer, ALLOW, allow),
        ServeError::RangeNotSatisfiable { len } => {
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{len}"));
        }
        ServeError::Unauthorized(_) => challenge(&mut answer),
        ServeError::TooManyRequests { seconds } => set(&mut answer, RETRY_AFTER, &seconds.to_string()),
        ServeError::Unavailable(_) | ServeError::Undecided { .. } | ServeError::Busy => {
            set(&mut answer, RETRY_AFTER, "1");
        }
        ServeError::Receive(_) if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            set(&mut answer, RETRY_AFTER, "5");
        }
        ServeError::Receive(_) if error.status() == StatusCode::METHOD_NOT_ALLOWED => {
            set(&mut answer, ALLOW, super::route::FOLDER);
        }
        _ => {}
    }
    answer
}

/// Says how to say who one is: two challenges, each in a line of its own, as some clients read one a line.
fn challenge(answer: &mut Answer) {
    for challenge in ["Basic realm=\"createrepod\", charset=\"UTF-8\"", "Bearer realm=\"createrepod\""] {
        answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
}

/// Sets a header. A value that is none (a control character in it) is left out: it could only split the answer.
pub fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// The same for a value of ours: nothing is checked or copied.
pub fn set_static(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// The text with its control characters shown instead of sent.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.into()
}

/// An answer on its way: what is noted of it, and its request, end with it.
pub struct Sent {
    body: AnswerBody,
    note: Option<Box<Note>>,
    metrics: Arc<Metrics>,
    in_flight: InFlight,
    /// How much the stream of HTTP/2 may hand over next; 0: to be asked for.
    room: u64,
}

impl Sent {
    pub(super) fn new(
        body: AnswerBody,
        note: Option<Box<Note>>,
        metrics: Arc<Metrics>,
        in_flight: InFlight,
    ) -> Self {
        Self { body, note, metrics, in_flight, room: 0 }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.metrics.ended();
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(stream) = this.in_flight.stream.as_ref().filter(|_| this.room == 0) {
            this.room = ready!(stream.poll_room(cx, BLOCK));
            if let AnswerBody::File(file) = &mut this.body {
                file.at_most(this.room);
            }
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_ready() {
            this.room = 0;
        }
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        this.metrics.sent(bytes);
        if let Some(note) = &mut this.note {
            note.sent(bytes);
        }
        Poll::Ready(Some(Ok(match &this.in_flight.stream {
            Some(stream) => frame.map_data(|data| stream.hand_over(data)),
            None => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub enum AnswerBody {
    Bytes(Bytes),
    /// Boxed: small answers are many, and are moved about.
    File(Box<FileBody>),
    /// Made while it is sent. No chunk is empty.
    Chunks(Box<dyn Iterator<Item = Bytes> + Send>),
    /// Made while it is sent, by somebody who takes time over it.
    Live(mpsc::Receiver<Bytes>),
    /// The same, ended by `None`: without it the client learns that it is not all. No piece is empty.
    Pieces(mpsc::Receiver<Option<Bytes>>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File(file) => file.poll_block(cx).map(|block| block.map(|block| block.map(Frame::data))),
            Self::Chunks(chunks) => Poll::Ready(chunks.next().map(|chunk| Ok(Frame::data(chunk)))),
            Self::Pieces(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(piece) => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
                None => Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
            },
            Self::Live(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(file) => file.left() == 0,
            Self::Chunks(_) | Self::Live(_) | Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.left(),
            Self::Chunks(_) | Self::Live(_) | Self::Pieces(_) => return SizeHint::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stays_on_its_line() {
        assert_eq!(one_line("a\r\nSet-Cookie: x\u{1b}[31m"), "a\\r\\nSet-Cookie: x\\u{1b}[31m");
        assert_eq!(one_line("é – ok"), "é – ok");
    }

    #[test]
    fn a_header_cannot_be_split() {
        let mut answer = empty(StatusCode::OK);
        set(&mut answer, CONTENT_TYPE, "a\r\nb: c");
        assert!(answer.headers().get(CONTENT_TYPE).is_none());
    }
}
