//! docs/statistics.md names every number that readers get, with its unit, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use spice_server::stats::{
    ConnectionLabel, EndingKind, LinkEvent, METRICS, Refusal, ServerStatistics, Unit, document,
    metrics,
};

/// Names in the first column of the page's tables, with what stands in the second.
fn documented() -> BTreeSet<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/statistics.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].strip_prefix('`')?.strip_suffix('`')?;
        // The table of the ways to read has functions.
        (!name.contains('(')).then(|| (name.to_owned(), cells[2].to_owned()))
    })
    .collect()
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::Count => "messages",
        Unit::Seconds => "seconds",
    }
}

#[test]
fn the_page_has_the_names_of_the_code() {
    let documented = documented();
    let mut expected: BTreeSet<(String, String)> = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), unit(metric.unit).to_owned()))
        .collect();
    expected.extend(LinkEvent::ALL.map(|event| (event.key(), "links".to_owned())));
    expected.extend(EndingKind::ALL.map(|kind| (kind.name().to_owned(), "connections".to_owned())));
    expected.extend(Refusal::ALL.map(|refusal| (refusal.name().to_owned(), "times".to_owned())));
    let missing: Vec<_> = expected.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/statistics.md: {missing:?}");
    // The others are names of the document that no table of the code has.
    let server = server();
    let text = document(&server.view());
    for (name, _) in documented.difference(&expected) {
        assert!(text.contains(&format!("\"{name}\":")), "{name} is in docs/statistics.md only");
    }
    let page: BTreeSet<_> = documented.iter().map(|(name, _)| &name[..]).collect();
    for name in keys(&text) {
        assert!(page.contains(&name[..]), "{name} is not in docs/statistics.md");
    }
}

#[test]
fn each_metric_is_a_name_of_the_page() {
    let page: BTreeSet<_> = documented().into_iter().map(|(name, _)| name).collect();
    for line in metrics(&server().view()).lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        let name = name.strip_prefix("spice_").and_then(|name| name.split_once('_'));
        let (_, name) = name.unwrap_or_else(|| panic!("{line}"));
        let name = name.strip_suffix("_total").unwrap_or(name);
        assert!(page.contains(name), "{line}");
    }
}

/// One that has everything.
fn server() -> ServerStatistics {
    let server = ServerStatistics::default();
    server.add_channel(10, 0, "port:0".to_owned(), None);
    server.add_client(1, "local");
    let (session, channel_id, home) = (1, 0, "main");
    let label = ConnectionLabel { id: 1, session, kind: 10, channel_id, secured: false, home };
    let counters = std::sync::Arc::<spice_server::stats::Counters>::default();
    counters.received(1, 1);
    server.add_connection(label, counters);
    server
}

/// The keys of a JSON document whose texts have no quotes in them.
fn keys(text: &str) -> Vec<String> {
    let parts: Vec<_> = text.split('"').collect();
    let texts = parts.windows(2).skip(1).step_by(2);
    texts.filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0].to_owned()).collect()
}
