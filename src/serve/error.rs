//! Why a request is refused or failed; the only place that chooses a status.

use std::io;

use hyper::StatusCode;
use rustix::io::Errno;

use crate::package::intake::BadPackage;
use crate::repository::batches::BatchError;
use crate::repository::receive::{IncomingError, ReceiveError};

/// Displays as the one line the client is told: what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    BadRequest(String),
    /// The client went away, or sent less than it said.
    #[error("the upload broke off before its end; nothing was stored, send it again")]
    Aborted,
    /// Nobody, or not who they say they are.
    #[error("{0}")]
    Unauthorized(String),
    #[error(
        "there were too many wrong passwords or tokens from this address; try again in {seconds} seconds"
    )]
    TooManyRequests { seconds: u64 },
    #[error("the service that decides who may do what does not answer; try again in a moment")]
    Undecided { authorizer: String },
    #[error("too many passwords are checked at the moment; try again in a moment, or use a token")]
    Busy,
    #[error("{0}")]
    Forbidden(String),
    #[error("there is nothing at this URL")]
    NotFound,
    /// Without a configuration: asked for a name that only leads here.
    #[error(
        "without a configuration this server answers those who ask for localhost or a loopback address, and this request \
         names another host; write a configuration, or use http://localhost"
    )]
    Misdirected,
    #[error("{why}")]
    MethodNotAllowed { allow: &'static str, why: String },
    #[error("no data came for {0} seconds; nothing was stored, send it again")]
    BodyTimeout(u64),
    #[error(
        "the condition this request made (If, If-Match, If-None-Match, If-Unmodified-Since, Overwrite) is not met"
    )]
    PreconditionFailed,
    #[error("the upload is larger than this server takes ({limit} bytes); raise max_upload or send less")]
    TooLarge { limit: u64 },
    #[error("the body is longer than this request takes ({limit} bytes); send less")]
    BodyTooLarge { limit: u64 },
    #[error("{0}")]
    Conflict(String),
    /// WebDAV: somebody else holds a lock.
    #[error("{} is locked; wait, or submit the lock's token in an If header", if place.is_empty() { "the repository" } else { place })]
    Locked { place: String },
    /// WebDAV: the destination is not ours.
    #[error("{0}")]
    BadGateway(String),
    #[error("{0}")]
    NoRoom(String),
    #[error("the URL is too long")]
    UriTooLong,
    #[error("{0}")]
    UnsupportedMediaType(String),
    #[error("the file has {len} bytes, and the range asked for lies outside")]
    RangeNotSatisfiable { len: u64 },
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("{0}")]
    NoBatch(String),
    #[error("the server failed to {attempt}; its log says why")]
    Internal { attempt: &'static str, source: anyhow::Error },
}

impl ServeError {
    pub fn internal(attempt: &'static str, source: impl Into<anyhow::Error>) -> Self {
        Self::Internal { attempt, source: source.into() }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Aborted => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Undecided { .. } | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Locked { .. } => StatusCode::LOCKED,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Receive(error) => receive_status(error),
            Self::NoBatch(_) => StatusCode::NOT_FOUND,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told; may hold names from a URL or a header, so not yet fit for a line.
    pub fn words(&self) -> String {
        match self {
            Self::Receive(error) => receive_words(error),
            other => other.to_string(),
        }
    }

    /// The cause, for the log, of what is the server's fault.
    pub fn cause(&self) -> Option<String> {
        let source: &dyn std::error::Error = match self {
            Self::Internal { source, .. } => source.as_ref(),
            Self::Receive(error) if receive_status(error).is_server_error() => error,
            _ => return None,
        };
        let mut text = source.to_string();
        let mut next = source.source();
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        Some(text)
    }
}

impl From<BatchError> for ServeError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::NotFound(_) => Self::NoBatch(error.to_string()),
            BatchError::Conflicts(_) | BatchError::TooMany => Self::Conflict(error.to_string()),
            BatchError::Locked(location) => Self::Locked { place: location.to_string() },
            BatchError::Receive(error) => error.into(),
            BatchError::Incoming(error) => Self::Receive(error.into()),
            BatchError::Io { .. } => Self::internal("use the batch", error),
        }
    }
}

pub(crate) fn receive_status(error: &ReceiveError) -> StatusCode {
    match error {
        ReceiveError::Incoming(error) => match error {
            IncomingError::Bad(bad) => match bad {
                BadPackage::NotRpm(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                BadPackage::Malformed(_) => StatusCode::BAD_REQUEST,
                BadPackage::Truncated(_) | BadPackage::Damaged(_) | BadPackage::Signature(_) => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
            },
            IncomingError::Metadata(_) | IncomingError::Digest { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            IncomingError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            IncomingError::IsDirectory(_) => StatusCode::METHOD_NOT_ALLOWED,
            IncomingError::OtherFileSystem(_)
            | IncomingError::NoDirectory(_)
            | IncomingError::Exists(_)
            | IncomingError::NotEmpty(_) => StatusCode::CONFLICT,
            IncomingError::Io { source, .. } => io_status(source),
        },
        ReceiveError::Reserved(_) | ReceiveError::Protected(_) => StatusCode::FORBIDDEN,
        ReceiveError::NotAPackageName(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ReceiveError::Folder(_) => StatusCode::METHOD_NOT_ALLOWED,
        ReceiveError::Condition(_) => StatusCode::PRECONDITION_FAILED,
        ReceiveError::NameTaken { .. } | ReceiveError::NevraTaken { .. } => StatusCode::CONFLICT,
        ReceiveError::BatchFull => StatusCode::CONFLICT,
        ReceiveError::NotFound(_) => StatusCode::NOT_FOUND,
        ReceiveError::Io { source, .. } => io_status(source),
        // It is looked at, and made anew where it has to be.
        ReceiveError::Catalog { .. } | ReceiveError::Keyring(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn io_status(source: &io::Error) -> StatusCode {
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC | Errno::DQUOT) => StatusCode::INSUFFICIENT_STORAGE,
        Some(Errno::NAMETOOLONG) => StatusCode::BAD_REQUEST,
        Some(Errno::FBIG) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(Errno::MFILE | Errno::NFILE) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Adds what to do to what was wrong.
pub(crate) fn receive_words(error: &ReceiveError) -> String {
    let advice = match error {
        ReceiveError::Incoming(error) => match error {
            IncomingError::Bad(bad) => match bad {
                BadPackage::NotRpm(_) => "nothing was stored; send the .rpm file itself",
                BadPackage::Malformed(_) => "nothing was stored; build the package anew",
                BadPackage::Truncated(_) => {
                    "nothing was stored; it is incomplete where it comes from, or was cut on the way: send it again"
                }
                BadPackage::Signature(_) => {
                    "nothing was stored; this repository takes only what a key of its keyring signed"
                }
                BadPackage::Damaged(_) => {
                    "nothing was stored; compare it with where it came from, and send it again"
                }
            },
            IncomingError::Metadata(_) => "nothing was stored; what was published before stays",
            IncomingError::Digest { .. } => {
                "nothing was stored; it was damaged on the way, or the checksum is another file's: send it again"
            }
            IncomingError::Busy => "nothing was stored; send it again in a moment",
            IncomingError::IsDirectory(_) => "add a slash and a file name to the URL",
            IncomingError::NoDirectory(_) => "choose another path",
            IncomingError::Exists(_) => "try again",
            IncomingError::NotEmpty(_) => "what is left in it cannot be removed over HTTP",
            IncomingError::OtherFileSystem(_) => "send it without a batch",
            IncomingError::Io { source, .. } => return io_words(error.to_string(), source),
        },
        ReceiveError::Reserved(_) => "choose another name",
        ReceiveError::Protected(_) => {
            "to replace it takes the scope delete as well as write (or set overwrite = \"allow\")"
        }
        ReceiveError::NotAPackageName(_) => {
            "name it *.rpm or, if it holds further metadata, as additional_metadata says, or set accept = \"any\" for \
             this repository"
        }
        ReceiveError::Folder(_) => "add a slash and a file name to the URL",
        ReceiveError::Condition(_) => "look at what is there now, and decide anew",
        ReceiveError::NameTaken { identical: true, .. } => {
            "the bytes are the same, but overwrite = \"deny\" takes no name twice"
        }
        ReceiveError::NameTaken { .. } => {
            "raise the package's release, or delete the old file first (or set overwrite = \"allow\")"
        }
        ReceiveError::NevraTaken { .. } => "raise the package's release, or delete the old file first",
        ReceiveError::BatchFull => "commit or drop batches that wait",
        ReceiveError::NotFound(_) => "nothing was changed",
        ReceiveError::Io { source, .. } => return io_words(error.to_string(), source),
        ReceiveError::Catalog { .. } => "try again in a moment; the server's log says why",
        ReceiveError::Keyring(_) => "the server's log says why",
    };
    format!("{error}: {advice}")
}

fn io_words(what: String, source: &io::Error) -> String {
    let advice = match Errno::from_io_error(source) {
        Some(Errno::NOSPC) => "the disk is full; free some space and send it again",
        Some(Errno::DQUOT) => "the disk quota is used up; free some space and send it again",
        Some(Errno::NAMETOOLONG) => "the name is too long; choose a shorter one",
        Some(Errno::FBIG) => "the file system takes no file this large",
        Some(Errno::ROFS) => {
            "the file system is mounted read-only, or the service's sandbox forbids it (ReadWritePaths=)"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "the daemon's user may not write there; give it the right with chgrp or setfacl"
        }
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open; try again in a moment",
        _ => "the server's log says why",
    };
    format!("{what}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Location;

    #[test]
    fn trouble_with_the_disk_says_what_to_do() {
        for (errno, status, words) in [
            (Errno::NOSPC, 507, "disk is full"),
            (Errno::DQUOT, 507, "quota"),
            (Errno::ROFS, 500, "read-only"),
            (Errno::ACCESS, 500, "chgrp or setfacl"),
            (Errno::NAMETOOLONG, 400, "shorter"),
            (Errno::FBIG, 413, "this large"),
            (Errno::MFILE, 503, "too many files"),
            (Errno::IO, 500, "log says why"),
        ] {
            let path = "/srv/rpm/a.rpm".into();
            let incoming = IncomingError::Io { attempt: "write", path, source: errno.into() };
            let location = Location::parse("a.rpm").unwrap();
            let removing = ReceiveError::Io { attempt: "remove", location, source: errno.into() };
            for error in [ServeError::from(ReceiveError::from(incoming)), removing.into()] {
                assert_eq!(error.status().as_u16(), status, "{errno:?}");
                assert!(error.words().contains(words), "{errno:?}: {}", error.words());
                // Only what is the server's fault is its log's business.
                assert_eq!(error.cause().is_some(), status >= 500, "{errno:?}");
            }
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = ServeError::internal("list", anyhow::anyhow!("inner").context("outer"));
        assert_eq!(error.cause().unwrap(), "outer: inner");
        assert!(!error.words().contains("inner"));
    }
}
