//! updateinfo: advisories, and which packages mend what they tell of. Checked and carried through.
//!
//! Read as a stream: one advisory's tag or text is all that is in memory. The format has no document of
//! its own; what is insisted on here is what libsolv, through which dnf and zypper read it, goes by.

use std::io::BufRead;

use super::FormatError;
use super::outline::{Met, attribute, walk};

/// Checks an updateinfo file, uncompressed, to its end.
pub fn check(source: impl BufRead) -> Result<(), FormatError> {
    // Of the innermost <update>.
    let mut id = None;
    walk("updateinfo.xml", source, |path, met| {
        let [root, rest @ ..] = path else { return Ok(()) };
        match (rest, met) {
            ([], Met::Open(_)) if root != "updates" => {
                Err(format!("its root element is <{root}> where <updates> was expected"))
            }
            ([kind], Met::Open(_)) if kind == "update" => {
                id = None;
                Ok(())
            }
            ([kind, name], Met::Close(text)) if kind == "update" && name == "id" => {
                if text.is_empty() {
                    return Err("the <id> of an <update> is empty".into());
                }
                id = Some(text.to_owned());
                Ok(())
            }
            ([kind], Met::Close(_)) if kind == "update" && id.is_none() => {
                Err("an <update> has no <id>, by which clients know it".into())
            }
            ([_, list, collection, package], Met::Open(tag))
                if list == "pkglist" && collection == "collection" && package == "package" =>
            {
                let missing = ["name", "version", "release", "arch"]
                    .into_iter()
                    .find(|name| attribute(tag, name).is_none_or(|value| value.is_empty()));
                match missing {
                    Some(name) => {
                        let id = id.as_deref().unwrap_or("?");
                        Err(format!("a <package> of {id:?} has no {name}, so clients cannot match it"))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATES: &str = "<?xml version=\"1.0\"?>
<updates>
<update from=\"me@example.com\" status=\"stable\" type=\"security\" version=\"1\">
  <id>FOO-2024:1</id>
  <title>foo</title>
  <issued date=\"2024-01-02 03:04:05\"/>
  <references><reference href=\"https://example.com/?a=1&amp;b=2\" id=\"CVE-2024-1\" type=\"cve\"/></references>
  <pkglist><collection short=\"F\"><name>F</name>
    <package name=\"foo\" epoch=\"0\" version=\"1\" release=\"2\" arch=\"noarch\" src=\"foo.src.rpm\">
      <filename>foo-1-2.noarch.rpm</filename>
    </package>
  </collection></pkglist>
</update>
</updates>
";

    fn refused(from: &str, to: &str) -> String {
        assert!(UPDATES.contains(from));
        check(UPDATES.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn advisories_pass() {
        check(UPDATES.as_bytes()).unwrap();
        check(&b"<updates></updates>"[..]).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, why) in [
            ("<id>FOO-2024:1</id>", "", "line 13: an <update> has no <id>"),
            ("FOO-2024:1", "", "line 4: the <id> of an <update> is empty"),
            ("arch=\"noarch\"", "", "line 9: a <package> of \"FOO-2024:1\" has no arch"),
            ("name=\"foo\"", "name=\"\"", "line 9: a <package> of \"FOO-2024:1\" has no name"),
            ("&amp;", "&", "line 7: "),
            ("</pkglist>", "", "line 13: "),
        ] {
            let error = refused(from, to);
            assert!(error.starts_with("malformed updateinfo.xml: ") && error.contains(why), "{to}: {error}");
        }
        let error = check(&b"<comps/>"[..]).unwrap_err().to_string();
        assert!(error.contains("line 1: its root element is <comps> where <updates>"), "{error}");
    }

    /// The same bytes over and over.
    struct Again<'a> {
        bytes: &'a [u8],
        at: usize,
        left: usize,
    }

    impl std::io::Read for Again<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.at == self.bytes.len() && self.left > 0 {
                (self.at, self.left) = (0, self.left - 1);
            }
            let len = buffer.len().min(self.bytes.len() - self.at);
            buffer[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
            self.at += len;
            Ok(len)
        }
    }

    #[test]
    fn twenty_thousand_advisories_are_never_in_memory_together() {
        use std::io::{BufReader, Read};
        let one = UPDATES.lines().skip(2).take(11).collect::<Vec<_>>().join("\n");
        let many = Again { bytes: one.as_bytes(), at: 0, left: 20_000 };
        let file = b"<updates>".chain(many);
        let error = check(BufReader::new(file)).unwrap_err().to_string();
        assert!(error.contains("line 200011: it ends before </updates>"), "{error}");
    }
}
