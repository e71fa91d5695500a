//! In which form a client wants its answer. Pure.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// What people, programs and terminals read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Html,
    Json,
    Text,
}

/// The form of a page: HTML, unless JSON is preferred by name.
pub fn page(headers: &HeaderMap) -> Form {
    match (weight(headers, "text/html"), weight(headers, "application/json")) {
        (html, json) if json > html => Form::Json,
        _ => Form::Html,
    }
}

/// The form of a refusal: plain text, unless another is asked for by name.
pub fn refusal(headers: &HeaderMap) -> Form {
    match (weight(headers, "text/html"), weight(headers, "application/json")) {
        (0, 0) => Form::Text,
        (html, json) if json > html => Form::Json,
        _ => Form::Html,
    }
}

/// The weight of a media type that is named, in thousandths; 0 when it is not.
fn weight(headers: &HeaderMap, media_type: &str) -> u32 {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = lists.flat_map(|list| list.split(','));
    let weights = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(media_type) {
            return None;
        }
        let stated = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight: f32 = stated.map_or(Some(1.0), |q| q.trim().parse().ok())?;
        Some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
    });
    weights.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(accept: Option<&'static str>) -> (Form, Form) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        (page(&headers), refusal(&headers))
    }

    #[test]
    fn everybody_gets_what_they_can_read() {
        use Form::{Html, Json, Text};
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, expected) in [
            (None, (Html, Text)),
            (Some("*/*"), (Html, Text)),
            (Some(browser), (Html, Html)),
            (Some("application/json"), (Json, Json)),
            (Some("APPLICATION/JSON; q=0.5, text/html;q=0.4"), (Json, Json)),
            (Some("application/json, text/html"), (Html, Html)),
            (Some("application/json;q=0"), (Html, Text)),
            (Some("text/html;q=x, application/jsonx"), (Html, Text)),
            (Some("application/json;q=nan"), (Html, Text)),
        ] {
            assert_eq!(forms(accept), expected, "{accept:?}");
        }
    }
}
