//! Statistics on standard output.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::server::{Numbers, Row, Server};

/// The server's own object with the socket's path in it.
pub(crate) fn json(socket: &Path, document: &Value) -> String {
    let mut document = document.clone();
    if let Some(object) = document.as_object_mut() {
        object.insert("socket".to_owned(), socket.to_string_lossy().into());
    }
    document.to_string()
}

/// A table.
pub(crate) fn text(socket: &Path, document: &Value) -> String {
    let server = Server::read(document);
    let mut text = format!("{} ({})\n", server.name(), socket.display());
    let clients = server.clients.len();
    let _ = writeln!(
        text,
        "up {}, {clients} client{}, {} refused, {:.3} s of the host's threads",
        duration(server.up),
        if clients == 1 { "" } else { "s" },
        server.refused,
        server.host_time,
    );
    let names = server.clients.iter().flat_map(|client| {
        std::iter::once(&client.row.name).chain(client.connections.iter().map(|own| &own.name))
    });
    let names = names.chain(server.channels.iter().map(|own| &own.name));
    let width = names.map(|name| name.chars().count() + 2).max().unwrap_or(0).max(8);
    let _ = writeln!(
        text,
        "{:width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "IN", "MSG IN", "OUT", "MSG OUT", "QUEUED", "MOST", "WAIT IN", "WAIT OUT", "IDLE"
    );
    line(&mut text, width, "all", &server.numbers);
    for client in &server.clients {
        line(&mut text, width, &client.row.name, &client.row.numbers);
        for Row { name, numbers } in &client.connections {
            line(&mut text, width, &format!("  {name}"), numbers);
        }
    }
    text.push_str("channels\n");
    for Row { name, numbers } in &server.channels {
        line(&mut text, width, &format!("  {name}"), numbers);
    }
    text
}

fn line(text: &mut String, width: usize, name: &str, own: &Numbers) {
    let idle = own.idle.map_or_else(|| "-".to_owned(), duration);
    let _ = writeln!(
        text,
        "{name:width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8.1}s {:>8.1}s {idle:>7}",
        amount(own.received as f64),
        own.received_messages,
        amount(own.sent as f64),
        own.sent_messages,
        amount(own.queued as f64),
        amount(own.queued_highest as f64),
        own.blocked_in,
        own.blocked_out,
    );
}

/// Bytes in a few characters.
pub(crate) fn amount(bytes: f64) -> String {
    const STEP: f64 = 1024.0;
    let (mut value, mut unit) = (bytes, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / STEP, next);
    }
    if unit == "B" || value >= 99.95 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A time in a few characters.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::document;

    #[test]
    fn amounts_and_times_are_short() {
        for (bytes, expected) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1000.0, "1.0 KiB"),
            (150_000.0, "146 KiB"),
            (5e9, "4.7 GiB"),
            (1e18, "909495 TiB"),
        ] {
            assert_eq!(amount(bytes), expected);
        }
        for (seconds, expected) in
            [(0.05, "0.1s"), (61.0, "1m01s"), (3725.0, "1h02m"), (90_000.0, "1d01h")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn a_table_has_clients_and_channels() {
        let text = text(Path::new("/a.socket"), &document(1, 2048));
        let expected = "\
a vm (/a.socket)
up 1h02m, 1 client, 0 refused, 0.000 s of the host's threads
";
        assert!(text.starts_with(expected), "{text}");
        let line = "  port:0 org.example       0 B         0   2.0 KiB         0   4.0 KiB";
        assert_eq!(text.matches(line).count(), 2, "{text}");
    }

    #[test]
    fn json_has_the_socket() {
        let text = json(Path::new("/a.socket"), &document(1, 7));
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["socket"], "/a.socket");
        assert_eq!(read["sent_bytes"], 7);
        assert!(!text.contains('\n'));
    }
}
