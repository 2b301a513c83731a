//! Tables read by type; each complaint has its line and its key.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A table of the file.
pub(super) struct Table<'t> {
    path: String,
    /// Where it begins: its header, if it has one.
    at: usize,
    entries: &'t DeTable<'t>,
    emptied: &'t [Range<usize>],
}

/// What was there is wrong, and has been noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

impl<'t> Table<'t> {
    /// The whole file; `emptied` says which sections are no longer whole, in order.
    pub(super) fn root(table: &'t DeTable<'t>, emptied: &'t [Range<usize>]) -> Self {
        Self { path: String::new(), at: 0, entries: table, emptied }
    }

    /// The table as problems name it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// One of its keys as problems name it.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Where it begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where a key stands; where the table begins if it is not there.
    pub(super) fn at_key(&self, key: &str) -> usize {
        self.entries.get_key_value(key).map_or(self.at, |(key, _)| key.span().start)
    }

    /// Whether an error of syntax has taken what was in it.
    pub(super) fn is_emptied(&self) -> bool {
        let next = self.emptied.partition_point(|range| range.start <= self.at);
        next.checked_sub(1).is_some_and(|last| self.emptied[last].contains(&self.at))
    }

    /// The value of a key, if there is one. `expected` says what `read` takes.
    pub(super) fn value<T>(
        &self,
        key: &str,
        expected: &str,
        problems: &mut Problems,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Result<Option<T>, Wrong> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        if let Some(read) = read(value.get_ref()) {
            return Ok(Some(read));
        }
        let what = format!("expected {expected}, found {}", Found(value.get_ref()));
        problems.add(self.at_key(key), self.key(key), what);
        Err(Wrong)
    }

    /// The table under a key.
    pub(super) fn table(&self, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = self.entries.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("expected a table, as [{}] begins one", self.header(key));
            problems.add(self.at_key(key), self.key(key), what);
            return None;
        };
        Some(self.below(self.key(key), value, table))
    }

    /// The tables under a key.
    pub(super) fn tables(&self, key: &str, problems: &mut Problems) -> Vec<Self> {
        let Some(value) = self.entries.get(key) else { return Vec::new() };
        let expected = format!("expected tables, each begun by [[{}]]", self.header(key));
        let Some(items) = value.get_ref().as_array() else {
            problems.add(self.at_key(key), self.key(key), expected);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (number, item) in (1..).zip(items.iter()) {
            let path = format!("{}[{number}]", self.key(key));
            match item.get_ref().as_table() {
                Some(table) => tables.push(self.below(path, item, table)),
                None => problems.add(item.span().start, path, &expected),
            }
        }
        tables
    }

    /// Notes the keys that nobody knows.
    pub(super) fn only(&self, known: &[&str], problems: &mut Problems) {
        for key in self.entries.keys() {
            let name = key.get_ref();
            if known.contains(&&**name) {
                continue;
            }
            let meant = closest(name, known);
            let hint = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            let what = format!("there is no such key{hint}");
            problems.add(key.span().start, join(&self.path, name), what);
        }
    }

    /// The path of a key without the numbers.
    fn header(&self, key: &str) -> String {
        self.key(key).split(['[', ']']).step_by(2).collect()
    }

    fn below(&self, path: String, value: &Spanned<DeValue<'_>>, table: &'t DeTable<'t>) -> Self {
        Self { path, at: value.span().start, entries: table, emptied: self.emptied }
    }
}

/// `true` or `false`.
pub(super) fn truth(value: &DeValue<'_>) -> Option<bool> {
    value.as_bool()
}

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A whole number in a range.
pub(super) fn whole(value: &DeValue<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    let number = value.as_integer()?;
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
    range.contains(&number).then_some(number)
}

/// A key as it would have to be written.
pub(super) fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { format!("{key:?}") }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { bare(key) } else { format!("{path}.{}", bare(key)) }
}

/// A value in a complaint.
struct Found<'a>(&'a DeValue<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise a text by.
        const SHOWN: usize = 60;
        match self.0 {
            DeValue::String(text) if text.chars().nth(SHOWN).is_some() => {
                write!(f, "\"{}…\"", text.chars().take(SHOWN).collect::<String>())
            }
            DeValue::String(text) => write!(f, "\"{text}\""),
            DeValue::Integer(number) => write!(f, "{number}"),
            DeValue::Boolean(truth) => write!(f, "{truth}"),
            DeValue::Array(_) => f.write_str("an array"),
            other => write!(f, "a {}", other.type_str()),
        }
    }
}

/// The known key that somebody may have meant.
fn closest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Slips of the finger that a word can have and still be meant.
    const SLIPS: usize = 2;
    let near = known.iter().map(|known| (distance(key, known, SLIPS), *known));
    // A word of which less than half is left is another one.
    let near = near.filter(|(distance, known)| *distance <= SLIPS && *distance * 2 <= known.len());
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters have to be put in, taken out or changed; above `most` any number
/// above it.
fn distance(a: &str, b: &str, most: usize) -> usize {
    if a.len().abs_diff(b.len()) > most * 4 {
        return most + 1;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn complaints(text: &str, read: impl FnOnce(&Table<'_>, &mut Problems)) -> Vec<String> {
        let path: Arc<Path> = Path::new("f").into();
        let mut problems = Problems::new(&path, text);
        let tree = DeTable::parse(text).expect("good TOML");
        read(&Table::root(tree.get_ref(), &[]), &mut problems);
        problems.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_value_of_another_kind_is_shown() {
        for (value, found) in [
            ("\"yes\"", "\"yes\""),
            ("0x10", "0x10"),
            ("1.5", "a float"),
            ("[true]", "an array"),
            ("{ a = 1 }", "a table"),
            ("1979-05-27", "a datetime"),
            ("\"a\\nb\"", "\"a\\nb\""),
            (&format!("\"{}\"", "ä".repeat(61)), &format!("\"{}…\"", "ä".repeat(60))),
        ] {
            let seen = complaints(&format!("\n\"a b\" = {value}"), |table, problems| {
                assert_eq!(table.value("a b", "this", problems, truth), Err(Wrong));
                assert_eq!(table.value("b", "that", problems, truth), Ok(None));
            });
            assert_eq!(seen, [format!("f:2: \"a b\": expected this, found {found}")]);
        }
    }

    #[test]
    fn whole_numbers_have_a_range() {
        for (number, value) in [
            ("7", Some(7)),
            ("0x0_7", Some(7)),
            ("+8", Some(8)),
            ("6", None),
            ("9", None),
            ("-7", None),
            ("7.0", None),
            ("18446744073709551623", None),
            ("99999999999999999999999999999999999999999", None),
        ] {
            complaints(&format!("n = {number}"), |table, problems| {
                let read = table.value("n", "", problems, |value| whole(value, 7..=8));
                assert_eq!(read.ok().flatten(), value, "{number}");
            });
        }
    }

    #[test]
    fn tables_are_asked_for_as_they_are_written() {
        let text = "a = 1\nb = [\n1,\n{ x = 1 }]\n[c]\ny = 1\n";
        let seen = complaints(text, |root, problems| {
            assert!(root.table("a", problems).is_none());
            let tables = root.tables("b", problems);
            assert_eq!(tables[0].path(), "b[2]");
            tables[0].only(&[], problems);
            assert!(root.tables("c", problems).is_empty());
            root.table("c", problems).expect("a table").only(&["x"], problems);
            assert!(root.table("d", problems).is_none() && root.tables("d", problems).is_empty());
        });
        let expected = [
            "f:1: a: expected a table, as [a] begins one",
            "f:3: b[1]: expected tables, each begun by [[b]]",
            "f:4: b[2].x: there is no such key",
            "f:5: c: expected tables, each begun by [[c]]",
            "f:6: c.y: there is no such key; did you mean x?",
        ];
        assert_eq!(seen[..4], expected[..4]);
        assert_eq!(seen[4], "f:6: c.y: there is no such key", "one letter is all of it");
    }

    #[test]
    fn the_closest_key_is_meant() {
        let known = ["compression", "busy", "idle-timeout", "io"];
        assert_eq!(closest("compresion", &known), Some("compression"));
        assert_eq!(closest("idle_timeout", &known), Some("idle-timeout"));
        assert_eq!(closest("buzzy", &known), Some("busy"));
        assert_eq!(closest("oi", &known), None);
        assert_eq!(closest("i0", &known), Some("io"));
        assert_eq!(closest("", &known), None);
        assert_eq!(closest(&"compression".repeat(1000), &known), None);
    }
}
