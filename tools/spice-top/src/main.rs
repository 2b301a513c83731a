//! `spice-top`: the statistics of SPICE servers, live in a terminal or for scripts. The
//! manual is man/spice-top.1, what the numbers mean is in docs/statistics.md.
//!
//! `source` asks the servers, `server` reads what they answer, `model` makes rates of it,
//! `screen` paints them and `report` prints them. The servers are asked on a thread of its
//! own, so that keys are obeyed while one of them does not answer.

#![allow(clippy::cast_precision_loss, reason = "shown are three digits of a number")]

mod model;
mod options;
mod report;
mod screen;
mod server;
mod source;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::model::Model;
use crate::options::{Options, Request, USAGE};
use crate::screen::View;
use crate::source::{Answer, Sources};

/// No server answered.
const NONE: u8 = 1;
/// The arguments are wrong.
const ARGUMENTS: u8 = 2;
/// The terminal or standard output failed.
const LOCAL: u8 = 3;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Request::Run(options)) => options,
        Ok(Request::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("spice-top: {error}\n{USAGE}");
            return ExitCode::from(ARGUMENTS);
        }
    };
    let sources = Sources::new(options.places.clone());
    let done = if options.json || options.once {
        print(&options, sources)
    } else {
        show(options.interval, sources).map(|()| ExitCode::SUCCESS)
    };
    match done {
        Ok(code) => code,
        // Whoever read this has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spice-top: {error}");
            ExitCode::from(LOCAL)
        }
    }
}

/// For scripts: once, or again and again.
fn print(options: &Options, mut sources: Sources) -> io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    loop {
        let begin = Instant::now();
        let answers = sources.ask();
        let mut out = io::stdout().lock();
        for Answer { socket, result, .. } in &answers {
            match result {
                Ok(document) if options.json => {
                    writeln!(out, "{}", report::json(socket, document))?;
                }
                Ok(document) => write!(out, "{}", report::text(socket, document))?,
                Err(error) => eprintln!("spice-top: {}: {error}", socket.display()),
            }
        }
        out.flush()?;
        if answers.is_empty() {
            eprintln!("spice-top: there is no socket in {}", sources.places());
        }
        if !answers.iter().any(|answer| answer.result.is_ok()) {
            code = ExitCode::from(NONE);
        }
        if options.once {
            return Ok(code);
        }
        thread::sleep(options.interval.saturating_sub(begin.elapsed()));
    }
}

/// In the terminal, until somebody has had enough.
fn show(interval: Duration, mut sources: Sources) -> io::Result<()> {
    let places = sources.places();
    let (send, answers) = channel();
    thread::spawn(move || {
        loop {
            let begin = Instant::now();
            if send.send(sources.ask()).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(begin.elapsed()));
        }
    });
    let mut terminal = ratatui::try_init()?;
    let done = run(&mut terminal, &answers, &places);
    ratatui::try_restore()?;
    done
}

/// How long a key may go unnoticed.
const KEYS: Duration = Duration::from_millis(100);

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    answers: &Receiver<Vec<Answer>>,
    places: &str,
) -> io::Result<()> {
    let (mut model, mut view) = (Model::default(), View::new(places));
    let mut changed = true;
    loop {
        for new in answers.try_iter() {
            if !view.paused {
                model.take(new);
                changed = true;
            }
        }
        if changed {
            terminal.draw(|frame| screen::draw(frame, &model, &mut view))?;
            changed = false;
        }
        if !event::poll(KEYS)? {
            continue;
        }
        changed = true;
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupted = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('c') if interrupted => return Ok(()),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('p') => view.paused = !view.paused,
                KeyCode::Char('c') | KeyCode::Tab => view.channels = !view.channels,
                KeyCode::Up | KeyCode::Char('k') => view.step(model.servers().len(), false),
                KeyCode::Down | KeyCode::Char('j') => view.step(model.servers().len(), true),
                _ => (),
            }
        }
    }
}
