use std::collections::HashMap;

use http_body_util::BodyExt;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::*;
use crate::repository::browse::{Listed, Neighbour};
use crate::serve::accept::Form;
use crate::serve::answer::Answer;
use crate::tree::FileStamp;

const EVIL: &str = "\"><script>alert(1)</script>'\u{202e}.rpm";

fn body(answer: Answer) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn listed(name: &str, is_directory: bool, size: u64) -> Listed {
    let stamp = FileStamp { inode: 1, size, mtime_ns: 0, ctime_ns: 0 };
    Listed { name: name.into(), is_directory, stamp }
}

fn list(place: &Place<'_>, listed: Vec<Listed>, known: Vec<(&str, Neighbour)>, form: Form) -> Answer {
    let known: HashMap<_, _> = known.into_iter().map(|(name, known)| (name.to_owned(), known)).collect();
    index(place, listed, known, Order::of(None), form, None)
}

#[test]
fn no_word_of_a_package_becomes_markup() {
    let known = Neighbour { name: EVIL.into(), version: EVIL.into(), arch: EVIL.into(), rejected: None };
    let rejected = Neighbour { rejected: Some(EVIL.into()), ..Neighbour::default() };
    let place = Place { repository: EVIL, url: &format!("/{EVIL}/"), path: EVIL, causes: true };
    let files = || vec![listed(EVIL, false, 1), listed("b.rpm", false, 1), listed(EVIL, true, 0)];
    let answer = list(&place, files(), vec![(EVIL, known.clone()), ("b.rpm", rejected.clone())], Form::Html);
    let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = body(answer);
    assert!(!page.contains("<script") && !page.contains("\">'") && !page.contains('\u{202e}'), "{page}");
    assert!(page.contains("&lt;script&gt;") && page.contains("href=\"%22%3E%3Cscript"));

    let json = list(&place, files(), vec![(EVIL, known), ("b.rpm", rejected)], Form::Json);
    assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
    let value: serde_json::Value = serde_json::from_str(&body(json)).unwrap();
    assert_eq!(
        (&value["entries"][0]["type"], &value["entries"][2]["name"]),
        (&"directory".into(), &"b.rpm".into())
    );
    assert_eq!(value["entries"][1]["package"]["version"], EVIL);
    assert_eq!(value["entries"][2]["package"]["reason"], EVIL);

    let shown = Shown { name: EVIL.into(), url: format!("/{EVIL}/"), state: State::Indexing };
    let page = body(front(&[shown], Form::Html, EVIL));
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
}

#[test]
fn links_lead_where_they_say() {
    let place = Place { repository: "rpm", url: "/el/9/", path: "sub dir/deeper", causes: true };
    let files = vec![listed("a:b+c#d%.rpm", false, 3 << 20), listed("x y", true, 0)];
    let page = body(list(&place, files, Vec::new(), Form::Html));
    assert!(page.contains("<a href=\"x%20y/\">x y/</a>"), "{page}");
    assert!(page.contains("<a href=\"a%3Ab%2Bc%23d%25.rpm\">a:b+c#d%.rpm</a>"));
    assert!(page.contains("1970-01-01 00:00") && page.contains("3.0 MiB"));
    let crumbs = "<a href=\"../../../../\">repositories</a> / <a href=\"../../\">rpm</a> / <a href=\"../\">sub dir</a> / deeper";
    assert!(page.contains(crumbs) && page.contains("<a href=\"../\">../</a>"), "{page}");
    let top = Place { repository: "r", url: "/", path: "", causes: true };
    let page = body(list(&top, Vec::new(), Vec::new(), Form::Html));
    assert!(!page.contains("../") && page.contains("nothing here yet"), "the top has no parent");
}

#[test]
fn a_server_without_repositories_says_what_to_type() {
    let page = body(front(&[], Form::Html, "http://h"));
    assert!(page.contains("[repository.rpm]") && page.contains("createrepod config check"), "{page}");
    assert_eq!(body(front(&[], Form::Json, "http://h")).trim(), "{\"repositories\":[]}");
}

#[test]
fn a_refusal_is_told_in_the_form_that_is_read() {
    let refused = |accept: &'static str| {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("accept", accept.parse().unwrap());
        let plain = crate::serve::answer::text(hyper::StatusCode::CONFLICT, "text/plain", "x <y>\n");
        let answer = refusal(plain, "x <y>", &headers);
        assert_eq!(answer.status(), 409);
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let text = body(answer);
        assert_eq!(text.len(), length);
        text
    };
    assert_eq!(refused("*/*"), "x <y>\n");
    assert_eq!(refused("application/json"), "{\"error\":\"x <y>\",\"status\":409}\n");
    assert!(refused("text/html").contains("<p>x &lt;y&gt;</p>"));
}

#[test]
fn a_big_directory_comes_in_pieces() {
    let files = (0..10_000).map(|number| listed(&format!("p{number}.rpm"), false, number)).collect();
    let place = Place { repository: "rpm", url: "/rpm/", path: "", causes: true };
    let mut answer = list(&place, files, Vec::new(), Form::Html);
    let crate::serve::answer::AnswerBody::Chunks(chunks) = answer.body_mut() else { panic!("not in pieces") };
    let sizes: Vec<usize> = chunks.map(|chunk| chunk.len()).collect();
    assert!(sizes.len() > 50 && sizes.iter().all(|&size| size > 0 && size < 64 << 10), "{sizes:?}");
}
