//! What is left of a file with errors of syntax.
//!
//! The parser can go on after an error, but what it then finds is a guess: a line without
//! `=` hides the rest of the file, and after a broken `[[vm]]` the next `[vm.channels]`
//! would be another machine's. So nothing of a section with an error is used: its text is
//! blanked out, and the rest has to parse without an error of its own.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::limits;
use super::problem::Problems;
use super::table::bare;

/// A text without errors of syntax.
pub(super) struct Sound<'t> {
    pub(super) text: Cow<'t, str>,
    /// Where a header stands whose section has been blanked out.
    pub(super) emptied: Vec<Range<usize>>,
}

/// Takes out of `text` what is wrong. Offsets and lines stay as they are.
pub(super) fn sound<'t>(text: &'t str, problems: &mut Problems) -> Sound<'t> {
    let mut sections = sections(text);
    let mut sound = Cow::Borrowed(text);
    for _ in 0..limits::CONFIG_REPAIRS {
        let (tree, mut errors) = DeTable::parse_recoverable(&sound);
        if errors.is_empty() {
            drop(tree);
            let emptied = sections.iter().filter(|section| section.state == State::Emptied);
            return Sound { emptied: emptied.map(|s| s.begin..s.end).collect(), text: sound };
        }
        errors.sort_by_key(begin);
        let mut progress = false;
        let mut in_the_way = None;
        for error in &errors {
            let offset = begin(error);
            let at = sections.partition_point(|section| section.begin <= offset).saturating_sub(1);
            let section = &mut sections[at];
            let structural = is_structural(error);
            // A header in the wrong place puts others into the wrong place: they have
            // another chance without it.
            let follows = in_the_way.is_some_and(|header| header != section.header);
            if structural && (follows || section.is_gone()) {
                continue;
            }
            report(error, text, section, tree.get_ref(), problems);
            progress |= if offset < section.body {
                in_the_way = structural.then_some(section.header).or(in_the_way);
                section.remove(structural)
            } else {
                section.empty()
            };
        }
        remove_parts(&mut sections);
        // The error shows where nothing is left: something further up is not closed.
        let progress = progress || sections.iter_mut().rev().any(Section::empty);
        // A string of several lines can look like sections, once its beginning is gone.
        if !progress || text.contains("\"\"\"") || text.contains("'''") {
            break;
        }
        drop(tree);
        sound = Cow::Owned(without(text, &sections));
    }
    problems.add_useless();
    Sound { text: Cow::Borrowed(""), emptied: Vec::new() }
}

/// A header and what follows it.
struct Section<'t> {
    begin: usize,
    /// Where the header's line ends.
    body: usize,
    end: usize,
    header: &'t str,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// The header is left, so that the sections after it keep their place and number.
    Emptied,
    Gone,
    GoneWithParts,
}

impl Section<'_> {
    /// Whether it belongs to a section before it, as `[vm.io]` to `[[vm]]`.
    fn is_part(&self) -> bool {
        self.header.contains('.')
    }

    fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone | State::GoneWithParts)
    }

    /// False: there was nothing to empty.
    fn empty(&mut self) -> bool {
        let whole = self.state == State::Whole;
        if whole {
            self.state = State::Emptied;
        }
        whole
    }

    /// False: there was nothing to remove. A header that is not `readable` may have been
    /// that of a section with parts, whatever it looks like.
    fn remove(&mut self, readable: bool) -> bool {
        let removed = !self.is_gone();
        self.state = if readable && self.is_part() { State::Gone } else { State::GoneWithParts };
        removed
    }
}

fn remove_parts(sections: &mut [Section<'_>]) {
    let mut whole_is_gone = false;
    for section in sections {
        whole_is_gone &= section.is_part();
        if section.state == State::GoneWithParts {
            whole_is_gone = true;
        } else if whole_is_gone {
            section.state = State::Gone;
        }
    }
}

/// The sections of a text, the first one without a header. Every line with `[` in front
/// begins one, whether the rest of it makes sense or not.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = vec![Section { begin: 0, body: 0, end: 0, header: "", state: State::Whole }];
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        let body = begin + line.len();
        if line.trim_start().starts_with('[') {
            let header = line.split('#').next().unwrap_or_default().trim();
            sections.push(Section { begin, body, end: 0, header, state: State::Whole });
        }
        begin = body;
        if let Some(last) = sections.last_mut() {
            last.end = body;
        }
    }
    sections
}

/// The text with spaces where something is not to be seen.
fn without(text: &str, sections: &[Section<'_>]) -> String {
    let mut left = String::with_capacity(text.len());
    for section in sections {
        let keep = match section.state {
            State::Whole => section.end,
            State::Emptied => section.body,
            State::Gone | State::GoneWithParts => section.begin,
        };
        left.push_str(&text[section.begin..keep]);
        for c in text[keep..section.end].chars() {
            let blank = if c == '\n' { "\n" } else { &"    "[..c.len_utf8()] };
            left.push_str(blank);
        }
    }
    left
}

fn report(
    error: &Error,
    text: &str,
    section: &Section<'_>,
    tree: &DeTable<'_>,
    problems: &mut Problems,
) {
    if !is_duplicate(error) {
        return problems.add_syntax(begin(error), || None, message(error));
    }
    let span = error.span().unwrap_or_default();
    let key = || {
        if span.start < section.body {
            return Some(section.header.trim_matches(['[', ']']).to_owned());
        }
        let key = text.get(span.clone())?;
        let path = path_of(tree, &(section.begin..section.body));
        Some(path.map_or_else(|| key.to_owned(), |path| format!("{path}.{key}")))
    };
    problems.add_syntax(span.start, key, "there is one already");
}

fn begin(error: &Error) -> usize {
    error.span().unwrap_or_default().start
}

/// Whether it says that something is there already; its span is then a key.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// Whether a part of the file does not go with another one.
fn is_structural(error: &Error) -> bool {
    is_duplicate(error) || error.message().starts_with("cannot extend value")
}

/// The parser's words, but where it takes a bare word for the beginning of another.
fn message(error: &Error) -> &str {
    let message = error.message();
    let guesses =
        ["invalid boolean", "invalid float, expected `inf`", "invalid float, expected `nan`"];
    let guessed = guesses.iter().any(|guess| message.starts_with(guess));
    if guessed { "string values must be quoted" } else { message }
}

/// The path of the table whose header is in `line`.
fn path_of(table: &DeTable<'_>, line: &Range<usize>) -> Option<String> {
    let below = |path: String, value: &Spanned<DeValue<'_>>| {
        let inner = path_of(value.get_ref().as_table()?, line);
        // The deeper one first: tables that only a path names have their span in it.
        inner
            .map(|inner| format!("{path}.{inner}"))
            .or_else(|| line.contains(&value.span().start).then_some(path))
    };
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Array(items) => (1..)
            .zip(items.iter())
            .find_map(|(number, item)| below(format!("{}[{number}]", bare(key.get_ref())), item)),
        _ => below(bare(key.get_ref()), value),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// What is left, and what is reported.
    fn repaired(text: &str) -> (String, Vec<String>) {
        let path: Arc<Path> = Path::new("f").into();
        let mut problems = Problems::new(&path, text);
        let sound = sound(text, &mut problems).text.into_owned();
        assert!(DeTable::parse(&sound).is_ok(), "{sound:?}");
        assert!(sound.is_empty() || sound.len() == text.len(), "{sound:?}");
        let lines: Vec<_> = sound.lines().map(str::trim_end).collect();
        (lines.join("\n"), problems.finish().iter().map(ToString::to_string).collect())
    }

    fn left(text: &str) -> String {
        repaired(text).0
    }

    #[test]
    fn a_sound_text_stays() {
        let text = "a = 1\n[b]\nc = \"\"\"\n[d]\n\"\"\"\n";
        assert_eq!(repaired(text), (text.trim_end().to_owned(), vec![]));
    }

    #[test]
    fn the_section_with_the_error_is_emptied() {
        assert_eq!(left("[a]\nb = 1\noops\nc = 2\n[d]\ne = 1\n"), "[a]\n\n\n\n[d]\ne = 1");
        assert_eq!(left("oops\n[d]\ne = 1\n"), "\n[d]\ne = 1");
        assert_eq!(left("[a]\nb = \"\u{e4}\n[d]\ne = 1"), "[a]\n\n[d]\ne = 1");
        assert_eq!(left("[d]\ne = 1\n[a]\nb = [1\n"), "[d]\ne = 1\n[a]\n");
        assert_eq!(left("[d]\n# \0\ne = 1\n"), "[d]\n\n");
    }

    #[test]
    fn parts_stay_with_the_section_that_they_belong_to() {
        let (text, problems) = repaired("[[v]]\nn = 1\n[[v]]\nn =\n[v.a]\nb = 1\n");
        assert_eq!(text, "[[v]]\nn = 1\n[[v]]\n\n[v.a]\nb = 1");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("f:4: "), "{}", problems[0]);
        let broken = "[[v]]\nn = 1\n[[v\nn = 2\n[v.a]\nb = 1\n[c] # 1.0\n";
        assert_eq!(left(broken), "[[v]]\nn = 1\n\n\n\n\n[c] # 1.0");
        assert_eq!(left("[[v]]\nn = 1\n[v.a\nb = 1\n[v.c]\n[d]"), "[[v]]\nn = 1\n\n\n\n[d]");
        let twice = "[[v]]\nn = 1\n[v.a]\n[v.a]\nb = 1\n[v.c]\n";
        assert_eq!(left(twice), "[[v]]\nn = 1\n[v.a]\n\n\n[v.c]");
    }

    #[test]
    fn what_is_there_twice_is_named() {
        let (text, problems) = repaired("[a]\nb = 1\n[a]\nb = 2\n");
        assert_eq!(text, "[a]\nb = 1\n\n");
        assert_eq!(problems, ["f:3: a: there is one already"]);
        for (text, problem) in [
            ("b = 1\nb = 1\n", "f:2: b: there is one already"),
            ("[a]\nb = 1\nb = 1\n", "f:3: a.b: there is one already"),
            (
                "[[v]]\n[[v]]\n[[v.\"x y\"]]\nb = 1\nb = 1",
                "f:5: v[2].\"x y\"[1].b: there is one already",
            ),
            ("[v.x]\nb = 1\nb = 1", "f:3: v.x.b: there is one already"),
        ] {
            assert_eq!(repaired(text).1, [problem]);
        }
    }

    #[test]
    fn a_header_in_the_wrong_place_costs_no_others() {
        let (text, problems) = repaired(
            "[[v]]\nn = 1\n[v]\nn = 2\n[[v]]\nn = 3\n[v.a]\nb = 1\n[[v]]\nn = 4\n[v.a]\nb = 2\n",
        );
        assert_eq!(
            text,
            "[[v]]\nn = 1\n\n\n[[v]]\nn = 3\n[v.a]\nb = 1\n[[v]]\nn = 4\n[v.a]\nb = 2"
        );
        assert_eq!(problems, ["f:3: v: there is one already"]);
        let (text, problems) = repaired(&format!("[a]\n[b]\n{}", "[a]\n[[b]]\n".repeat(20)));
        assert_eq!(text.trim_end(), "[a]\n[b]");
        assert_eq!(problems.len(), 40);
        let (text, problems) = repaired("v = 1\n[v.a]\nb = 1\n[c]\n");
        assert_eq!((text.as_str(), problems.len()), ("v = 1\n\n\n[c]", 1));
    }

    #[test]
    fn a_word_without_quotes_is_called_so() {
        for word in ["thread", "foo", "info", "no", "yes"] {
            let problems = repaired(&format!("[a]\nb = {word}\n")).1;
            let expected = "f:2: string values must be quoted";
            assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_goes_as_a_whole() {
        let text = "[a]\nb = \"\"\"\n[c]\nd = 1\n\"\"\"\noops\n";
        let (text, problems) = repaired(text);
        assert_eq!(text, "");
        assert!(problems[0].ends_with("nothing of the file is used"), "{problems:?}");
        let unclosed = "a = [\n{ b = 1 },\n[c]\nd = 1\n[e]\nf = 1\n";
        assert_eq!(left(unclosed).trim(), "");
    }

    proptest! {
        #[test]
        fn any_text_is_repaired(text in "[\\[\\]a.=\"'1{}, #\n\u{e4}\r]{0,60}") {
            repaired(&text);
        }

        #[test]
        fn nothing_moves_to_another_section(
            parts in prop::collection::vec(any::<bool>(), 1..8),
            at in 0..40_usize,
            junk in "[\\[\\]a.=\"'1{}, ]{1,8}",
        ) {
            let sections = (1..).zip(parts).map(|(number, part)| {
                let part = if part { format!("[v.p]\nq = {number}\n") } else { String::new() };
                format!("[[v]]\nn = {number}\n{part}")
            });
            let text: String = sections.collect();
            let mut lines: Vec<_> = text.lines().collect();
            let at = at % lines.len();
            lines[at] = &junk;
            let path: Arc<Path> = Path::new("f").into();
            let text = lines.join("\n");
            // Junk that makes sense, such as `[""]`, gives what follows to another section.
            prop_assume!(DeTable::parse(&text).is_err());
            let left = sound(&text, &mut Problems::new(&path, &text)).text.into_owned();
            let tree = DeTable::parse(&left).expect("sound");
            let machines = tree.get_ref().get("v").and_then(|v| v.get_ref().as_array());
            for machine in machines.into_iter().flat_map(|v| v.iter()) {
                let n = machine.get_ref().get("n").map(|n| format!("{:?}", n.get_ref()));
                let q = machine.get_ref().get("p").and_then(|p| p.get_ref().get("q"));
                if let (Some(n), Some(q)) = (n, q) {
                    prop_assert_eq!(n, format!("{:?}", q.get_ref()));
                }
            }
        }
    }
}
