//! MKCOL and PROPPATCH, which dav-server answers over our tree. What it is given was checked: a path that is the repository's, an
//! `If` header that holds, locks that allow it, and a body of which its tree stays small.

use dav_server::DavHandler;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::filesystem::TreeFs;
use super::{Context, Target, proppatch};
use crate::repository::properties::{Patch, PropertiesError};
use crate::serve::error::ServeError;
use crate::serve::{Answer, AnswerBody, FOLDER, PLAIN, changing, set, text};

/// Headers that dav-server reads, as the client sent them.
const PASSED: [&str; 5] =
    ["user-agent", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// Has dav-server answer.
pub(super) async fn hand_off(
    context: &Context<'_>,
    target: &Target,
    body: Vec<u8>,
) -> Result<Answer, ServeError> {
    let method = &context.parts.method;
    let (steps, _tree) = match method == "PROPPATCH" {
        true => (proppatch::steps(&body)?, Some(context.server.shares.places.tree().await?)),
        false => (Vec::new(), None),
    };
    let fs = TreeFs {
        handle: context.handle.clone(),
        share: context.share.clone(),
        holder: context.holder(),
        steps: steps.into(),
    };
    let mount = context.href("");
    let handler = DavHandler::builder()
        .filesystem(Box::new(fs.clone()))
        .strip_prefix(percent_decode_str(&mount).decode_utf8_lossy())
        .build_handler();
    let request = request(context, target, method, body)?;
    let (parts, body) = handler.handle(request).await.into_parts();
    let body = body.collect().await.map_err(|error| ServeError::internal("answer in XML", error))?.to_bytes();
    if parts.status == StatusCode::METHOD_NOT_ALLOWED {
        let why = "something has this name already".into();
        return Err(ServeError::MethodNotAllowed { allow: FOLDER, why });
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        return Ok(text(parts.status, PLAIN, format!("{}\n", words(parts.status))));
    }
    // Where one is refused, such as a value that is no text, none is carried out.
    let says = |status: &str| String::from_utf8_lossy(&body).matches(status).count();
    let is_all_done = says("HTTP/1.1 ") == says("HTTP/1.1 200 ");
    if is_all_done && !fs.steps.is_empty() && fs.steps.iter().all(is_left_to_us) {
        carry_out_quietly(fs, target).await?;
    }
    let length = body.len().to_string();
    let mut answer = Answer::new(AnswerBody::Bytes(body));
    *answer.status_mut() = parts.status;
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    set(&mut answer, CONTENT_LENGTH, &length);
    Ok(answer)
}

/// What dav-server says is done, but does not pass on where nothing else is to be done.
fn is_left_to_us(step: &Patch) -> bool {
    const WINDOWS: [&str; 4] =
        ["Win32CreationTime", "Win32FileAttributes", "Win32LastAccessTime", "Win32LastModifiedTime"];
    match step {
        Patch::Remove { namespace, name } => {
            namespace == "DAV:" && ["displayname", "getcontentlanguage"].contains(&name.as_str())
        }
        Patch::Set(property) => {
            property.namespace == "urn:schemas-microsoft-com:" && WINDOWS.contains(&property.name.as_str())
        }
    }
}

async fn carry_out_quietly(fs: TreeFs, target: &Target) -> Result<(), ServeError> {
    let location = target.location.clone();
    let removed = changing("keep properties", move || fs.carry_out(location.as_ref())).await?;
    removed.map_err(|error| match error {
        PropertiesError::Full => ServeError::NoRoom(words(StatusCode::INSUFFICIENT_STORAGE).into()),
        error => ServeError::internal("keep properties", error),
    })
}

fn request(
    context: &Context<'_>,
    target: &Target,
    method: &Method,
    body: Vec<u8>,
) -> Result<Request<Full<bytes::Bytes>>, ServeError> {
    let failed = |error: hyper::http::Error| ServeError::internal("pass a request on", error);
    let path = context.href(target.place());
    let uri: Uri = path.parse().map_err(|error: hyper::http::uri::InvalidUri| failed(error.into()))?;
    let mut request = Request::builder().method(method.clone()).uri(uri);
    for name in PASSED {
        for value in context.parts.headers.get_all(name) {
            request = request.header(name, value);
        }
    }
    request.body(Full::new(body.into())).map_err(failed)
}

fn words(status: StatusCode) -> &'static str {
    match status {
        StatusCode::CONFLICT => "the folder this would be in does not exist; make it first",
        StatusCode::PRECONDITION_FAILED => {
            "a condition this request made (If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since) is not met"
        }
        StatusCode::BAD_REQUEST => {
            "the request is malformed: a header or the body is missing or cannot be read"
        }
        StatusCode::NOT_FOUND => "there is nothing at this URL",
        StatusCode::INSUFFICIENT_STORAGE => "there is no room for this",
        StatusCode::FORBIDDEN => "this is not allowed here",
        _ => "the server failed; its log says why",
    }
}
