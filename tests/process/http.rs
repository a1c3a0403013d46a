//! Requests of HTTP/1 as a program without any library sends them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crm_testkit::LIMIT;

/// Sends a request with these headers, and returns the status and the body of its answer.
pub(crate) fn ask(address: SocketAddr, line: &str, headers: &[&str], body: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).expect("it listens");
    tcp.set_read_timeout(Some(LIMIT)).expect("a limit");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    tcp.write_all(request.as_bytes()).expect("room to write");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
