//! 207: what failed in a change of many.

use hyper::StatusCode;

use super::XML;
use super::xml::escape;
use crate::package::Location;
use crate::repository::receive::ReceiveError;
use crate::serve::{Answer, encode_path, receive_status, receive_words, text};

const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n";

/// Names every member that could not be changed, with its status and the reason. `url` is the repository's, encoded.
pub(super) fn failures(url: &str, failed: &[(Location, ReceiveError)]) -> Answer {
    let mut out = BEGIN.to_owned();
    for (location, error) in failed {
        out.push_str("<D:response><D:href>");
        escape(&mut out, &format!("{url}{}", encode_path(location.as_str())));
        out.push_str("</D:href><D:status>HTTP/1.1 ");
        out.push_str(&receive_status(error).to_string());
        out.push_str("</D:status><D:responsedescription>");
        escape(&mut out, &receive_words(error));
        out.push_str("</D:responsedescription></D:response>\n");
    }
    out.push_str("</D:multistatus>\n");
    text(StatusCode::MULTI_STATUS, XML, out)
}
