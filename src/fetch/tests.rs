use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// A server that gives each connection the next answer; returns its address.
fn server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn get_from(answers: &[&str], limit: u64) -> Result<String, FetchError> {
    let address = server(answers.iter().map(|&answer| answer.to_owned()).collect());
    let mut text = Vec::new();
    get(&format!("http://{address}/a/b"), limit, &mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_file_comes_also_by_way_of_redirections() {
    assert_eq!(get_from(&[OK], 5).unwrap(), "hello");
    let moved = |to: &str| format!("HTTP/1.1 301 M\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(get_from(&[&moved("/c"), &moved("d?e"), OK], 9).unwrap(), "hello");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    assert_eq!(get_from(&[chunked], 5).unwrap(), "hello");
}

#[test]
fn what_goes_wrong_is_said() {
    let error = |answers: &[&str], limit| get_from(answers, limit).unwrap_err().to_string();
    assert!(error(&[OK], 4).contains("longer than 4 bytes"));
    assert!(error(&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], 9).contains("404 Not Found"));
    assert!(error(&["HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"], 9).contains("302"));
    let round = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
    assert!(error(&[round; 10], 9).contains("more than 10 redirections"));
    assert!(!error(&["HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"], 99).is_empty());
    for url in ["ftp://h/x", "h/x", "http:///x", "http://"] {
        let error = get(url, 1, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, FetchError::Url { .. }), "{url}: {error}");
    }
}

#[test]
fn redirections_are_relative_to_where_they_stand() {
    let target = Target::parse("https://h:444/a/b/c?q").unwrap();
    for (there, wanted) in [
        ("http://i/x", "http://i/x"),
        ("//i/x", "https://i/x"),
        ("/x", "https://h:444/x"),
        ("x?y", "https://h:444/a/b/x?y"),
    ] {
        assert_eq!(target.resolve(there).unwrap().url, wanted);
    }
}
