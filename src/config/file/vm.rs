//! A `[[vm]]` section and the machines that it is for.

use toml::de::DeValue;

use super::problem::Problems;
use super::settings::{SETTINGS, Settings};
use super::table::Table;

/// The settings of some machines.
#[derive(Clone, Debug)]
pub(super) struct Vm {
    name: Option<Name>,
    uuid: Option<[u8; 16]>,
    pub(super) settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Is(String),
    BeginsWith(String),
}

impl Vm {
    /// `None` if nobody could say which machines it is for. Its settings are looked
    /// through all the same.
    pub(super) fn read(table: &Table<'_>, problems: &mut Problems) -> Option<Self> {
        table.only(&[&["name", "uuid"], &SETTINGS[..]].concat(), problems);
        let expected = "the name of a virtual machine, with a `*` at the end or without";
        let name = table.value("name", expected, problems, name);
        let uuid = table.value("uuid", "a UUID", problems, |value| uuid(value.as_str()?));
        let settings = Settings::read(table, problems);
        if table.is_emptied() {
            return None;
        }
        let (name, uuid) = (name.ok()?, uuid.ok()?);
        if name.is_none() && uuid.is_none() {
            let what = "a name or a UUID has to say which machines it is for";
            problems.add(table.at(), table.path().to_owned(), what);
            return None;
        }
        Some(Self { name, uuid, settings })
    }

    /// Whether it is for this machine.
    pub(super) fn is_for(&self, name: Option<&[u8]>, uuid: Option<&[u8; 16]>) -> bool {
        let named = self.name.as_ref().is_none_or(|own| name.is_some_and(|name| own.is(name)));
        named && self.uuid.as_ref().is_none_or(|own| uuid == Some(own))
    }
}

impl Name {
    fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Is(own) => own.as_bytes() == name,
            Self::BeginsWith(own) => name.starts_with(own.as_bytes()),
        }
    }
}

fn name(value: &DeValue<'_>) -> Option<Name> {
    let text = value.as_str()?;
    let (name, begins) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
    if name.contains('*') || text.is_empty() {
        return None;
    }
    Some(if begins { Name::BeginsWith(name.to_owned()) } else { Name::Is(name.to_owned()) })
}

/// A UUID as text, in either case, with its hyphens or without.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let hyphened = match text.len() {
        32 => false,
        36 => HYPHENS.iter().all(|at| text.as_bytes()[*at] == b'-').then_some(true)?,
        _ => return None,
    };
    let digits = text.chars().enumerate().filter(|(at, _)| !(hyphened && HYPHENS.contains(at)));
    let digits: Option<Vec<u8>> =
        digits.map(|(_, digit)| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits?.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(name: Option<&str>, uuid_text: Option<&str>) -> Vm {
        let name = name.map(|text| super::name(&DeValue::String(text.into())).expect("a name"));
        let uuid = uuid_text.map(|text| uuid(text).expect("a UUID"));
        Vm { name, uuid, settings: Settings::default() }
    }

    #[test]
    fn a_uuid_has_hyphens_or_not() {
        let bytes: [u8; 16] = std::array::from_fn(|i| i as u8 * 0x11);
        for text in [
            "00112233-4455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            "00112233445566778899aAbBcCdDeEfF",
        ] {
            assert_eq!(uuid(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "-",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "00112233-4455-6677-8899aabb-ccddeeff",
            "0011223344556677-8899-aabbccddeeff",
            "00112233445566778899aabbccddeeffabcd",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "00112233445566778899aabbccddeefg",
            "00112233445566778899aabbccddeeff    ",
            "00112233445566778899aabbccddeeffx",
            "0011223344556677889\u{e4}aabbccddeeff",
        ] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }

    #[test]
    fn a_section_is_for_machines_by_name_and_uuid() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let (own, other) = (uuid(text).expect("a UUID"), [0; 16]);
        let exact = vm(Some("win"), None);
        assert!(exact.is_for(Some(b"win"), None));
        for name in [None, Some(&b""[..]), Some(b"win1"), Some(b"Win")] {
            assert!(!exact.is_for(name, Some(&own)), "{name:?}");
        }
        let several = vm(Some("win*"), None);
        assert!(several.is_for(Some(b"win"), None) && several.is_for(Some(b"win\xff"), None));
        assert!(!several.is_for(Some(b"wi"), None) && !several.is_for(None, Some(&own)));
        assert!(vm(Some("*"), None).is_for(Some(b""), None));
        assert!(!vm(Some("*"), None).is_for(None, None), "a machine without a name");
        let by_uuid = vm(None, Some(text));
        assert!(by_uuid.is_for(None, Some(&own)) && by_uuid.is_for(Some(b"x"), Some(&own)));
        assert!(!by_uuid.is_for(None, None) && !by_uuid.is_for(None, Some(&other)));
        let both = vm(Some("win"), Some(text));
        assert!(both.is_for(Some(b"win"), Some(&own)));
        assert!(!both.is_for(Some(b"win"), Some(&other)) && !both.is_for(Some(b"x"), Some(&own)));
    }

    #[test]
    fn a_star_stands_at_the_end() {
        for text in ["", "a*b", "*a", "**"] {
            assert_eq!(name(&DeValue::String(text.into())), None, "{text}");
        }
    }
}
