//! The methods that dav-server answers: PROPPATCH, MKCOL, LOCK and UNLOCK. What it is given has been
//! checked: a body it can build a tree of, a path that is the repository's, an `If` header that holds.

use bytes::Bytes;
use dav_server::DavHandler;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};

use super::filesystem::TreeFs;
use super::{Context, Target, xml};
use crate::serve::error::ServeError;
use crate::serve::{Answer, AnswerBody, PLAIN, encode_path, set, text};

/// Headers that dav-server reads, as the client sent them.
const PASSED: [&str; 8] = [
    "depth",
    "timeout",
    "lock-token",
    "user-agent",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

/// Bytes of what a lock keeps in memory for its owner.
const LOCK_BODY: usize = 8 << 10;

/// Has dav-server answer. `tokens` are the lock tokens that the `If` header submits.
pub(super) async fn hand_off(
    context: &Context<'_>,
    target: &Target,
    tokens: &[String],
    body: Bytes,
) -> Result<Answer, ServeError> {
    let method = &context.parts.method;
    if !body.is_empty() {
        if method == "MKCOL" {
            return Err(ServeError::UnsupportedMediaType("MKCOL takes no body; leave it out".into()));
        }
        if method == "LOCK" && body.len() > LOCK_BODY {
            return Err(ServeError::BodyTooLarge { limit: LOCK_BODY as u64 });
        }
        xml::elements(&body)?;
    }
    let handler = DavHandler::builder()
        .filesystem(Box::new(TreeFs { handle: context.handle.clone(), share: context.share.clone() }))
        .locksystem(Box::new(context.share.locks.clone()))
        .strip_prefix(context.mount.config.url.clone())
        .build_handler();
    let request = request(context, target, tokens, method, body)?;
    let (parts, body) = handler.handle(request).await.into_parts();
    let body = body.collect().await.map_err(|error| ServeError::internal("answer in XML", error))?.to_bytes();
    if body.is_empty() && (parts.status.is_client_error() || parts.status.is_server_error()) {
        return Ok(text(parts.status, PLAIN, format!("{}\n", words(method, parts.status))));
    }
    let length = body.len().to_string();
    let mut answer = Answer::new(AnswerBody::Bytes(body));
    *answer.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if [CONTENT_TYPE.as_str(), "lock-token"].contains(&name.as_str()) {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    if parts.status != StatusCode::NO_CONTENT {
        set(&mut answer, CONTENT_LENGTH, &length);
    }
    Ok(answer)
}

fn request(
    context: &Context<'_>,
    target: &Target,
    tokens: &[String],
    method: &Method,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ServeError> {
    let failed = |error: hyper::http::Error| ServeError::internal("pass a request on", error);
    let path = format!("{}{}", encode_path(&context.mount.config.url), encode_path(target.place()));
    let uri: Uri = path.parse().map_err(|error: hyper::http::uri::InvalidUri| failed(error.into()))?;
    let mut request = Request::builder().method(method.clone()).uri(uri);
    for name in PASSED {
        for value in context.parts.headers.get_all(name) {
            request = request.header(name, value);
        }
    }
    if !tokens.is_empty() {
        // The conditions were seen to; the tokens are what is left to know.
        let lists: String = tokens.iter().map(|token| format!("(<{token}>)")).collect();
        request = request.header("if", lists);
    }
    request.body(Full::new(body)).map_err(failed)
}

fn words(method: &Method, status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "something has this name already",
        StatusCode::CONFLICT if method == "UNLOCK" => "there is no such lock here",
        StatusCode::CONFLICT => "the folder this would be in does not exist; make it first",
        StatusCode::LOCKED => {
            "somebody else has locked this; wait, or submit the lock's token in an If header"
        }
        StatusCode::PRECONDITION_FAILED => {
            "a condition this request made (If, If-Match, If-None-Match) is not met"
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
