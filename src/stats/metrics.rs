//! Statistics as Prometheus reads them: the text exposition format, version 0.0.4.

use std::fmt::{self, Write};

use super::counters::Totals;
use super::names::{METRICS, Metric, Number, Unit};
use super::view::View;

/// The type of the text, as HTTP names it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text.
pub fn metrics(view: &View) -> String {
    Metrics(view).to_string()
}

struct Metrics<'a>(&'a View);

/// Labels and the numbers that they stand for.
type Rows<'a> = Vec<(String, &'a Totals)>;

impl fmt::Display for Metrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let vm = format!("vm={}", Quoted(view.vm.as_deref().unwrap_or_default()));
        let seconds = |value| Number { value, unit: Unit::Seconds };
        let count = |value: usize| Number { value: value as u64, unit: Unit::Count };
        let alone = [
            ("up_seconds", "gauge", "Time since the server was made", seconds(view.up)),
            (
                "host_thread_seconds_total",
                "counter",
                "Time of the host's threads that the library took",
                seconds(view.host_time),
            ),
            ("clients", "gauge", "Clients that are connected", count(view.clients.len())),
            ("channels", "gauge", "Channels that clients may have", count(view.channels.len())),
        ];
        for (name, kind, help, number) in alone {
            head(f, &format!("spice_server_{name}"), kind, help)?;
            writeln!(f, "spice_server_{name}{{{vm}}} {number}")?;
        }
        let name = "spice_server_links_total";
        head(f, name, "counter", "What became of links")?;
        for (event, count) in view.links {
            writeln!(f, "{name}{{{vm},result=\"{}\"}} {count}", event.key())?;
        }
        let name = "spice_server_endings_total";
        head(f, name, "counter", "How connections ended")?;
        for (kind, count) in view.endings {
            writeln!(f, "{name}{{{vm},reason=\"{}\"}} {count}", kind.name())?;
        }
        let name = "spice_server_refusals_total";
        head(f, name, "counter", "What guests, devices and clients were refused")?;
        for (refusal, count) in view.refusals {
            writeln!(f, "{name}{{{vm},reason=\"{}\"}} {count}", refusal.name())?;
        }
        family(f, view, "server", &vec![(vm.clone(), &view.totals)])?;
        let channels = view.channels.iter().map(|own| {
            let port = own.port.as_deref().unwrap_or_default();
            (format!("{vm},channel={},port={}", Quoted(&own.name), Quoted(port)), &own.totals)
        });
        family(f, view, "channel", &channels.collect())?;
        let clients = view.clients.iter().map(|own| {
            (format!("{vm},session=\"{}\",peer={}", own.session, Quoted(&own.peer)), &own.totals)
        });
        family(f, view, "client", &clients.collect())?;
        let connections = view.clients.iter().flat_map(|client| {
            client.connections.iter().map(|own| {
                let (session, channel) = (client.session, Quoted(&own.name));
                (format!("{vm},session=\"{session}\",channel={channel}"), &own.totals)
            })
        });
        family(f, view, "connection", &connections.collect())
    }
}

/// The metrics of one kind of things.
fn family(f: &mut fmt::Formatter<'_>, view: &View, whose: &str, rows: &Rows<'_>) -> fmt::Result {
    for metric in &METRICS {
        let name = full_name(metric, whose);
        let kind = if metric.grows { "counter" } else { "gauge" };
        let values = rows.iter().filter_map(|(labels, totals)| {
            metric.read(totals, view.now).map(|number| (labels, number))
        });
        for (number, (labels, value)) in values.enumerate() {
            if number == 0 {
                head(f, &name, kind, metric.help)?;
            }
            writeln!(f, "{name}{{{labels}}} {value}")?;
        }
    }
    Ok(())
}

/// A metric's name with whose it is: "server", "channel", "client" or "connection".
pub(super) fn full_name(metric: &Metric, whose: &str) -> String {
    let total = if metric.grows { "_total" } else { "" };
    format!("spice_{whose}_{}{total}", metric.name)
}

fn head(f: &mut fmt::Formatter<'_>, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}.\n# TYPE {name} {kind}")
}

/// A label's value.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // The format has no escape for them.
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ServerStatistics;

    #[test]
    fn the_metrics_of_a_server() {
        let server = ServerStatistics::default();
        server.identify(Some(b"a \"vm\"\\\n\r"), None);
        server.add_channel(1, 0, "main:0".to_owned(), None);
        server.add_channel(10, 0, "port:0".to_owned(), Some("org.example".to_owned()));
        let text = metrics(&server.view());
        let vm = "vm=\"a \\\"vm\\\"\\\\\\n\u{fffd}\"";
        let expected = format!(
            "# HELP spice_channel_received_bytes_total Bytes from clients, headers of messages \
             included.\n# TYPE spice_channel_received_bytes_total counter\n\
             spice_channel_received_bytes_total{{{vm},channel=\"main:0\",port=\"\"}} 0\n\
             spice_channel_received_bytes_total{{{vm},channel=\"port:0\",port=\"org.example\"}} 0\n"
        );
        assert!(text.contains(&expected), "{text}");
        let link = format!("spice_server_links_total{{{vm},result=\"wrong_password\"}} 0\n");
        assert!(text.contains(&link), "{text}");
        assert!(!text.contains("idle_seconds"), "nobody was ever active");
        assert!(text.ends_with('\n'));
    }
}
