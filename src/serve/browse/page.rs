//! What every page has: its head, its style, and a policy that lets nothing else in.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
};
use hyper::{HeaderMap, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::escape;
use crate::serve::accept::{self, Form};
use crate::serve::answer::{Answer, AnswerBody, made, set, text};

const STYLE: &str = include_str!("style.css");
pub const HTML: &str = "text/html; charset=utf-8";
pub const JSON: &str = "application/json";

/// Only the one style we wrote. It stands in the page, so that a page needs no second request and no
/// path of its own behind a proxy.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        base64(&Sha256::digest(STYLE))
    )
});

/// RFC 4648 section 4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let known = digit <= group.len();
            out.push(if known { DIGITS[(bits >> (18 - 6 * digit) & 63) as usize].into() } else { '=' });
        }
    }
    out
}

/// Everything up to the content. `title` is escaped here, `crumbs` and what follows are markup.
pub(super) fn head(title: &str, crumbs: &str) -> String {
    let title = escape(title);
    let nav =
        if crumbs.is_empty() { String::new() } else { format!("<header><nav>{crumbs}</nav></header>\n") };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{nav}<main>\n"
    )
}

/// Everything after the content.
pub(super) const FOOT: &str =
    concat!("</main>\n<footer>createrepod ", env!("CARGO_PKG_VERSION"), "</footer>\n</body>\n</html>\n");

/// The way from the list of repositories to a folder, as links relative to it. `parts` are names, the
/// last is where we are; `up` is how many folders the first lies above the last.
pub(super) fn crumbs(parts: &[(&str, usize)]) -> String {
    let mut out = String::new();
    for (at, (name, up)) in parts.iter().enumerate() {
        if at > 0 {
            out.push_str(" / ");
        }
        match up {
            0 => out.push_str(&escape(name)),
            up => out.push_str(&format!("<a href=\"{}\">{}</a>", "../".repeat(*up), escape(name))),
        }
    }
    out
}

/// A page that is whole.
pub(super) fn whole(status: StatusCode, html: String) -> Answer {
    dressed(text(status, HTML, html))
}

/// A page that is made while it is sent.
pub(super) fn streamed(chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Answer {
    dressed(made(StatusCode::OK, HTML, chunks))
}

/// A page with what every page has.
pub fn dressed(mut answer: Answer) -> Answer {
    set(&mut answer, CONTENT_SECURITY_POLICY, &POLICY);
    set(&mut answer, REFERRER_POLICY, "no-referrer");
    changing(answer)
}

/// Nobody keeps it without asking, and the form depends on who asks.
pub(super) fn changing(mut answer: Answer) -> Answer {
    set(&mut answer, CACHE_CONTROL, "no-cache");
    set(&mut answer, VARY, "Accept");
    answer
}

/// A refusal in the form its client reads; `words` is one line. Headers that say more are kept.
pub fn refusal(mut answer: Answer, words: &str, headers: &HeaderMap) -> Answer {
    let status = answer.status();
    let (media_type, body) = match accept::refusal(headers) {
        Form::Text => return answer,
        Form::Json => (JSON, format!("{}\n", json!({ "status": status.as_u16(), "error": words }))),
        Form::Html => {
            let title = status.canonical_reason().unwrap_or("Refused");
            let body = format!(
                "{}<h1>{title}</h1>\n<p>{}</p>\n<p class=\"soft\">HTTP status {}</p>\n{FOOT}",
                head(title, ""),
                escape(words),
                status.as_u16()
            );
            set(&mut answer, CONTENT_SECURITY_POLICY, &POLICY);
            set(&mut answer, REFERRER_POLICY, "no-referrer");
            (HTML, body)
        }
    };
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CONTENT_LENGTH, &body.len().to_string());
    set(&mut answer, VARY, "Accept");
    *answer.body_mut() = AnswerBody::Bytes(body.into());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_the_one_the_policy_allows() {
        assert_eq!(base64(b""), "");
        assert_eq!(
            [base64(b"f"), base64(b"fo"), base64(b"foo"), base64(&[255; 4])],
            ["Zg==", "Zm8=", "Zm9v", "/////w=="]
        );
        assert_eq!(
            POLICY.split('\'').filter(|part| part.starts_with("sha256-") && part.len() == 51).count(),
            1
        );
        // An end tag in it would end it.
        assert!(!STYLE.contains("</") && !STYLE.contains("url("));
    }
}
