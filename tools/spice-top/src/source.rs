//! Asks servers for their statistics.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Sockets, and directories in which there may be some.
pub(crate) struct Sources {
    places: Vec<PathBuf>,
    /// Connections that are kept.
    open: BTreeMap<PathBuf, BufReader<UnixStream>>,
}

/// What a server said.
pub(crate) struct Answer {
    pub(crate) socket: PathBuf,
    pub(crate) when: Instant,
    pub(crate) result: io::Result<Value>,
}

/// How long a server may take. It answers within a millisecond when all is well.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than any server has to say.
const LONGEST: u64 = 16 * 1024 * 1024;

impl Sources {
    pub(crate) fn new(places: Vec<PathBuf>) -> Self {
        Self { places, open: BTreeMap::new() }
    }

    /// Where is looked, for people.
    pub(crate) fn places(&self) -> String {
        let places: Vec<_> = self.places.iter().map(|place| place.display().to_string()).collect();
        places.join(", ")
    }

    /// Asks each server once.
    pub(crate) fn ask(&mut self) -> Vec<Answer> {
        let sockets = self.sockets();
        self.open.retain(|path, _| sockets.contains(path));
        let mut answers = Vec::new();
        for socket in sockets {
            // A connection that was kept may belong to a server that has ended meanwhile.
            let kept = self.open.contains_key(&socket);
            let mut result = self.ask_one(&socket);
            if result.is_err() && kept {
                result = self.ask_one(&socket);
            }
            answers.push(Answer { socket, when: Instant::now(), result });
        }
        answers
    }

    fn ask_one(&mut self, socket: &Path) -> io::Result<Value> {
        let mut connection = match self.open.remove(socket) {
            Some(connection) => connection,
            None => connect(socket)?,
        };
        connection.get_mut().write_all(b"statistics\n")?;
        let mut line = String::new();
        connection.by_ref().take(LONGEST).read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::Error::other("the answer is not whole"));
        }
        let document: Value = serde_json::from_str(&line)?;
        if document.get("format").and_then(Value::as_u64) != Some(1) {
            return Err(io::Error::other("not the statistics of a SPICE server"));
        }
        self.open.insert(socket.to_owned(), connection);
        Ok(document)
    }

    /// The sockets that are named, and those that are in directories.
    fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets = Vec::new();
        for place in &self.places {
            let Ok(entries) = fs::read_dir(place) else {
                // What is wrong with it is told when it is connected to.
                sockets.push(place.clone());
                continue;
            };
            let is_socket = |path: &PathBuf| {
                fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
            };
            let mut found: Vec<_> =
                entries.flatten().map(|entry| entry.path()).filter(is_socket).collect();
            found.sort();
            sockets.append(&mut found);
        }
        sockets.dedup();
        sockets
    }
}

fn connect(socket: &Path) -> io::Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("spice-top-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a fresh directory");
        path
    }

    /// A server that answers each line of so many connections with these.
    fn serve(path: &Path, connections: usize, answers: &'static [&'static str]) {
        let listener = UnixListener::bind(path).expect("a socket");
        thread::spawn(move || {
            for _ in 0..connections {
                let (stream, _) = listener.accept().expect("a client");
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                for answer in answers {
                    if lines.next().is_none() {
                        break;
                    }
                    (&stream).write_all(answer.as_bytes()).expect("room");
                }
            }
        });
    }

    fn results(sources: &mut Sources) -> Vec<Option<u64>> {
        let number = |answer: &Answer| {
            answer.result.as_ref().ok().and_then(|document| document["n"].as_u64())
        };
        sources.ask().iter().map(number).collect()
    }

    #[test]
    fn servers_of_a_directory_are_asked_in_order() {
        let place = directory("many");
        let mut sources = Sources::new(vec![place.clone()]);
        assert!(sources.ask().is_empty());
        serve(&place.join("b"), 1, &["{\"format\":1,\"n\":2}\n", "{\"format\":1,\"n\":3}\n"]);
        serve(&place.join("a"), 9, &["{\"format\":2,\"n\":1}\n"]);
        fs::write(place.join("c"), "not a socket").expect("a file");
        assert_eq!(results(&mut sources), [None, Some(2)]);
        assert_eq!(results(&mut sources), [None, Some(3)], "on the same connection");
        fs::remove_dir_all(place).expect("it is ours");
    }

    #[test]
    fn a_server_that_has_begun_anew_is_found() {
        let place = directory("anew");
        let path = place.join("a.socket");
        serve(&path, 9, &["{\"format\":1,\"n\":1}\n"]);
        let mut sources = Sources::new(vec![path]);
        assert_eq!(results(&mut sources), [Some(1)]);
        assert_eq!(results(&mut sources), [Some(1)], "by another connection");
        fs::remove_dir_all(place).expect("it is ours");
    }

    #[test]
    fn a_socket_that_is_named_must_be_there() {
        let place = directory("none");
        let mut sources = Sources::new(vec![place.join("none.socket")]);
        assert_eq!(results(&mut sources), [None]);
        fs::remove_dir_all(place).expect("it is ours");
    }
}
