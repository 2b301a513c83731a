#!/usr/bin/env python3
"""Builds the Rust part as a static library for meson, or one of its programs.

Runs `cargo rustc` with the target directory inside the meson build directory,
copies what it makes to where ninja expects it, and turns cargo's dep-info into
a depfile, so that ninja calls cargo again only when a file that went into it
has changed.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cargo", required=True, help="the cargo program")
    parser.add_argument("--source-root", required=True, type=pathlib.Path)
    parser.add_argument("--target-dir", required=True, type=pathlib.Path)
    parser.add_argument("--profile", required=True, help="cargo profile: release, dev")
    parser.add_argument("--package", help="of the workspace; without it the library's")
    parser.add_argument("--bin", help="the program to build; without it the static library")
    parser.add_argument("--features", help="exactly these cargo features, with commas between")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--depfile", required=True, type=pathlib.Path)
    return parser.parse_args()


def main():
    args = arguments()
    # The only crate type: with a second one beside it cargo drops LTO.
    library = ["--lib", "--crate-type", "staticlib"]
    options, environment = without_paths(args)
    command = [
        args.cargo, *options, "rustc",
        *(["--package", args.package] if args.package else []),
        *(["--bin", args.bin] if args.bin else library),
        "--profile", args.profile,
        *(["--no-default-features", "--features", args.features]
          if args.features is not None else []),
        "--locked",
        "--target-dir", str(args.target_dir.resolve()),
    ]
    # cargo looks for .cargo/config.toml (vendored sources) from the working
    # directory upwards, not from the manifest.
    done = subprocess.run(command, cwd=args.source_root, env=environment, check=False)
    if done.returncode != 0:
        return done.returncode

    # cargo's name for the directory of the profile `dev` is `debug`.
    directory = "debug" if args.profile == "dev" else args.profile
    built = args.target_dir.resolve() / directory / (args.bin or "libspice_server.a")
    shutil.copy(built, args.output)

    files = read_dep_info(built.with_suffix(".d"))
    files += [str(args.source_root / name) for name in ("Cargo.toml", "Cargo.lock")]
    write_depfile(args.depfile, args.output, files)
    return 0


def without_paths(args):
    """Options for cargo and an environment, so that rustc writes no path of this machine into
    what it makes: two builds of one source in two places must be the same bytes."""
    home = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
    # Where several fit, the last one counts.
    places = [(args.source_root.resolve(), "."), (args.target_dir.resolve(), "target"),
              (pathlib.Path(home).resolve(), "cargo")]
    flags = [f"--remap-path-prefix={place}={name}" for place, name in places]
    for variable, separator in ("CARGO_ENCODED_RUSTFLAGS", "\x1f"), ("RUSTFLAGS", " "):
        if variable in os.environ:
            # cargo looks at flags in one place only, and the first one is this.
            ours = separator.join(filter(None, [os.environ[variable], *flags]))
            return [], {**os.environ, variable: ours}
    return ["--config", f"build.rustflags={json.dumps(flags)}"], None


def read_dep_info(path):
    """The files named by a cargo dep-info file: `output: file file ...`."""
    files = []
    for line in path.read_text(encoding="utf-8").splitlines():
        _, colon, names = line.partition(": ")
        if colon:
            # A blank inside a name is written `\\ `.
            names = names.replace("\\ ", "\0").split()
            files += [name.replace("\0", " ") for name in names]
    return files


def write_depfile(path, output, files):
    def escape(name):
        return str(name).replace("$", "$$").replace(" ", "\\ ").replace("#", "\\#")

    names = " \\\n  ".join(escape(name) for name in sorted(set(files)))
    path.write_text(f"{escape(os.fspath(output))}: \\\n  {names}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
