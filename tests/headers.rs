//! The two headers that are made from the Rust source are what the source says.
//!
//! `UPDATE_HEADERS=1 cargo test --test headers` writes them anew.

use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, RenameRule, Style};

#[test]
fn the_header_of_the_old_char_device_api_is_fresh() {
    check(&Header {
        file: "spice-char-device.h",
        guard: "SPICE_CHAR_DEVICE_H_",
        sources: &[
            "char_device/layout.rs",
            "char_device/state.rs",
            "char_device/clients.rs",
            "char_device/buffers.rs",
            "char_device/migration.rs",
            "char_device/vmc.rs",
            "marshaller.rs",
        ],
        includes: &["spice-char.h"],
        about: "Char devices of a program's own making: the C API that SPICE's server library
had inside, in its 0.12 series, for everything that reads and writes a char
device. Exported in the version node SPICE_CHAR_DEVICE_0.12.

A device is made around an instance (spice-char.h) with a table of callbacks.
Bytes for the device go through write buffers: get, fill, add. Messages from
the device are read by a callback and sent to each client by another one. Tokens
limit both directions. The rules of spice.h hold here, too; where a function says
\"logged\", one line says what was wrong and nothing else happens.",
    });
}

#[test]
fn the_header_of_our_own_additions_is_fresh() {
    check(&Header {
        file: "spice-server-rs.h",
        guard: "SPICE_SERVER_RS_H_",
        sources: &["registry.rs", "statistics.rs", "char_device/explicit.rs"],
        includes: &["spice-server.h", "spice-char-device.h"],
        about: "What this library has and the upstream one does not. Exported in the version node
SPICE_SERVER_RS_1. The rules of spice.h hold here, too.",
    });
}

/// One generated header.
struct Header {
    file: &'static str,
    guard: &'static str,
    /// Below src/ffi, in the order of the header.
    sources: &'static [&'static str],
    includes: &'static [&'static str],
    /// The comment at the top.
    about: &'static str,
}

fn check(header: &Header) {
    let path = root().join("include/spice-server").join(header.file);
    let text = generate(header);
    if std::env::var_os("UPDATE_HEADERS").is_some_and(|update| !update.is_empty()) {
        std::fs::write(&path, text).expect("the include directory is writable");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(
        found == text,
        "{} is stale (first difference in line {:?}): run \
         `UPDATE_HEADERS=1 cargo test --test headers`",
        header.file,
        difference.map(|line| line + 1),
    );
}

fn generate(header: &Header) -> String {
    let mut builder = Builder::new().with_config(config(header));
    for source in header.sources {
        builder = builder.with_src(root().join("src/ffi").join(source));
    }
    let mut text = Vec::new();
    builder.generate().expect("the source is understood").write(&mut text);
    for_c_readers(&String::from_utf8(text).expect("a header is text"))
}

fn config(header: &Header) -> Config {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        cpp_compat: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        includes: header.includes.iter().map(ToString::to_string).collect(),
        include_guard: Some(header.guard.into()),
        header: Some(format!(
            "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n/*\n * {}\n *\n \
             * Made from the Rust source by tests/headers.rs; do not edit.\n */",
            header.about.replace('\n', "\n * ").replace(" * \n", " *\n")
        )),
        documentation_style: DocumentationStyle::Doxy,
        usize_is_size_t: true,
        line_length: 90,
        tab_width: 4,
        ..Config::default()
    };
    config.function.rename_args = RenameRule::None;
    // Named by the other headers.
    config.export.exclude = vec!["SpiceCharDeviceState".into()];
    config.export.rename.insert("Server".into(), "SpiceServer".into());
    config
}

/// Takes out of the comments what is for readers of the Rust source: the sections on
/// safety, and where the tests are.
fn for_c_readers(header: &str) -> String {
    let mut text = String::new();
    let mut skipping = false;
    for line in header.lines() {
        let word = line.trim_start().trim_start_matches('*').trim_start();
        if word.starts_with("# Safety") || word.starts_with("Shown by:") {
            skipping = true;
            // The empty line before it.
            while let Some(rest) = text.strip_suffix(" *\n") {
                text.truncate(rest.len());
            }
        }
        if word.starts_with('/') || line.trim_end().ends_with("*/") {
            skipping = false;
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}
