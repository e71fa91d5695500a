//! GET and HEAD of files: validators, ranges, cache headers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    LAST_MODIFIED, LOCATION,
};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{Answer, AnswerBody, empty, set, set_static, text};
use super::body::{FileBody, Segment, read_block, read_small, sliced};
use super::conditional::{self, Validators, Verdict};
use super::error::ServeError;
use super::pools::{Files, OneFile};
use super::ranges::Ranged;
use super::work::blocking;
use super::{multipart, repr_digest};
use crate::package::{Checksum, ChecksumType, Location};
use crate::repository::Handle;
use crate::repository::aftermath::Superseded;
use crate::repository::browse::Opened;
use crate::tree::FileStamp;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Up to here a file is read in the same step that opens it.
const SMALL: u64 = 64 * 1024;

/// Changes at any time, and whoever asks must hear of it.
const REVALIDATE: &str = "no-cache";
/// Its name says what is in it.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Under one name there are the same bytes, unless somebody means it.
const PACKAGE: &str = "public, max-age=3600";

/// What a body is made of.
enum Content {
    Bytes(Bytes),
    File(File, OneFile),
    /// A file that lies in pieces in another.
    Pieces(File, OneFile, VecDeque<Segment>),
    /// Only its head was asked for.
    Unread,
}

struct Resource {
    content: Content,
    len: u64,
    validators: Validators,
    media_type: &'static str,
    cache: &'static str,
    /// Of the whole.
    checksum: Option<Checksum>,
}

enum Found {
    File { file: File, stamp: FileStamp, bytes: Option<Bytes>, checksum: Option<Checksum> },
    Superseded { superseded: Superseded, stamp: FileStamp },
    Directory,
}

/// Answers with a file of the tree, or sends the client of a directory to its index, which is at `path` with a slash.
pub async fn file(
    handle: &Handle,
    location: Location,
    path: Option<&str>,
    method: &Method,
    headers: &HeaderMap,
    files: &Files,
) -> Result<Answer, ServeError> {
    let read = *method == Method::GET;
    let digest = wants_digest(handle, &location, headers);
    let looking = || {
        let opening = (handle.clone(), location.clone());
        blocking("open a file", move || open(&opening.0, &opening.1, read, digest))
    };
    let (mut found, mut right) = (looking().await?, None);
    if read && matches!(found, Ok(Found::File { bytes: None, .. } | Found::Superseded { .. })) {
        right = files.try_one();
        if right.is_none() {
            // Closed while it waits, for it is open files that there are too many of.
            drop(found);
            right = Some(files.one().await.ok_or_else(too_many)?);
            found = looking().await?;
        }
    }
    match found {
        Ok(Found::File { file, stamp, bytes, checksum }) => {
            let content = match (bytes, right) {
                (Some(bytes), _) => Content::Bytes(bytes),
                (None, Some(right)) => Content::File(file, right),
                (None, None) => Content::Unread,
            };
            respond(resource(&location, &stamp, content, checksum), method, headers)
        }
        Ok(Found::Superseded { superseded, stamp }) => {
            let content = match right {
                Some(right) => pieces(superseded, right),
                None => Content::Unread,
            };
            respond(resource(&location, &stamp, content, None), method, headers)
        }
        Ok(Found::Directory) => path.map(with_slash).ok_or(ServeError::NotFound),
        Err(error) => Err(open_failed(error)),
    }
}

/// The same for a file that is found in the kernel's memory. `None`: it must be looked for by [`file()`].
pub fn at_once(
    handle: &Handle,
    location: &Location,
    method: &Method,
    headers: &HeaderMap,
    files: &Files,
) -> Option<Result<Answer, ServeError>> {
    if wants_digest(handle, location, headers) {
        return None;
    }
    let (file, stamp) = handle.open_cached(location)?;
    let content = match *method == Method::GET {
        true if stamp.size <= SMALL => Content::Bytes(read_small(&file, stamp.size as usize)?),
        true => Content::File(file, files.try_one()?),
        false => Content::Unread,
    };
    Some(respond(resource(location, &stamp, content, None), method, headers))
}

/// Whether the catalog is to be asked for a package's digest.
fn wants_digest(handle: &Handle, location: &Location, headers: &HeaderMap) -> bool {
    location.names_a_package() && repr_digest::is_wanted(headers, handle.config().checksum)
}

fn resource(
    location: &Location,
    stamp: &FileStamp,
    content: Content,
    checksum: Option<Checksum>,
) -> Resource {
    Resource {
        len: stamp.size,
        validators: validators(location, stamp),
        media_type: media_type(location.file_name()),
        cache: cache_control(location),
        content,
        checksum: checksum.or_else(|| repr_digest::of_digits(checksum_in_name(location)?)),
    }
}

fn open(handle: &Handle, location: &Location, read: bool, digest: bool) -> io::Result<Found> {
    match handle.open_file(location)? {
        Opened::Directory => Ok(Found::Directory),
        Opened::Superseded { superseded, stamp } => Ok(Found::Superseded { superseded, stamp }),
        Opened::File { file, stamp } => {
            let bytes = match read && stamp.size <= SMALL {
                true => Some(read_block(&file, 0, stamp.size as usize)?),
                false => None,
            };
            // Only for the bytes it was taken of. A catalog that cannot be asked is no reason to refuse the file.
            let known = if digest { handle.find_location(location).ok().flatten() } else { None };
            let checksum = known.filter(|known| known.stamp == stamp).map(|known| known.pkgid);
            Ok(Found::File { file, stamp, bytes, checksum })
        }
    }
}

/// A file in the pieces it lies in.
fn pieces(superseded: Superseded, right: OneFile) -> Content {
    let Superseded { pieces, head, tail, spans } = superseded;
    let spans = spans.iter().map(|span| Segment::File { start: span.offset, end: span.end() });
    let head = std::iter::once(Segment::Bytes(head.into()));
    Content::Pieces(pieces, right, head.chain(spans).chain([Segment::Bytes(tail.into())]).collect())
}

/// Says that others' answers have all files open that may be.
fn too_many() -> ServeError {
    ServeError::Unavailable("the server sends as many files as it can; try again in a moment".into())
}

/// What a failure to open or list means to a client.
pub fn open_failed(error: io::Error) -> ServeError {
    match error.kind() {
        io::ErrorKind::NotFound => ServeError::NotFound,
        io::ErrorKind::PermissionDenied => ServeError::Forbidden(
            "the daemon's user may not read this; give it the right with chmod or setfacl".into(),
        ),
        _ => ServeError::internal("open a file", error),
    }
}

/// Answers with `repomd.xml`, or what belongs to it, as it was published, from memory.
pub fn repomd(
    bytes: Bytes,
    name: &str,
    etag: String,
    modified: SystemTime,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Answer, ServeError> {
    let kind = ChecksumType::Sha256;
    let resource = Resource {
        checksum: repr_digest::is_wanted(headers, kind).then(|| Checksum::of(kind, &bytes)),
        len: bytes.len() as u64,
        content: Content::Bytes(bytes),
        validators: Validators { etag, modified },
        media_type: media_type(name),
        cache: REVALIDATE,
    };
    respond(resource, method, headers)
}

fn respond(resource: Resource, method: &Method, headers: &HeaderMap) -> Result<Answer, ServeError> {
    let Resource { content, len, validators, media_type, cache, checksum } = resource;
    let verdict = conditional::read(headers, &validators);
    let mut answer = match verdict {
        Verdict::Failed => return Err(ServeError::PreconditionFailed),
        Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
        Verdict::Proceed => {
            let ranged = match *method == Method::GET {
                true => conditional::range(headers, &validators, len),
                false => Ranged::Whole,
            };
            let mut answer = match ranged {
                Ranged::Whole => whole(content, len, media_type, *method == Method::HEAD),
                Ranged::Unsatisfiable => return Err(ServeError::RangeNotSatisfiable { len }),
                Ranged::Parts(parts) => match (parts.as_slice(), parts_in_memory(parts.len())) {
                    ([part], _) => one_part(content, part.clone(), len, media_type),
                    (_, Some(held)) => many_parts(content, &parts, len, media_type, held),
                    // Whoever asks for parts takes the whole, too.
                    (_, None) => whole(content, len, media_type, false),
                },
            };
            set_static(&mut answer, ACCEPT_RANGES, "bytes");
            if let Some(digest) = checksum.as_ref().and_then(repr_digest::spell) {
                set(&mut answer, REPR_DIGEST, &digest);
            }
            answer
        }
    };
    set(&mut answer, ETAG, &validators.etag);
    set(&mut answer, LAST_MODIFIED, &httpdate::fmt_http_date(validators.modified));
    set_static(&mut answer, CACHE_CONTROL, cache);
    Ok(answer)
}

fn whole(content: Content, len: u64, media_type: &'static str, head: bool) -> Answer {
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, CONTENT_LENGTH, itoa::Buffer::new().format(len));
    set_static(&mut answer, CONTENT_TYPE, media_type);
    if !head {
        *answer.body_mut() = content.part(0..len);
    }
    answer
}

fn one_part(content: Content, part: Range<u64>, len: u64, media_type: &'static str) -> Answer {
    let mut answer = empty(StatusCode::PARTIAL_CONTENT);
    set(&mut answer, CONTENT_LENGTH, &(part.end - part.start).to_string());
    set_static(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CONTENT_RANGE, &multipart::content_range(&part, len));
    *answer.body_mut() = content.part(part);
    answer
}

/// Parts that all answers together have yet to send; each takes about a third of a KiB of memory.
const PARTS: usize = 32 << 10;
static PARTS_LEFT: Semaphore = Semaphore::const_new(PARTS);

/// The memory for so many parts; `None` where others' answers have it.
fn parts_in_memory(parts: usize) -> Option<SemaphorePermit<'static>> {
    PARTS_LEFT.try_acquire_many(u32::try_from(parts).ok()?).ok()
}

fn many_parts(
    content: Content,
    parts: &[Range<u64>],
    len: u64,
    media_type: &'static str,
    held: SemaphorePermit<'static>,
) -> Answer {
    let boundary = multipart::boundary();
    let (segments, sum) = multipart::segments(parts, len, media_type, &boundary);
    let mut answer = empty(StatusCode::PARTIAL_CONTENT);
    set(&mut answer, CONTENT_LENGTH, &sum.to_string());
    set(&mut answer, CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    *answer.body_mut() = match content {
        Content::File(file, right) => {
            AnswerBody::File(Box::new(FileBody::of(file, right, segments).holding(held)))
        }
        Content::Pieces(file, right, pieces) => {
            let parts = segments.into_iter().flat_map(|segment| match segment {
                Segment::File { start, end } => sliced(&pieces, start..end),
                own @ Segment::Bytes(_) => VecDeque::from([own]),
            });
            AnswerBody::File(Box::new(FileBody::of(file, right, parts.collect()).holding(held)))
        }
        Content::Unread => AnswerBody::Bytes(Bytes::new()),
        Content::Bytes(bytes) => {
            let mut joined = Vec::with_capacity(sum as usize);
            for segment in segments {
                match segment {
                    Segment::Bytes(own) => joined.extend_from_slice(&own),
                    Segment::File { start, end } => {
                        joined.extend_from_slice(&bytes[start as usize..end as usize]);
                    }
                }
            }
            AnswerBody::Bytes(joined.into())
        }
    };
    answer
}

impl Content {
    fn part(self, part: Range<u64>) -> AnswerBody {
        match self {
            Self::Bytes(bytes) => AnswerBody::Bytes(bytes.slice(part.start as usize..part.end as usize)),
            Self::File(file, right) => {
                AnswerBody::File(Box::new(FileBody::new(file, right, part.start, part.end)))
            }
            Self::Pieces(file, right, pieces) => {
                AnswerBody::File(Box::new(FileBody::of(file, right, sliced(&pieces, part))))
            }
            Self::Unread => AnswerBody::Bytes(Bytes::new()),
        }
    }
}

/// Answers with what is no file yet: the empty thing that a lock, or an empty upload, has made.
pub fn nothing_yet(made: SystemTime) -> Answer {
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, CONTENT_LENGTH, "0");
    set(&mut answer, CONTENT_TYPE, "application/octet-stream");
    set(&mut answer, LAST_MODIFIED, &httpdate::fmt_http_date(made));
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

/// Sends the client to the same URL with a slash at its end. `path` is encoded.
pub fn with_slash(path: &str) -> Answer {
    // Two slashes at the start would name another host.
    let target = format!("/{}/", path.trim_matches('/'));
    let mut answer = text(
        StatusCode::MOVED_PERMANENTLY,
        super::answer::PLAIN,
        format!("this is a folder; see {target}\n"),
    );
    set(&mut answer, LOCATION, &target);
    answer
}

/// A metadata file is known by the checksum in its name, wherever its bytes come from.
fn validators(location: &Location, stamp: &FileStamp) -> Validators {
    let mut validators = Validators::of(stamp);
    if let Some(checksum) = checksum_in_name(location) {
        validators.etag = format!("\"{checksum}\"");
    }
    validators
}

/// The digits that begin the name of a file in repodata/, if they are a checksum.
fn checksum_in_name(location: &Location) -> Option<&str> {
    let name = location.file_name();
    let digits = name.bytes().take_while(u8::is_ascii_hexdigit).count();
    let named = location.is_repodata() && digits >= 32 && name.as_bytes().get(digits) == Some(&b'-');
    named.then(|| &name[..digits])
}

fn cache_control(location: &Location) -> &'static str {
    if location.is_repodata() {
        if checksum_in_name(location).is_some() { IMMUTABLE } else { REVALIDATE }
    } else if location.names_a_package() {
        PACKAGE
    } else {
        REVALIDATE
    }
}

/// By the end of the name. Compressed files are what they are: never a `Content-Encoding`, which
/// would make clients unpack what they compare by checksum.
pub fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("rpm") => "application/x-rpm",
        Some("xml") => "text/xml; charset=utf-8",
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        Some("bz2") => "application/x-bzip2",
        Some("xz") => "application/x-xz",
        Some("zck") => "application/x-zchunk",
        Some("sqlite") => "application/vnd.sqlite3",
        Some("asc") => "application/pgp-signature",
        Some("key") => "application/pgp-keys",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("repo" | "txt" | "md" | "conf" | "ks" | "yaml" | "yml" | "log") => super::answer::PLAIN,
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(text: &str) -> &'static str {
        cache_control(&Location::parse(text).unwrap())
    }

    #[test]
    fn only_names_that_say_their_content_are_immutable() {
        let sha = "0123456789abcdef".repeat(4);
        assert_eq!(cache(&format!("repodata/{sha}-primary.xml.gz")), IMMUTABLE);
        assert_eq!(cache("repodata/primary.xml.gz"), REVALIDATE);
        assert_eq!(cache("repodata/repomd.xml.asc"), REVALIDATE);
        assert_eq!(cache("repodata/deadbeef-primary.xml.gz"), REVALIDATE);
        assert_eq!(cache(&format!("repodata/{sha}")), REVALIDATE);
        assert_eq!(cache("a/b.rpm"), PACKAGE);
        assert_eq!(cache("comps.xml"), REVALIDATE);
    }

    #[test]
    fn a_redirect_stays_on_this_host() {
        for path in ["//evil.example", "/\\evil.example", "///evil.example/"] {
            let answer = with_slash(path);
            let target = answer.headers()[LOCATION].to_str().unwrap();
            assert!(target.starts_with('/') && !target.starts_with("//"), "{target}");
        }
    }
}
