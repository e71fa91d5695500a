//! A client of HTTP/2 that asks for much and takes what it likes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::world::PATIENCE;

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;

pub struct Client {
    socket: TcpStream,
    next: u32,
}

/// What came on a connection: answers begun, streams reset, bytes of bodies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Came {
    pub answers: usize,
    pub resets: usize,
    pub bytes: usize,
}

impl Client {
    /// Begins a connection; `window`: bytes of each answer it takes.
    pub fn connect(address: SocketAddr, window: u32) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let settings = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
        socket.write_all(&preface)?;
        if window > 0 {
            socket.write_all(&frame(WINDOW, 0, 0, &(0x7fff_0000u32 - 65_535).to_be_bytes()))?;
        }
        Ok(Self { socket, next: 1 })
    }

    /// Asks for `path` on a stream of its own.
    pub fn get(&mut self, path: &str) -> io::Result<()> {
        // RFC 7541: :method GET and :scheme http stand in the table; the others are spelled out.
        let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(b"\x01\x09localhost");
        let stream = self.next;
        self.next += 2;
        self.socket.write_all(&frame(HEADERS, 5, stream, &block))
    }

    /// Reads until `enough` of it came, or the connection ends; answers pings meanwhile.
    pub fn read_until(&mut self, enough: impl Fn(&Came) -> bool) -> Came {
        let mut came = Came::default();
        while !enough(&came) {
            let mut head = [0; 9];
            if self.socket.read_exact(&mut head).is_err() {
                break;
            }
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; len as usize];
            if self.socket.read_exact(&mut payload).is_err() {
                break;
            }
            match (head[3], head[4] & 1) {
                (0, _) => came.bytes += payload.len(),
                (HEADERS, _) => came.answers += 1,
                (RESET, _) => came.resets += 1,
                (SETTINGS, 0) => _ = self.socket.write_all(&frame(SETTINGS, 1, 0, b"")),
                (PING, 0) => _ = self.socket.write_all(&frame(PING, 1, 0, &payload)),
                _ => {}
            }
        }
        came
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
