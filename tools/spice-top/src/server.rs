//! A server's answer, as far as this program shows it. What is missing is nothing: a newer
//! or older server has other numbers.

use serde_json::Value;

/// A server at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Server {
    pub(crate) vm: String,
    pub(crate) pid: u64,
    pub(crate) up: f64,
    pub(crate) numbers: Numbers,
    /// Seconds of the host's threads.
    pub(crate) host_time: f64,
    /// Links that came to nothing, connections that ended for what their client did, and
    /// what guests and devices were refused.
    pub(crate) refused: u64,
    pub(crate) channels: Vec<Row>,
    pub(crate) clients: Vec<Client>,
}

/// A client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Client {
    pub(crate) session: u64,
    pub(crate) row: Row,
    pub(crate) connections: Vec<Row>,
}

/// What has a name and moves bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) numbers: Numbers,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) received: u64,
    pub(crate) received_messages: u64,
    pub(crate) sent: u64,
    pub(crate) sent_messages: u64,
    pub(crate) queued: u64,
    pub(crate) queued_highest: u64,
    pub(crate) blocked_in: f64,
    pub(crate) blocked_out: f64,
    pub(crate) idle: Option<f64>,
}

/// Links and endings that nobody has to worry about.
const FINE: [&str; 8] =
    ["begun", "authenticated", "client_left", "delayed", "untold", "cut", "by_client", "by_server"];

impl Server {
    /// Reads an answer.
    pub(crate) fn read(document: &Value) -> Self {
        let list = |name: &str| document[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let bad = |name: &str| {
            let counts = document[name].as_object().into_iter().flatten();
            let bad = counts.filter(|(name, _)| !FINE.contains(&name.as_str()));
            bad.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
        };
        let channels: Vec<_> = list("channels").iter().map(row).collect();
        // A connection is told by its channel's name alone.
        let port_of = |connection: &Value| {
            let is_its = |channel: &&Value| channel["name"] == connection["name"];
            list("channels").iter().find(is_its).map(|channel| channel["port"].clone())
        };
        let connection = |own: &Value| match (row(own), port_of(own)) {
            (row, Some(port)) => Row { name: named(&own["name"], &port), ..row },
            (row, None) => row,
        };
        let clients = list("clients").iter().map(|client| Client {
            session: client["session"].as_u64().unwrap_or_default(),
            row: Row { name: text(&client["peer"]), numbers: Numbers::read(client) },
            connections: client["connections"]
                .as_array()
                .into_iter()
                .flatten()
                .map(connection)
                .collect(),
        });
        Self {
            vm: text(&document["vm"]),
            pid: document["pid"].as_u64().unwrap_or_default(),
            up: seconds(document, "up_seconds"),
            numbers: Numbers::read(document),
            host_time: seconds(document, "host_thread_seconds"),
            refused: bad("links") + bad("endings") + bad("refusals"),
            clients: clients.collect(),
            channels,
        }
    }

    /// The machine's name, or what there is instead.
    pub(crate) fn name(&self) -> String {
        if self.vm.is_empty() { format!("process {}", self.pid) } else { self.vm.clone() }
    }
}

impl Numbers {
    fn read(of: &Value) -> Self {
        let number = |name: &str| of[name].as_u64().unwrap_or_default();
        Self {
            received: number("received_bytes"),
            received_messages: number("received_messages"),
            sent: number("sent_bytes"),
            sent_messages: number("sent_messages"),
            queued: number("queued_bytes"),
            queued_highest: number("queued_bytes_highest"),
            blocked_in: seconds(of, "blocked_in_seconds"),
            blocked_out: seconds(of, "blocked_out_seconds"),
            idle: of["idle_seconds"].as_f64(),
        }
    }
}

fn row(of: &Value) -> Row {
    Row { name: named(&of["name"], &of["port"]), numbers: Numbers::read(of) }
}

/// A channel by its name, and by that of the port behind it.
fn named(name: &Value, port: &Value) -> String {
    let (name, port) = (text(name), text(port));
    if port.is_empty() { name } else { format!("{name} {port}") }
}

fn seconds(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_default()
}

/// A text that a terminal only shows: a guest or a client may have chosen it.
fn text(value: &Value) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    value.as_str().unwrap_or_default().chars().map(plain).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A server with one client, which has received so many bytes.
    pub(crate) fn server(sent: u64) -> Server {
        Server::read(&json!({
            "format": 1, "vm": "win\u{1b}[2J", "pid": 7, "up_seconds": 61.5,
            "host_thread_seconds": 0.25, "sent_bytes": sent, "received_bytes": 5,
            "links": {"begun": 4, "authenticated": 1, "wrong_password": 2},
            "endings": {"by_client": 9, "malformed": 1},
            "refusals": {"graphics_command": 5},
            "channels": [{"name": "port:0", "port": "org.example", "sent_bytes": sent}],
            "clients": [{
                "session": 3, "peer": "192.0.2.1:5", "sent_bytes": sent, "idle_seconds": 2.5,
                "connections": [{"name": "port:0", "sent_bytes": sent, "queued_bytes": 1000}],
            }],
        }))
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_goes() {
        let server = server(10);
        assert_eq!(server.name(), "win\u{fffd}[2J");
        assert_eq!(server.refused, 8);
        assert_eq!(server.channels[0].name, "port:0 org.example");
        let client = &server.clients[0];
        assert_eq!((client.session, client.row.numbers.idle), (3, Some(2.5)));
        assert_eq!(client.connections[0].name, "port:0 org.example");
        assert_eq!(client.connections[0].numbers.queued, 1000);
        let empty = Server::read(&Value::Null);
        assert_eq!((empty.name(), empty.clients.len()), ("process 0".to_owned(), 0));
    }
}
