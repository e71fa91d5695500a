//! `--no-pretty`: an entry without the white space between its elements.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Leaves out white space that is no element's content; the newline at the end stays.
pub(super) fn compact(entry: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(entry) else { return entry.to_vec() };
    let mut reader = Reader::from_str(text);
    let mut out = Vec::with_capacity(entry.len());
    let mut from = 0;
    let mut opened = false;
    let mut waiting: Option<&str> = None;
    loop {
        let event = reader.read_event();
        let to = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
        let raw = text.get(from..to).unwrap_or_default();
        from = to;
        match event {
            // Ours, or read before: it is well-formed.
            Err(_) => return entry.to_vec(),
            Ok(Event::Eof) => break,
            Ok(Event::Text(_)) if raw.trim().is_empty() => {
                waiting = opened.then_some(raw);
                continue;
            }
            Ok(Event::End(_)) => {
                // White space between a tag and its end is content: <name> </name>.
                out.extend_from_slice(waiting.take().unwrap_or_default().as_bytes());
                opened = false;
            }
            Ok(Event::Start(_)) => opened = true,
            Ok(_) => opened = false,
        }
        waiting = None;
        out.extend_from_slice(raw.as_bytes());
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_that_is_content_stays() {
        let entry = b"<package type=\"rpm\">\n  <name>a</name>\n  <summary> </summary>\n  <d> a\n &amp; b </d>\n  <e/>\n  <f>\n    <g/>\n  </f>\n</package>\n";
        let wanted = "<package type=\"rpm\"><name>a</name><summary> </summary><d> a\n &amp; b </d><e/><f><g/></f></package>\n";
        assert_eq!(String::from_utf8(compact(entry)).unwrap(), wanted);
    }
}
