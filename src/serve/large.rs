//! Texts of our own that may be long: their memory is counted over all clients until they are sent.

use bytes::Bytes;
use hyper::StatusCode;

use super::answer::{Answer, holding, made, text};
use super::error::ServeError;
use super::{Ends, Server, Transport};

/// Bytes that are handed over at a time; what is no longer is not counted.
const PIECE: usize = 16 << 10;

/// Answers with this text; 503 where others' texts have the memory.
pub fn large(
    server: &Server,
    ends: &Ends,
    media_type: &'static str,
    words: String,
) -> Result<Answer, ServeError> {
    if words.len() <= PIECE {
        return Ok(text(StatusCode::OK, media_type, words));
    }
    let mut portion = server.pools.text(ends.peer.ip());
    // The commands of this program tell why others are not served.
    if !portion.grow(words.len() as u64) && ends.transport != Transport::Control {
        return Err(ServeError::Unavailable(
            "many long answers are on their way; try again in a moment".into(),
        ));
    }
    let words = Bytes::from(words);
    let pieces = (0..words.len()).step_by(PIECE).map(move |at| words.slice(at..words.len().min(at + PIECE)));
    Ok(holding(made(StatusCode::OK, media_type, pieces), portion))
}
