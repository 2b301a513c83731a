//! Statistics as one JSON object in one line (docs/statistics.md).

use std::fmt::{self, Write};

use super::counters::Totals;
use super::names::{METRICS, Number, Unit};
use super::time::Nanoseconds;
use super::view::{ChannelView, ClientView, ConnectionView, View};

/// Grows when a name changes its meaning or goes; new names may come without.
pub(super) const FORMAT: u32 = 1;

/// The document, without a line's end.
pub fn document(view: &View) -> String {
    Document(view).to_string()
}

struct Document<'a>(&'a View);

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0;
        write!(f, "{{\"format\":{FORMAT},\"library\":\"{}\"", env!("CARGO_PKG_VERSION"))?;
        write!(f, ",\"pid\":{},\"vm\":", view.pid)?;
        text_or_null(f, view.vm.as_deref())?;
        f.write_str(",\"uuid\":")?;
        text_or_null(f, view.uuid_text().as_deref())?;
        let seconds = |value| Number { value, unit: Unit::Seconds };
        write!(f, ",\"up_seconds\":{}", seconds(view.up))?;
        write!(f, ",\"host_thread_seconds\":{}", seconds(view.host_time))?;
        totals(f, &view.totals, view.now)?;
        f.write_str(",\"links\":{")?;
        for (number, (event, count)) in view.links.iter().enumerate() {
            write!(f, "{}\"{}\":{count}", comma(number), event.key())?;
        }
        f.write_str("},\"endings\":{")?;
        for (number, (kind, count)) in view.endings.iter().enumerate() {
            write!(f, "{}\"{}\":{count}", comma(number), kind.name())?;
        }
        f.write_str("},\"refusals\":{")?;
        for (number, (refusal, count)) in view.refusals.iter().enumerate() {
            write!(f, "{}\"{}\":{count}", comma(number), refusal.name())?;
        }
        f.write_str("},\"channels\":[")?;
        for (number, own) in view.channels.iter().enumerate() {
            f.write_str(comma(number))?;
            channel(f, own, view.now)?;
        }
        f.write_str("],\"clients\":[")?;
        for (number, own) in view.clients.iter().enumerate() {
            f.write_str(comma(number))?;
            client(f, own, view.now)?;
        }
        f.write_str("]}")
    }
}

fn channel(f: &mut fmt::Formatter<'_>, own: &ChannelView, now: Nanoseconds) -> fmt::Result {
    write!(f, "{{\"name\":{},\"type\":{},\"id\":{}", Quoted(&own.name), own.kind, own.id)?;
    f.write_str(",\"port\":")?;
    text_or_null(f, own.port.as_deref())?;
    write!(f, ",\"connections\":{}", own.connections)?;
    totals(f, &own.totals, now)?;
    f.write_str("}")
}

fn client(f: &mut fmt::Formatter<'_>, own: &ClientView, now: Nanoseconds) -> fmt::Result {
    write!(f, "{{\"session\":{},\"peer\":{}", own.session, Quoted(&own.peer))?;
    let connected = Number { value: own.connected, unit: Unit::Seconds };
    write!(f, ",\"connected_seconds\":{connected}")?;
    totals(f, &own.totals, now)?;
    f.write_str(",\"connections\":[")?;
    for (number, own) in own.connections.iter().enumerate() {
        f.write_str(comma(number))?;
        connection(f, own, now)?;
    }
    f.write_str("]}")
}

fn connection(f: &mut fmt::Formatter<'_>, own: &ConnectionView, now: Nanoseconds) -> fmt::Result {
    write!(f, "{{\"name\":{},\"type\":{},\"id\":{}", Quoted(&own.name), own.kind, own.id)?;
    write!(f, ",\"encrypted\":{},\"home\":\"{}\"", own.secured, own.home)?;
    totals(f, &own.totals, now)?;
    f.write_str("}")
}

fn totals(f: &mut fmt::Formatter<'_>, totals: &Totals, now: Nanoseconds) -> fmt::Result {
    for metric in &METRICS {
        match metric.read(totals, now) {
            Some(number) => write!(f, ",\"{}\":{number}", metric.name)?,
            None => write!(f, ",\"{}\":null", metric.name)?,
        }
    }
    Ok(())
}

fn comma(number: usize) -> &'static str {
    if number == 0 { "" } else { "," }
}

fn text_or_null(f: &mut fmt::Formatter<'_>, text: Option<&str>) -> fmt::Result {
    match text {
        Some(text) => write!(f, "{}", Quoted(text)),
        None => f.write_str("null"),
    }
}

/// A string of JSON.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                // Those that a terminal would obey, too.
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ConnectionLabel, Counters, ServerStatistics};

    #[test]
    fn the_document_of_a_server() {
        let server = ServerStatistics::default();
        let bytes = std::array::from_fn(|i| i as u8 * 0x11);
        server.identify(Some(b"a \"vm\"\n\xff"), Some(bytes));
        server.add_channel(10, 2, "port:2".to_owned(), Some("org.example".to_owned()));
        server.add_client(77, "local");
        let counters = std::sync::Arc::<Counters>::default();
        counters.received(5, 1);
        let label = ConnectionLabel {
            id: 1,
            session: 77,
            kind: 10,
            channel_id: 2,
            secured: true,
            home: "thread",
        };
        server.add_connection(label, counters);
        let text = document(&server.view());
        for part in [
            "{\"format\":1,\"library\":\"",
            "\"vm\":\"a \\\"vm\\\"\\u000a\u{fffd}\"",
            "\"uuid\":\"00112233-4455-6677-8899-aabbccddeeff\"",
            "\"links\":{\"begun\":0,\"authenticated\":0,\"client_left\":0",
            "\"endings\":{\"by_client\":0,",
            "\"refusals\":{\"graphics_command\":0,",
            "\"channels\":[{\"name\":\"port:2\",\"type\":10,\"id\":2,\"port\":\"org.example\",\
             \"connections\":1,\"received_bytes\":5,",
            "\"clients\":[{\"session\":77,\"peer\":\"local\",\"connected_seconds\":0.",
            "\"connections\":[{\"name\":\"port:2\",\"type\":10,\"id\":2,\"encrypted\":true,\
             \"home\":\"thread\",\"received_bytes\":5,",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
        assert!(!text.contains('\n') && text.ends_with("}]}]}"), "{text}");
    }

    #[test]
    fn what_was_never_used_is_null() {
        let text = document(&ServerStatistics::default().view());
        assert!(text.contains("\"idle_seconds\":null") && text.contains("\"vm\":null"), "{text}");
    }
}
