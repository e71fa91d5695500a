//! A small HTTP/1.1 client that sends exactly what a test says, also what no sane client would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a path keeps as it is; `/` stays.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own. `path` is sent as it stands.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Response {
    try_send(address, method, path, headers, body)
        .unwrap_or_else(|error| panic!("{method} {path} got no answer: {error}"))
}

pub fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Response> {
    let mut stream = connect(address)?;
    let mut head = head(address, method, path, headers);
    if let Some(body) = body {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    // The server may answer, and close, before it has read everything.
    let sent = body.map_or(Ok(()), |body| stream.write_all(body));
    receive(stream, method).map_err(|error| sent.err().unwrap_or(error))
}

/// A request whose body comes in these pieces, with `Transfer-Encoding: chunked`.
pub fn send_chunked(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    pieces: &[&[u8]],
) -> Response {
    let mut stream = connect(address).unwrap();
    let head = head(address, method, path, headers) + "Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for piece in pieces {
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    receive(stream, method).unwrap()
}

/// Announces `length` bytes, sends `body` and leaves the connection open: an upload in its middle.
pub fn begin_upload(address: SocketAddr, path: &str, length: usize, body: &[u8]) -> TcpStream {
    try_begin_upload(address, path, length, body).unwrap()
}

pub fn try_begin_upload(
    address: SocketAddr,
    path: &str,
    length: usize,
    body: &[u8],
) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    let head = head(address, "PUT", path, &[]) + &format!("Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(stream)
}

pub fn receive(stream: TcpStream, method: &str) -> io::Result<Response> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut response = read_head(&mut reader)?;
        // 100 Continue and its kind only announce the answer.
        if response.status < 200 {
            continue;
        }
        let empty = method == "HEAD" || matches!(response.status, 204 | 304);
        if empty {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            response.body = read_chunks(&mut reader)?;
        } else if let Some(length) = response.header("content-length") {
            let mut body = vec![0; length.parse().map_err(invalid)?];
            reader.read_exact(&mut body)?;
            response.body = body;
        } else {
            reader.read_to_end(&mut response.body)?;
        }
        return Ok(response);
    }
}

/// GET on a connection of its own that comes from `source`, an address of 127.0.0.0/8.
pub fn get_from(
    source: Ipv4Addr,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        socket.connect(address).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    let mut stream = patient(stream)?;
    stream.write_all((head(address, "GET", path, headers) + "\r\n").as_bytes())?;
    receive(stream, "GET")
}

/// A port of 127.0.0.1 that nobody else is given while this is kept: it is bound and not listened at. Servers, which all
/// say SO_REUSEADDR, may listen there; without one, whoever connects is refused.
pub struct Port(tokio::net::TcpSocket);

impl Port {
    pub fn reserve() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn number(&self) -> u16 {
        self.address().port()
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect(address)?)
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(Duration::from_secs(180)))?;
    stream.set_write_timeout(Some(Duration::from_secs(180)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn head(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    head += "Connection: close\r\n";
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Response> {
    let line = read_line(reader)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid(format!("not a status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Response { status, headers, body: Vec::new() });
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("not a header: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&read_line(reader)?, 16).map_err(invalid)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        read_line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
