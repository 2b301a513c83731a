//! What is wrong with a file, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::limits;

/// One thing that is wrong: `PATH:LINE: KEY: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: Arc<Path>,
    line: usize,
    key: Option<String>,
    what: String,
}

impl Problem {
    pub(super) fn new(
        path: &Arc<Path>,
        line: usize,
        key: Option<String>,
        what: impl fmt::Display,
    ) -> Self {
        let key = key.map(|key| printable(&key));
        Self { path: Arc::clone(path), line, key, what: printable(&what.to_string()) }
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The key as `vm[2].channel[1].type`, tables in arrays counted from 1. Most errors
    /// of syntax have none.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// The problems of one file while it is read.
pub(super) struct Problems {
    path: Arc<Path>,
    /// Where each line begins.
    lines: Vec<usize>,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(path: &Arc<Path>, text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        // The end of a last line that is complete does not begin another one.
        let lines = std::iter::once(0).chain(after.filter(|at| *at < text.len())).collect();
        Self { path: Arc::clone(path), lines, list: Vec::new() }
    }

    /// The line of the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset)
    }

    /// Notes what is wrong with a key.
    pub(super) fn add(&mut self, offset: usize, key: String, what: impl fmt::Display) {
        self.add_on_line(self.line(offset), key, what);
    }

    /// The same for a line that has been counted before.
    pub(super) fn add_on_line(&mut self, line: usize, key: String, what: impl fmt::Display) {
        self.push(line, Some(key), &what);
    }

    /// Notes an error of syntax: one for each line, because the parser trips over the
    /// rest of a line that it did not understand.
    pub(super) fn add_syntax(
        &mut self,
        offset: usize,
        key: impl FnOnce() -> Option<String>,
        what: impl fmt::Display,
    ) {
        let line = self.line(offset);
        let full = self.list.len() >= limits::CONFIG_PROBLEMS;
        if !full && self.list.iter().all(|problem| problem.line != line) {
            self.push(line, key(), &what);
        }
    }

    /// Notes that the errors of syntax leave nothing.
    pub(super) fn add_useless(&mut self) {
        self.push(1, None, &"nothing of the file is used");
    }

    /// In the order of the lines.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.line);
        self.list
    }

    fn push(&mut self, line: usize, key: Option<String>, what: &dyn fmt::Display) {
        let left = limits::CONFIG_PROBLEMS.saturating_sub(self.list.len());
        if left == 1 {
            let rest = "this and what else is wrong with the file is not listed";
            self.list.push(Problem::new(&self.path, line, None, rest));
        } else if left > 1 {
            self.list.push(Problem::new(&self.path, line, key, what));
        }
    }
}

/// On one line, and without what a terminal would obey.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> Arc<Path> {
        Path::new("/a/b.toml").into()
    }

    #[test]
    fn a_problem_names_file_line_and_key() {
        let problem = Problem::new(&path(), 7, Some("vm[2].io".to_owned()), "is \u{1b}[31m\nred");
        assert_eq!(problem.to_string(), "/a/b.toml:7: vm[2].io: is \\u{1b}[31m\\nred");
        let problem = Problem::new(&path(), 2, Some("a\u{1b}\nb".to_owned()), "wrong");
        assert_eq!(problem.to_string(), "/a/b.toml:2: a\\u{1b}\\nb: wrong");
        let problem = Problem::new(&path(), 1, None, "nothing");
        assert_eq!(problem.to_string(), "/a/b.toml:1: nothing");
        assert_eq!((problem.line(), problem.key()), (1, None));
    }

    #[test]
    fn offsets_are_in_lines() {
        let problems = Problems::new(&path(), "ab\n\ncd\n");
        let lines: Vec<_> = (0..=8).map(|offset| problems.line(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 3, 3, 3, 3, 3]);
        assert_eq!(Problems::new(&path(), "").line(0), 1);
    }

    #[test]
    fn the_list_is_sorted_and_bounded() {
        let mut problems = Problems::new(&path(), &"x\n".repeat(1000));
        for line in (0..1000).rev() {
            problems.add(line * 2, format!("k{line}"), "wrong");
        }
        let list = problems.finish();
        assert_eq!(list.len(), limits::CONFIG_PROBLEMS);
        assert!(list.is_sorted_by_key(Problem::line));
        assert!(list[0].to_string().ends_with("is not listed"), "{}", list[0]);
    }

    #[test]
    fn a_line_has_one_error_of_syntax() {
        let mut problems = Problems::new(&path(), "x\ny\n");
        problems.add_syntax(1, || None, "first");
        problems.add_syntax(0, || None, "second");
        problems.add_syntax(2, || None, "third");
        let list: Vec<_> = problems.finish().iter().map(ToString::to_string).collect();
        assert_eq!(list, ["/a/b.toml:1: first", "/a/b.toml:2: third"]);
    }
}
