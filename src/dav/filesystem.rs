//! A repository's tree as dav-server sees it: enough for MKCOL and PROPPATCH. No file is opened, listed or removed through it.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavFileSystem, DavMetaData, DavProp, FsError, FsFuture, FsResult, FsStream,
    OpenOptions, ReadDirMeta,
};
use hyper::StatusCode;

use super::share::Share;
use crate::auth::{FewLines, Holder};
use crate::package::Location;
use crate::repository::Handle;
use crate::repository::browse::Listed;
use crate::repository::properties::{Patch, PropertiesError, RESOURCE_LIMIT};
use crate::repository::receive::{IncomingError, ReceiveError};
use crate::serve::error::ServeError;
use crate::serve::{Validators, changing};

/// One repository, for one request.
#[derive(Clone)]
pub(super) struct TreeFs {
    pub(super) handle: Handle,
    pub(super) share: Arc<Share>,
    /// To whose share properties count.
    pub(super) holder: Holder,
    /// What a PROPPATCH sets and removes, in its order.
    pub(super) steps: Arc<[Patch]>,
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
    match String::from_utf8_lossy(path.as_bytes()).trim_matches('/') {
        "" => Ok(None),
        place => Location::parse(place).map(Some).map_err(|_| FsError::Forbidden),
    }
}

/// Lines about what failed, few in sum.
static FAILED: FewLines = FewLines::new();

/// Does blocking work where it may block.
fn work<'a, T: Send + 'static>(work: impl FnOnce() -> FsResult<T> + Send + 'static) -> FsFuture<'a, T> {
    Box::pin(async move { changing("change the tree", work).await.unwrap_or(Err(FsError::GeneralFailure)) })
}

impl TreeFs {
    fn meta(&self, path: &DavPath) -> FsResult<Meta> {
        let location = location(path)?;
        match self.handle.stat(location.as_ref()) {
            Ok(Some(listed)) => Ok(Meta::Real(listed)),
            Ok(None) => {
                let place = location.as_ref().map_or("", Location::as_str);
                self.share.placeholder(place).map(Meta::Empty).ok_or(FsError::NotFound)
            }
            Err(_) => Err(FsError::GeneralFailure),
        }
    }

    /// Sets and removes what the request wants, all of it or nothing. Blocking.
    pub(super) fn carry_out(&self, location: Option<&Location>) -> Result<(), PropertiesError> {
        if self.steps.iter().map(Patch::len).sum::<usize>() as u64 > RESOURCE_LIMIT {
            return Err(PropertiesError::Full);
        }
        self.handle.patch_properties(location, &self.steps, &self.holder)
    }
}

impl DavFileSystem for TreeFs {
    fn open<'a>(&'a self, _path: &'a DavPath, _options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(ready(Err(FsError::NotImplemented)))
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
                ReceiveError::Incoming(IncomingError::Io { .. }) => {
                    let error = ServeError::from(error);
                    if let Some(left_out) = FAILED.one() {
                        let cause = error.cause().unwrap_or_else(|| error.words());
                        tracing::error!("cannot answer MKCOL: {cause}{left_out}");
                    }
                    match error.status() {
                        StatusCode::INSUFFICIENT_STORAGE => FsError::InsufficientStorage,
                        _ => FsError::GeneralFailure,
                    }
                }
                _ => FsError::Forbidden,
            })
        })
    }

    fn have_props<'a>(&'a self, _path: &'a DavPath) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(true))
    }

    /// Carries out the steps of the request: dav-server has found that all of them are allowed. Its own rendering of the values
    /// is not taken, since it loses the prefixes of attributes, `xml:lang` among them.
    fn patch_props<'a>(
        &'a self,
        path: &'a DavPath,
        patch: Vec<(bool, DavProp)>,
    ) -> FsFuture<'a, Vec<(StatusCode, DavProp)>> {
        let (fs, path) = (self.clone(), path.clone());
        work(move || {
            let status = match fs.carry_out(location(&path)?.as_ref()) {
                Ok(()) => StatusCode::OK,
                Err(PropertiesError::Full) => StatusCode::INSUFFICIENT_STORAGE,
                Err(error) => {
                    if let Some(left_out) = FAILED.one() {
                        tracing::error!("cannot keep properties: {error}{left_out}");
                    }
                    return Err(FsError::GeneralFailure);
                }
            };
            Ok(patch.into_iter().map(|(_, prop)| (status, DavProp { xml: None, ..prop })).collect())
        })
    }
}
