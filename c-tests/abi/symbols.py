#!/usr/bin/env python3
"""Compares the dynamic symbols of our shared object with Debian's, name and
version node, and looks at what else the dynamic linker and packagers see:
SONAME, file names, needed libraries, node chain, hardening.
"""

import argparse
import pathlib
import re
import subprocess

from headers import fail, run

# What level 0.16 has over the release that Debian 12 ships.
NEW_FUNCTIONS = {("spice_qxl_gl_scanout2", "SPICE_SERVER_0.16")}
NEW_NODES = {"SPICE_SERVER_0.16": "SPICE_SERVER_0.14.3"}
# Our own additions: nodes without a parent, each with exactly the functions that its
# header declares.
OWN_HEADERS = {
    "SPICE_CHAR_DEVICE_0.12": "spice-char-device.h",
    "SPICE_SERVER_RS_1": "spice-server-rs.h",
}
OWN_NODES = dict.fromkeys(OWN_HEADERS)

SONAME = "libspice-server.so.1"
FILE_NAME = "libspice-server.so.1.15.0"


class Library:
    """What readelf says about a shared object."""

    def __init__(self, path):
        self.path = path
        symbols = run(["readelf", "--dyn-syms", "--wide", str(path)])
        dynamic = run(["readelf", "--dynamic", "--wide", str(path)])
        self.segments = run(["readelf", "--program-headers", "--wide", str(path)])
        versions = run(["readelf", "--version-info", "--wide", str(path)])
        self.functions, self.node_symbols, self.strays = set(), set(), set()
        for line in symbols.splitlines():
            self._add_symbol(line.split())
        self.dynamic = re.findall(r"\((\w+)\)\s+(.*)", dynamic)
        self.nodes = read_nodes(versions)

    def _add_symbol(self, words):
        if len(words) < 8 or not words[0].rstrip(":").isdigit() or words[6] == "UND":
            return
        kind, binding, visibility, section, name = *words[3:7], words[7]
        if binding == "LOCAL":
            return
        symbol, at, node = name.partition("@@")
        if section == "ABS" and kind == "OBJECT" and symbol == (node or symbol):
            self.node_symbols.add(symbol)
        elif kind == "FUNC" and at and visibility in ("DEFAULT", "PROTECTED"):
            self.functions.add((symbol, node))
        else:
            self.strays.add(f"{name} ({kind} {binding} {visibility})")

    def tag(self, name):
        return [re.sub(r"^.*\[(.*)\]$", r"\1", value) for tag, value in self.dynamic if tag == name]


def read_nodes(text):
    """Version definitions: node -> its parent, or None."""
    nodes, current = {}, None
    definitions = text.partition("Version definition section")[2].partition("\n\n")[0]
    for line in definitions.splitlines():
        if found := re.search(r"Flags: (.*?)\s+Index:.*Name: (\S+)", line):
            current = None if "BASE" in found[1] else found[2]
            if current:
                nodes[current] = None
        elif current and (found := re.search(r"Parent \d+: (\S+)", line)):
            nodes[current] = found[1]
    return nodes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--cc", required=True, help="asked for the multiarch directory")
    parser.add_argument("--theirs", type=pathlib.Path, help="default: the installed library")
    parser.add_argument("--syms", required=True, type=pathlib.Path, help="the version script")
    parser.add_argument("--needed", required=True, type=pathlib.Path,
                        help="the libraries we may need, one a line")
    parser.add_argument("--without", action="append", default=[],
                        help="one that this build leaves out")
    parser.add_argument("--headers", required=True, type=pathlib.Path)
    args = parser.parse_args()

    reference = args.theirs or installed_library(args.cc)
    if not reference.exists():
        fail(f"{reference} is missing: install libspice-server1")
    ours, theirs = Library(args.ours), Library(reference)
    if set(OWN_NODES) & set(theirs.nodes):
        fail(f"{reference} is this project's library: there is nothing to compare with")

    added = NEW_FUNCTIONS | set(own_functions(args.headers))
    problems = [
        *compare("function", ours.functions, theirs.functions | added),
        *compare("function of the version script", ours.functions, functions_of(args.syms)),
        *compare("version node", set(ours.nodes.items()),
                 set((theirs.nodes | NEW_NODES | OWN_NODES).items())),
        *compare("node symbol", ours.node_symbols,
                 theirs.node_symbols | set(NEW_NODES) | set(OWN_NODES)),
        *(f"stray export: {name}" for name in sorted(ours.strays)),
        *check_file(ours),
        *check_needed(ours, args.needed, set(args.without)),
        *check_hardening(ours),
    ]
    if problems:
        fail(f"{args.ours}\n  " + "\n  ".join(problems))
    print(f"{len(ours.functions)} functions in {len(ours.nodes)} nodes, as in {reference} and "
          f"{len(added)} more")
    print("needed: " + " ".join(ours.tag("NEEDED")))


def compare(what, ours, theirs):
    yield from (f"{what} {name} is missing" for name in sorted(theirs - ours, key=str))
    yield from (f"{what} {name} is too much" for name in sorted(ours - theirs, key=str))


def own_functions(headers):
    """What the headers of our own additions declare."""
    for node, header in OWN_HEADERS.items():
        text = re.sub(r"/\*.*?\*/", "", (headers / header).read_text(encoding="utf-8"),
                      flags=re.DOTALL)
        names = re.findall(r"^\w[\w \n*]*?\b(spice\w+)\(", text, flags=re.MULTILINE)
        if not names:
            fail(f"{header} declares no function")
        yield from ((name, node) for name in names)


def functions_of(version_script):
    text = re.sub(r"/\*.*?\*/", "", version_script.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {(name, node)
            for node, body in re.findall(r"(\S+)\s*\{(.*?)\}", text, flags=re.DOTALL)
            for name in re.findall(r"(\w+);", body)}


def check_file(library):
    if library.tag("SONAME") != [SONAME]:
        yield f"SONAME is {library.tag('SONAME')}"
    real = library.path.resolve()
    if b"spice_test_fault" in real.read_bytes():
        yield "it can be told to panic: built with -Dfault_injection=true"
    if real.name != FILE_NAME:
        yield f"the file is called {real.name}"
    for link in (SONAME, "libspice-server.so"):
        if (real.parent / link).resolve() != real:
            yield f"{real.parent / link} does not lead to {real.name}"


def check_needed(library, expected_file, without):
    lines = expected_file.read_text(encoding="utf-8").splitlines()
    expected = {line for line in lines if line and not line.startswith("#")}
    yield from compare("needed library", set(library.tag("NEEDED")), expected - without)


def check_hardening(library):
    if "GNU_RELRO" not in library.segments:
        yield "no RELRO segment"
    flags = " ".join(library.tag("FLAGS") + library.tag("FLAGS_1"))
    if "BIND_NOW" not in flags and "NOW" not in flags.split():
        yield f"not bound at load time (flags: {flags})"
    for tag in ("TEXTREL", "RPATH", "RUNPATH"):
        if library.tag(tag):
            yield f"has {tag}"
    stack = re.search(r"GNU_STACK.*", library.segments)
    if not stack or "E" in stack[0].split()[-2]:
        yield "the stack is executable"


def installed_library(cc):
    triplet = subprocess.run([cc, "-print-multiarch"], capture_output=True, text=True,
                             check=True).stdout.strip()
    return pathlib.Path("/usr/lib") / triplet / SONAME


if __name__ == "__main__":
    main()
