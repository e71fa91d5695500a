//! comps: groups, categories and environments of packages, as `dnf group` shows them. Checked and
//! carried through.
//!
//! The format: the RELAX NG schema of <https://github.com/rpm-software-management/libcomps>.

use std::io::BufRead;

use super::FormatError;
use super::outline::{Met, walk};

/// Checks a comps file, uncompressed, to its end.
pub fn check(source: impl BufRead) -> Result<(), FormatError> {
    // Of the innermost <group>, <category> or <environment>.
    let mut id = None;
    walk("comps.xml", source, |path, met| {
        let [root, rest @ ..] = path else { return Ok(()) };
        match (rest, met) {
            ([], Met::Open(_)) if root != "comps" => {
                Err(format!("its root element is <{root}> where <comps> was expected"))
            }
            ([kind], Met::Open(_)) if has_id(kind) => {
                id = None;
                Ok(())
            }
            ([kind, name], Met::Close(text)) if has_id(kind) && name == "id" => {
                if text.is_empty() {
                    return Err(format!("the <id> of a <{kind}> is empty"));
                }
                id = Some(text.to_owned());
                Ok(())
            }
            ([kind], Met::Close(_)) if has_id(kind) && id.is_none() => {
                Err(format!("a <{kind}> has no <id>, by which clients know it"))
            }
            _ => Ok(()),
        }
    })
}

fn has_id(kind: &str) -> bool {
    matches!(kind, "group" | "category" | "environment")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE comps PUBLIC \"-//Red Hat, Inc.//DTD Comps info//EN\" \"comps.dtd\">
<comps>
  <group>
    <id>core</id>
    <name>Core &amp; more</name>
    <name xml:lang=\"de\">Kern</name>
    <packagelist>
      <packagereq type=\"mandatory\">bash</packagereq>
    </packagelist>
  </group>
  <environment><id>minimal</id><grouplist><groupid>core</groupid></grouplist></environment>
  <langpacks><match install=\"aspell-%s\" name=\"aspell\"/></langpacks>
</comps>
";

    fn refused(from: &str, to: &str) -> String {
        assert!(COMPS.contains(from));
        check(COMPS.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_comps_file_passes() {
        check(COMPS.as_bytes()).unwrap();
        check(&b"<comps/>"[..]).unwrap();
        // Clients pass over it.
        check(COMPS.replacen(">bash<", "><", 1).as_bytes()).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, why) in [
            ("<id>core</id>", "", "line 11: a <group> has no <id>"),
            ("<id>core</id>", "<id> </id>", "line 5: the <id> of a <group> is empty"),
            ("</group>", "", "line 14: </comps> where </group> was expected"),
            ("</comps>\n", "", "line 14: it ends before </comps>"),
            ("&amp;", "&nbsp;", "line 6: &nbsp; stands for nothing"),
            ("&amp;", "&", "line 6: "),
            ("&amp;", "&#1;", "line 6: &#1; is no character"),
            ("&amp;", "\u{1}", "line 6: the character U+0001"),
            ("xml:lang=\"de\"", "a=\"1\" a=\"2\"", "line 7: "),
            ("xml:lang=\"de\"", "a=\"<\"", "line 7: < in the value of a"),
            ("</comps>", "</comps><comps/>", "line 14: a second root"),
            ("</comps>", "</comps>x", "line 14: text outside"),
            ("UTF-8", "ISO-8859-1", "line 1: its encoding is ISO-8859-1"),
            ("<group>", "<1>", "line 4: \"1\" is no name"),
        ] {
            let error = refused(from, to);
            assert!(error.starts_with("malformed comps.xml: ") && error.contains(why), "{to}: {error}");
        }
        let error = check(&b"<metadata/>"[..]).unwrap_err().to_string();
        assert!(error.contains("line 1: its root element is <metadata> where <comps>"), "{error}");
        assert!(check(&b""[..]).unwrap_err().to_string().contains("no element at all"));
        assert!(check(&b"<comps>\xff</comps>"[..]).is_err());
    }

    #[test]
    fn entities_that_laugh_a_billion_times_are_not_expanded() {
        let mut dtd = String::from("<!ENTITY a0 \"ha\">");
        (1..40).for_each(|i| dtd.push_str(&format!("<!ENTITY a{i} \"&a{};&a{};\">", i - 1, i - 1)));
        let error = refused("\"comps.dtd\"", &format!("\"comps.dtd\" [{dtd}]"));
        assert!(error.contains("line 2: it declares entities"), "{error}");
    }

    #[test]
    fn memory_is_bounded_by_what_one_element_may_hold() {
        // A text of 32 GiB that nobody has to hold to refuse it.
        use std::io::{BufReader, Read};
        let endless = b"<comps><group><id>".chain(std::io::repeat(b'x').take(32 << 30));
        let error = check(BufReader::new(endless)).unwrap_err().to_string();
        assert!(error.contains("longer than 10000000 bytes"), "{error}");
        let deep = "<a>".repeat(100_000);
        let error = check(format!("<comps>{deep}").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("deeper than 64"), "{error}");
    }
}
