//! The tree as dav-server sees it: enough for PROPPATCH, MKCOL, LOCK and UNLOCK. Nothing can be written
//! to a file through it; whatever brings bytes in goes through `repository::receive`.

use std::future::ready;
use std::time::{Duration, SystemTime};

use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavFileSystem, DavMetaData, DavProp, FsError, FsFuture, FsResult, FsStream,
    OpenOptions, ReadDirMeta,
};
use hyper::StatusCode;
use std::sync::Arc;

use super::locks::place_of;
use super::share::Share;
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::browse::Listed;
use crate::repository::properties::{Patch, PropertiesError, Property};
use crate::repository::receive::{IncomingError, ReceiveError};
use crate::serve::Validators;

/// One repository.
#[derive(Clone)]
pub(super) struct TreeFs {
    pub(super) handle: Handle,
    pub(super) share: Arc<Share>,
}

#[derive(Debug, Clone)]
enum Meta {
    Real(Listed),
    Empty(SystemTime),
}

impl DavMetaData for Meta {
    fn len(&self) -> u64 {
        match self {
            Self::Real(listed) => listed.size(),
            Self::Empty(_) => 0,
        }
    }

    fn modified(&self) -> FsResult<SystemTime> {
        Ok(match self {
            Self::Real(listed) => SystemTime::UNIX_EPOCH + Duration::from_secs(listed.modified()),
            Self::Empty(made) => *made,
        })
    }

    fn is_dir(&self) -> bool {
        matches!(self, Self::Real(listed) if listed.is_directory)
    }

    fn etag(&self) -> Option<String> {
        // dav-server adds the quotes.
        let tag = match self {
            Self::Real(listed) => Validators::of(&listed.stamp).etag,
            Self::Empty(_) => super::EMPTY_TAG.to_owned(),
        };
        Some(tag.trim_matches('"').to_owned())
    }
}

/// The location of a path; `None` for the top.
fn location(path: &DavPath) -> FsResult<Option<Location>> {
    match place_of(path).as_str() {
        "" => Ok(None),
        place => Location::parse(place).map(Some).map_err(|_| FsError::Forbidden),
    }
}

/// Does blocking work where it may block.
fn work<'a, T: Send + 'static>(work: impl FnOnce() -> FsResult<T> + Send + 'static) -> FsFuture<'a, T> {
    Box::pin(async move { tokio::task::spawn_blocking(work).await.unwrap_or(Err(FsError::GeneralFailure)) })
}

impl TreeFs {
    fn meta(&self, path: &DavPath) -> FsResult<Meta> {
        let location = location(path)?;
        match self.handle.stat(location.as_ref()) {
            Ok(Some(listed)) => Ok(Meta::Real(listed)),
            Ok(None) => self.share.placeholder(&place_of(path)).map(Meta::Empty).ok_or(FsError::NotFound),
            Err(_) => Err(FsError::GeneralFailure),
        }
    }
}

impl DavFileSystem for TreeFs {
    /// Only LOCK comes here, for a name that is nothing yet.
    fn open<'a>(&'a self, path: &'a DavPath, options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        let (fs, path) = (self.clone(), path.clone());
        work(move || {
            if !options.create {
                return Err(FsError::NotFound);
            }
            let location = location(&path)?.ok_or(FsError::Exists)?;
            let parent = location.parent();
            match fs.handle.stat(parent.as_ref()) {
                Ok(Some(parent)) if parent.is_directory => {}
                Ok(_) => return Err(FsError::NotFound),
                Err(_) => return Err(FsError::GeneralFailure),
            }
            if !fs.share.hold_locked(location.as_str()) {
                return Err(FsError::InsufficientStorage);
            }
            Ok(Box::new(Nothing) as Box<dyn DavFile>)
        })
    }

    fn read_dir<'a>(
        &'a self,
        _path: &'a DavPath,
        _meta: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        Box::pin(ready(Err(FsError::NotImplemented)))
    }

    fn metadata<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        let (fs, path) = (self.clone(), path.clone());
        work(move || fs.meta(&path).map(|meta| Box::new(meta) as Box<dyn DavMetaData>))
    }

    fn create_dir<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, ()> {
        let (fs, path) = (self.clone(), path.clone());
        work(move || {
            let Some(location) = location(&path)? else { return Err(FsError::Exists) };
            if fs.share.placeholder(location.as_str()).is_some() {
                return Err(FsError::Exists);
            }
            fs.handle.make_directory(&location).map_err(|error| match &error {
                ReceiveError::Incoming(IncomingError::Exists(_)) => FsError::Exists,
                ReceiveError::Incoming(IncomingError::NoDirectory(_)) => FsError::NotFound,
                ReceiveError::Incoming(IncomingError::Io { source, .. }) => {
                    let out_of_space = matches!(source.raw_os_error(), Some(code) if
                        [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT].iter().any(|errno| errno.raw_os_error() == code));
                    tracing::error!("cannot answer MKCOL: {}", crate::serve::error::ServeError::from(error).words());
                    if out_of_space { FsError::InsufficientStorage } else { FsError::GeneralFailure }
                }
                _ => FsError::Forbidden,
            })
        })
    }

    fn have_props<'a>(
        &'a self,
        _path: &'a DavPath,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(true))
    }

    fn patch_props<'a>(
        &'a self,
        path: &'a DavPath,
        patch: Vec<(bool, DavProp)>,
    ) -> FsFuture<'a, Vec<(StatusCode, DavProp)>> {
        let (fs, path) = (self.clone(), path.clone());
        work(move || {
            let location = location(&path)?;
            let patches: Vec<Patch> = patch.iter().map(|(set, prop)| instruction(*set, prop)).collect();
            let status = match fs.handle.patch_properties(location.as_ref(), &patches) {
                Ok(()) => StatusCode::OK,
                Err(PropertiesError::Full) => StatusCode::INSUFFICIENT_STORAGE,
                Err(error) => {
                    tracing::error!("cannot keep properties: {error}");
                    return Err(FsError::GeneralFailure);
                }
            };
            Ok(patch.into_iter().map(|(_, prop)| (status, DavProp { xml: None, ..prop })).collect())
        })
    }
}

fn instruction(set: bool, prop: &DavProp) -> Patch {
    let (namespace, name) = (prop.namespace.clone().unwrap_or_default(), prop.name.clone());
    match (set, &prop.xml) {
        (true, Some(xml)) => Patch::Set(Property { namespace, name, xml: without_declaration(xml) }),
        _ => Patch::Remove { namespace, name },
    }
}

/// The element without the `<?xml …?>` that dav-server puts before it.
fn without_declaration(xml: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(xml);
    let text = text.trim_start();
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, element)) => element.trim_start().as_bytes().to_vec(),
        None => text.as_bytes().to_vec(),
    }
}

/// What LOCK opens to make a name, and closes again.
#[derive(Debug)]
struct Nothing;

fn refused<'a, T: Send + 'a>() -> FsFuture<'a, T> {
    Box::pin(ready(Err(FsError::Forbidden)))
}

impl DavFile for Nothing {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        refused()
    }

    fn write_buf(&'_ mut self, _buf: Box<dyn bytes::Buf + Send>) -> FsFuture<'_, ()> {
        refused()
    }

    fn write_bytes(&'_ mut self, _buf: bytes::Bytes) -> FsFuture<'_, ()> {
        refused()
    }

    fn read_bytes(&'_ mut self, _count: usize) -> FsFuture<'_, bytes::Bytes> {
        refused()
    }

    fn seek(&'_ mut self, _pos: std::io::SeekFrom) -> FsFuture<'_, u64> {
        refused()
    }

    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        refused()
    }
}
