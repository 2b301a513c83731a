//! Statistics as upstream's file in shared memory has them, for tools made for that
//! (docs/statistics.md).
//!
//! The layout is that of `<spice/stats.h>` in version 1: a header and nodes, which are linked
//! to trees by their numbers. Each node is followed by nodes of higher numbers only, so that
//! a reader who meets a file that is just being written comes to an end all the same.

use super::counters::Totals;
use super::view::{ChannelView, View};
use crate::config::limits;

/// Bytes of the header.
const HEADER: usize = 24;
/// Bytes of a node.
const NODE: usize = 40;
/// Bytes of a name, with the NUL at its end.
const NAME: usize = 20;
const MAGIC: [u8; 4] = *b"STAT";
const VERSION: u32 = 1;
/// The number of no node.
const NONE: u32 = u32::MAX;
const ENABLED: u32 = 1;
const VISIBLE: u32 = 2;
const VALUE: u32 = 4;

/// Channel types that upstream's tree names.
const DISPLAY: u8 = 2;
const CURSOR: u8 = 4;
/// The first type that carries a device's data; all after it do.
const FIRST_DATA: u8 = 9;

/// Bytes of the whole file.
pub const FILE: usize = HEADER + limits::STATISTICS_NODES * NODE;

/// The nodes of the file, and after them the header: written in this order, the header
/// names no node that is not there.
pub fn image(view: &View, generation: u32) -> (Vec<u8>, [u8; HEADER]) {
    let mut nodes = Vec::new();
    let root = lay_out(tree(view), &mut nodes);
    let mut header = [0; HEADER];
    let words = [VERSION, generation, (nodes.len() / NODE) as u32, root, 0];
    header[..4].copy_from_slice(&MAGIC);
    for (place, word) in header[4..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    (nodes, header)
}

/// Where in the file the nodes begin.
pub const NODES_AT: u64 = HEADER as u64;

struct Node {
    name: String,
    is: Is,
}

enum Is {
    Value(u64),
    Parent(Vec<Node>),
}

fn value(name: &str, value: u64) -> Node {
    Node { name: name.to_owned(), is: Is::Value(value) }
}

fn parent(name: &str, nodes: Vec<Node>) -> Node {
    Node { name: name.to_owned(), is: Is::Parent(nodes) }
}

/// Upstream's names first, then each channel by its own.
fn tree(view: &View) -> Vec<Node> {
    let mut nodes = Vec::new();
    let data: Vec<_> = view.channels.iter().filter(|own| own.kind >= FIRST_DATA).collect();
    if !data.is_empty() {
        let mut totals = Totals::default();
        for own in data {
            totals.add(&own.totals);
        }
        nodes.push(parent("spicevmc", vmc(&totals)));
    }
    for display in view.channels.iter().filter(|own| own.kind == DISPLAY) {
        let mut channels = vec![parent("display_channel", outgoing(&display.totals))];
        let is_its = |own: &&ChannelView| own.kind == CURSOR && own.id == display.id;
        if let Some(cursor) = view.channels.iter().find(is_its) {
            channels.push(parent("cursor_channel", outgoing(&cursor.totals)));
        }
        nodes.push(parent(&format!("display[{}]", display.id), channels));
    }
    for channel in &view.channels {
        let totals = &channel.totals;
        let mut values = outgoing(totals);
        values.push(value("in_messages", totals.received_messages));
        values.push(value("in_bytes", totals.received_bytes));
        nodes.push(parent(&channel.name, values));
    }
    nodes
}

fn vmc(totals: &Totals) -> Vec<Node> {
    let mut nodes = outgoing(totals);
    nodes.extend([
        value("in_data", totals.in_data),
        value("in_compressed", totals.in_compressed),
        value("in_decompressed", totals.in_decompressed),
        value("out_data", totals.out_data),
        value("out_compressed", totals.out_compressed),
        value("out_uncompressed", totals.out_uncompressed),
    ]);
    nodes
}

fn outgoing(totals: &Totals) -> Vec<Node> {
    vec![value("out_messages", totals.sent_messages), value("out_bytes", totals.sent_bytes)]
}

/// Writes siblings, by name, with what is below each, and returns the first one's number.
fn lay_out(mut siblings: Vec<Node>, out: &mut Vec<u8>) -> u32 {
    siblings.sort_by(|a, b| a.name.cmp(&b.name));
    let mut first = NONE;
    let mut last: Option<usize> = None;
    for Node { name, is } in siblings {
        let number = (out.len() / NODE) as u32;
        if number as usize >= limits::STATISTICS_NODES {
            break;
        }
        let at = out.len();
        out.resize(at + NODE, 0);
        let (value, kind, children) = match is {
            Is::Value(value) => (value, VALUE, Vec::new()),
            Is::Parent(children) => (0, 0, children),
        };
        put(out, at, &value.to_ne_bytes());
        put(out, at + 8, &(ENABLED | VISIBLE | kind).to_ne_bytes());
        put(out, at + 12, &NONE.to_ne_bytes());
        let name = &name.as_bytes()[..name.len().min(NAME - 1)];
        put(out, at + 20, name);
        let child = lay_out(children, out);
        put(out, at + 16, &child.to_ne_bytes());
        match last {
            Some(last) => put(out, last + 12, &number.to_ne_bytes()),
            None => first = number,
        }
        last = Some(at);
    }
    first
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ConnectionLabel, Counters, ServerStatistics};

    /// Paths and values, as a tool for upstream's file walks it.
    fn walk(nodes: &[u8], at: u32, path: &str, found: &mut Vec<(String, u64)>) {
        let mut at = at;
        while at != NONE {
            let node = &nodes[at as usize * NODE..][..NODE];
            let word = |from: usize| u32::from_ne_bytes(node[from..from + 4].try_into().unwrap());
            let name = String::from_utf8_lossy(&node[20..]);
            let name = format!("{path}/{}", name.trim_end_matches('\0'));
            if word(8) & VALUE != 0 {
                let value = u64::from_ne_bytes(node[..8].try_into().unwrap());
                found.push((name, value));
            } else {
                walk(nodes, word(16), &name, found);
            }
            assert!(word(12) > at, "siblings follow");
            at = word(12);
        }
    }

    fn server() -> ServerStatistics {
        let server = ServerStatistics::default();
        for (kind, id, name) in [(2, 1, "display:1"), (4, 1, "cursor:1"), (10, 0, "port:0")] {
            server.add_channel(kind, id, name.to_owned(), None);
        }
        let counters = std::sync::Arc::<Counters>::default();
        counters.received_data(5);
        counters.sent(70, 3, 1);
        let (session, channel_id, home) = (1, 0, "main");
        let label = ConnectionLabel { id: 1, session, kind: 10, channel_id, secured: false, home };
        server.add_connection(label, counters);
        server
    }

    #[test]
    fn the_tree_has_upstream_s_names() {
        let (nodes, header) = image(&server().view(), 7);
        assert_eq!(&header[..4], b"STAT");
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!([word(4), word(8), word(12)], [1, 7, (nodes.len() / NODE) as u32]);
        let mut found = Vec::new();
        walk(&nodes, word(16), "", &mut found);
        let of = |path: &str| found.iter().find(|(own, _)| own == path).map(|(_, value)| *value);
        assert_eq!(of("/spicevmc/in_data"), Some(5));
        assert_eq!(of("/spicevmc/out_bytes"), Some(70));
        assert_eq!(of("/port:0/out_messages"), Some(3));
        assert_eq!(of("/display[1]/cursor_channel/out_bytes"), Some(0));
        assert!(found.is_sorted(), "{found:?}");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let server = ServerStatistics::default();
        for number in 0..limits::STATISTICS_NODES {
            let name = format!("a very long name indeed:{number}");
            server.add_channel((number >> 8) as u8, number as u8, name, None);
        }
        let (nodes, _) = image(&server.view(), 1);
        assert_eq!(nodes.len(), FILE - HEADER);
    }
}
