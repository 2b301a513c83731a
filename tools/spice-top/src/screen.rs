//! What stands on the terminal: servers, the graphs of the chosen one, and its clients or
//! channels.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use crate::model::{Key, Known, Model, Rate};
use crate::report::{amount, duration};
use crate::server::Numbers;

/// What somebody wants to see.
pub(crate) struct View {
    /// The chosen server.
    chosen: usize,
    /// Channels and not clients.
    pub(crate) channels: bool,
    /// Nothing moves.
    pub(crate) paused: bool,
    places: String,
}

impl View {
    /// `places` is where servers are looked for.
    pub(crate) fn new(places: &str) -> Self {
        Self { chosen: 0, channels: false, paused: false, places: places.to_owned() }
    }

    /// Chooses the next of so many servers, or the one before.
    pub(crate) fn step(&mut self, servers: usize, forward: bool) {
        let last = servers.saturating_sub(1);
        self.chosen = if forward { self.chosen + 1 } else { self.chosen.saturating_sub(1) };
        self.chosen = self.chosen.min(last);
    }
}

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
/// Lines that the list of servers may have with its head.
const SERVERS: u16 = 8;
const GRAPH: u16 = 5;

/// Paints all of it.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, view: &mut View) {
    let servers = model.servers();
    view.chosen = view.chosen.min(servers.len().saturating_sub(1));
    let list = (servers.len() as u16).saturating_add(1).min(SERVERS);
    let [top, graphs, rest, keys] = Layout::vertical([
        Constraint::Length(list),
        Constraint::Length(GRAPH),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let state = if view.paused { "paused  " } else { "" };
    let text = format!("{state}q end  p pause  c clients or channels  up, down: server");
    frame.render_widget(Paragraph::new(text), keys);
    let Some(known) = servers.get(view.chosen) else {
        let text = format!("no server has a socket in {}", view.places);
        return frame.render_widget(Paragraph::new(text), top);
    };
    draw_servers(frame, top, servers, view.chosen);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(graphs);
    let rate = known.rate(&Key::Server);
    draw_graph(frame, left, "from clients", rate.received, known.received.iter());
    draw_graph(frame, right, "to clients", rate.sent, known.sent.iter());
    draw_rows(frame, rest, known, view.channels);
}

fn draw_servers(frame: &mut Frame<'_>, area: Rect, servers: &[Known], chosen: usize) {
    let head = Row::new(["SERVER", "PID", "UP", "CLIENTS", "IN/s", "OUT/s", "REFUSED", ""]);
    // The chosen one has to be among those that fit.
    let fit = usize::from(area.height.saturating_sub(1)).max(1);
    let first = (chosen + 1).saturating_sub(fit);
    let rows = servers.iter().enumerate().skip(first).map(|(number, known)| {
        let (server, rate) = (&known.server, known.rate(&Key::Server));
        let name = match &known.error {
            Some(_) if server.pid == 0 => known.socket.display().to_string(),
            _ => server.name(),
        };
        let row = Row::new([
            name,
            server.pid.to_string(),
            duration(server.up),
            server.clients.len().to_string(),
            amount(rate.received),
            amount(rate.sent),
            server.refused.to_string(),
            known.error.clone().unwrap_or_default(),
        ]);
        if number == chosen { row.style(CHOSEN) } else { row }
    });
    let widths = [
        Constraint::Min(16),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Min(0),
    ];
    frame.render_widget(Table::new(rows, widths).header(head.style(HEAD)), area);
}

fn draw_graph<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    what: &str,
    now: f64,
    history: impl ExactSizeIterator<Item = &'a u64>,
) {
    // The newest stands at the right.
    let width = usize::from(area.width);
    let skipped = history.len().saturating_sub(width);
    let blank = width.saturating_sub(history.len());
    let points: Vec<u64> =
        std::iter::repeat_n(0, blank).chain(history.skip(skipped).copied()).collect();
    let most = points.iter().max().copied().unwrap_or(0);
    let title = format!("{what}: {}/s, most {}/s", amount(now), amount(most as f64));
    let graph = Sparkline::default().data(points).block(Block::new().title(Line::from(title)));
    frame.render_widget(graph, area);
}

fn draw_rows(frame: &mut Frame<'_>, area: Rect, known: &Known, channels: bool) {
    let server = &known.server;
    let mut rows = Vec::new();
    if channels {
        for own in &server.channels {
            let rate = known.rate(&Key::Channel(own.name.clone()));
            rows.push(row(own.name.clone(), rate, &own.numbers));
        }
    } else {
        for client in &server.clients {
            let rate = known.rate(&Key::Client(client.session));
            rows.push(row(client.row.name.clone(), rate, &client.row.numbers).style(HEAD));
            for own in &client.connections {
                let rate = known.rate(&Key::Connection(client.session, own.name.clone()));
                rows.push(row(format!("  {}", own.name), rate, &own.numbers));
            }
        }
    }
    let first = if channels { "CHANNEL" } else { "CLIENT" };
    let head = [
        first,
        "IN/s",
        "OUT/s",
        "MSG IN/s",
        "MSG OUT/s",
        "QUEUED",
        "MOST",
        "WAIT IN",
        "WAIT OUT",
        "IDLE",
    ];
    let widths = [
        Constraint::Min(20),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(HEAD)), area);
}

fn row(name: String, rate: Rate, own: &Numbers) -> Row<'static> {
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let cells = [
        name,
        amount(rate.received),
        amount(rate.sent),
        format!("{:.0}", rate.received_messages),
        format!("{:.0}", rate.sent_messages),
        amount(own.queued as f64),
        amount(own.queued_highest as f64),
        percent(rate.blocked_in),
        percent(rate.blocked_out),
        own.idle.map_or_else(|| "-".to_owned(), duration),
    ];
    Row::new(cells.map(Cell::from))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::model::tests::{answer, document};

    fn painted(model: &Model, view: &mut View, size: (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("memory");
        terminal.draw(|frame| draw(frame, model, view)).expect("memory");
        terminal.backend().to_string()
    }

    #[test]
    fn clients_and_channels_are_painted_with_rates() {
        let (mut model, begin) = (Model::default(), Instant::now());
        model.take(vec![answer(begin, Ok(document(1, 0)))]);
        let later = begin + Duration::from_secs(1);
        model.take(vec![answer(later, Ok(document(1, 10_240)))]);
        let mut view = View::new("/run");
        let clients = painted(&model, &mut view, (120, 24));
        for text in
            ["a vm", "192.0.2.1:5", "  port:0 org.example", "to clients: 10.0 KiB/s", "100 %"]
        {
            assert!(clients.contains(text), "{text} is not in\n{clients}");
        }
        view.channels = true;
        let channels = painted(&model, &mut view, (120, 24));
        assert!(channels.contains("CHANNEL") && !channels.contains("192.0.2.1"), "{channels}");
    }

    #[test]
    fn any_size_will_do() {
        let mut model = Model::default();
        model.take(vec![answer(Instant::now(), Ok(document(1, 0)))]);
        for size in [(1, 1), (3, 40), (200, 2), (300, 100)] {
            painted(&model, &mut View::new("/run"), size);
        }
    }

    #[test]
    fn without_a_server_it_says_where_it_looks() {
        let text = painted(&Model::default(), &mut View::new("/run/x"), (80, 10));
        assert!(text.contains("no server has a socket in /run/x"), "{text}");
    }

    #[test]
    fn the_choice_stays_among_the_servers() {
        let mut view = View::new("");
        view.step(2, true);
        view.step(2, true);
        assert_eq!(view.chosen, 1);
        view.step(2, false);
        view.step(0, true);
        assert_eq!(view.chosen, 0);
    }
}
