//! What a reader of the statistics socket asks, and what it is answered: a line, or HTTP's
//! GET (docs/statistics.md).
//!
//! Sans-IO. Whoever connects runs as the host's user, and is bounded all the same: a request
//! is short, and one is answered at a time.

use super::document::{Quoted, document};
use super::metrics::{CONTENT_TYPE, metrics};
use super::view::View;
use crate::config::limits;

/// Cuts requests out of what a reader sends.
#[derive(Debug, Default)]
pub struct Requests {
    input: Vec<u8>,
    /// After an error or a GET nothing more is looked at.
    over: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The document, in a line.
    Document,
    /// A path, by HTTP.
    Get(String),
    /// Something else in a line.
    Unknown(String),
    /// HTTP that is not GET.
    OtherMethod,
    /// More bytes than a request has.
    TooLong,
}

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Nothing follows: the connection is to be closed.
    pub last: bool,
}

impl Requests {
    /// How many bytes may be fed now.
    pub fn room(&self) -> usize {
        limits::STATISTICS_REQUEST.saturating_sub(self.input.len())
    }

    /// Bytes from the reader, no more than there is room for.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.over {
            self.input.extend_from_slice(bytes);
        }
    }

    /// Whether [`Self::poll`] has something.
    pub fn is_ready(&self) -> bool {
        !self.over && (self.room() == 0 || self.end().is_some())
    }

    /// The next request that is whole.
    pub fn poll(&mut self) -> Option<Request> {
        if self.over {
            return None;
        }
        let Some((first, all)) = self.end() else {
            if self.room() > 0 {
                return None;
            }
            self.over = true;
            return Some(Request::TooLong);
        };
        let line = String::from_utf8_lossy(&self.input[..first]).trim().to_owned();
        self.input.drain(..all);
        let request = match http(&line) {
            Some(("GET", path)) => Request::Get(path.to_owned()),
            Some(_) => Request::OtherMethod,
            None if line.is_empty() || line == "statistics" => return Some(Request::Document),
            None => Request::Unknown(line),
        };
        self.over = true;
        Some(request)
    }

    /// Where the first line ends, and all of the request.
    fn end(&self) -> Option<(usize, usize)> {
        let first = self.input.iter().position(|byte| *byte == b'\n')?;
        if http(&String::from_utf8_lossy(&self.input[..first])).is_none() {
            return Some((first, first + 1));
        }
        // The headers end with an empty line. What they say is nothing to us.
        let mut begin = first + 1;
        loop {
            let length = self.input[begin..].iter().position(|byte| *byte == b'\n')?;
            let line = &self.input[begin..begin + length];
            begin += length + 1;
            if line.is_empty() || line == b"\r" {
                return Some((first, begin));
            }
        }
    }
}

/// Method and path, if this is how a request of HTTP begins.
fn http(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim().split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    (version.starts_with("HTTP/1.") && words.next().is_none()).then_some((method, path))
}

/// The answer to a request. What there is to tell is looked at only if it is asked for.
pub fn answer(request: &Request, view: impl FnOnce() -> View) -> Answer {
    match request {
        Request::Document => line(&document(&view()), false),
        Request::Get(path) => match path.split('?').next().unwrap_or_default() {
            "/metrics" => page("200 OK", CONTENT_TYPE, &metrics(&view())),
            "/" | "/statistics" => {
                page("200 OK", "application/json", &format!("{}\n", document(&view())))
            }
            _ => page("404 Not Found", "text/plain", "There is /metrics and /statistics.\n"),
        },
        Request::OtherMethod => page("405 Method Not Allowed", "text/plain", "Only GET.\n"),
        Request::Unknown(what) => {
            let shown: String = what.chars().take(SHOWN).collect();
            let error = format!("unknown request {shown}");
            line(&format!("{{\"error\":{}}}", Quoted(&error)), true)
        }
        Request::TooLong => line("{\"error\":\"the request is too long\"}", true),
    }
}

/// As much of an unknown request as an answer repeats.
const SHOWN: usize = 60;

fn line(text: &str, last: bool) -> Answer {
    Answer { bytes: format!("{text}\n").into_bytes(), last }
}

fn page(status: &str, kind: &str, body: &str) -> Answer {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    Answer { bytes: [head.as_bytes(), body.as_bytes()].concat(), last: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ServerStatistics;

    /// All requests in what is fed in pieces of this size.
    fn requests(text: &str, piece: usize) -> Vec<Request> {
        let mut requests = Requests::default();
        let mut found = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            requests.feed(&bytes[..bytes.len().min(requests.room())]);
            while requests.is_ready() {
                found.extend(requests.poll());
            }
            assert_eq!(requests.poll(), None);
        }
        found
    }

    fn text(request: &Request) -> (String, bool) {
        let Answer { bytes, last } = answer(request, || ServerStatistics::default().view());
        (String::from_utf8(bytes).expect("text"), last)
    }

    #[test]
    fn lines_and_http_are_told_apart() {
        let get = |path: &str| Request::Get(path.to_owned());
        for piece in [1, 3, 1000] {
            let two = requests("\nstatistics\r\nhalf", piece);
            assert_eq!(two, [Request::Document, Request::Document]);
            let http = requests("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\nstatistics\n", piece);
            assert_eq!(http, [get("/metrics")], "one, and then it is over");
            assert_eq!(requests("GET / HTTP/1.0\n\n", piece), [get("/")]);
            assert_eq!(requests("PUT / HTTP/1.1\r\n\r\n", piece), [Request::OtherMethod]);
            assert_eq!(requests("GET / HTTP/1.1\r\nHost: a\r\n", piece), [], "not whole");
            let unknown = Request::Unknown("GET /".to_owned());
            assert_eq!(requests("GET /\nstatistics\n", piece), [unknown]);
        }
    }

    #[test]
    fn a_long_request_is_refused() {
        let long = "x".repeat(limits::STATISTICS_REQUEST + 1);
        assert_eq!(requests(&long, 1000), [Request::TooLong]);
        let headers = format!("GET / HTTP/1.1\r\nA: {long}");
        assert_eq!(requests(&headers, 1000), [Request::TooLong]);
    }

    #[test]
    fn each_request_has_its_answer() {
        let (document, last) = text(&Request::Document);
        assert!(document.starts_with("{\"format\":1,") && document.ends_with("}\n") && !last);
        let get = |path: &str| text(&Request::Get(path.to_owned()));
        let (page, last) = get("/metrics");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain;") && last);
        let (head, body) = page.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(get("/statistics?x").0.contains("application/json"));
        assert!(get("/x").0.starts_with("HTTP/1.1 404"));
        assert!(text(&Request::OtherMethod).0.starts_with("HTTP/1.1 405"));
        let wrong = format!("\"\u{1b}{}", "x".repeat(100));
        let (line, last) = text(&Request::Unknown(wrong));
        assert!(line.starts_with("{\"error\":\"unknown request \\\"\\u001bxxx") && last);
        assert!(line.len() < 200, "{line}");
    }
}
