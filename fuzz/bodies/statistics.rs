//! What a reader sends to the statistics socket: however it is cut, the same requests come
//! of it, what is kept of it is bounded, and each answer is one: a line, or a page of HTTP
//! as long as it says.

use spice_server::config::limits::STATISTICS_REQUEST;
use spice_server::stats::ServerStatistics;
use spice_server::stats::request::{Answer, Request, Requests, answer};

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "statistics", run, seeds };

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let cut = usize::from(input.byte()) + 1;
    let unit = input.rest();
    let text = if options & 1 == 0 { unit.to_vec() } else { repeated(unit, 10_000) };
    let whole = requests(&text, usize::MAX);
    assert_eq!(whole, requests(&text, cut), "what is asked depends on how it arrives");
    let server = ServerStatistics::default();
    // The name of a machine stands in every answer.
    server.identify(Some(unit), None);
    let mut last = false;
    for request in whole.iter().take(20) {
        assert!(!last, "something follows the last answer");
        let Answer { bytes, last: is_last } = answer(request, || server.view());
        let text = std::str::from_utf8(&bytes).expect("text");
        check(request, text);
        last = is_last;
    }
}

fn requests(bytes: &[u8], cut: usize) -> Vec<Request> {
    let mut requests = Requests::default();
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = requests.room().min(cut).min(rest.len());
        if count == 0 {
            break;
        }
        let (piece, behind) = rest.split_at(count);
        rest = behind;
        requests.feed(piece);
        while let Some(request) = requests.poll() {
            found.push(request);
        }
        assert!(!requests.is_ready() && requests.room() <= STATISTICS_REQUEST);
    }
    found
}

fn check(request: &Request, text: &str) {
    match request {
        Request::Document | Request::Unknown(_) | Request::TooLong => {
            let line = text.strip_suffix('\n').expect("a line");
            assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        Request::Get(_) | Request::OtherMethod => {
            let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
            assert!(head.starts_with("HTTP/1.1 ") && body.ends_with('\n'));
            let length = head.split("Content-Length: ").nth(1).expect("a length");
            let length = length.lines().next().and_then(|length| length.parse().ok());
            assert_eq!(length, Some(body.len()));
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let script = |options: u8, cut: u8, text: &str| [&[options, cut], text.as_bytes()].concat();
    vec![
        script(0, 3, "statistics\n\nstatistics\r\nwhat?\n\n"),
        script(0, 10, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"),
        script(0, 0, "GET /statistics?a=b HTTP/1.0\n\n"),
        script(0, 200, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
        script(1, 255, "x"),
        script(1, 100, "\n"),
        script(1, 50, "GET / HTTP/1.1\r\nA: b\r\n"),
    ]
}
