"""Reads everything that a set of SPICE server headers declares.

clang's syntax tree gives the types and functions, `cc -E -dD` the macros; only
what stands in the set's own directory counts. Nothing is listed by hand, so a
member or an enumerator that one set lacks cannot be forgotten.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

# Debian's headers, and what to install when they are missing.
REFERENCE = pathlib.Path("/usr/include/spice-server")
REFERENCE_PACKAGE = "libspice-server-dev"

# Ours alone.
OWN_HEADERS = ("spice-char-device.h", "spice-server-rs.h")


class Toolchain:
    """The compilers, and the flags that find the protocol headers."""

    def __init__(self, cc, clang, protocol):
        self.cc = cc
        self.clang = clang
        # As system headers: they are not ours to keep free of warnings.
        self.protocol = [f"-isystem{directory}" for directory in protocol]

    def flags(self, headers):
        return ["-std=gnu11", f"-I{headers}", *self.protocol]

    def compile(self, source, output, headers, *more):
        """Compiles one file with -Werror; stops the test with the compiler's words."""
        run([self.cc, *self.flags(headers), "-Wall", "-Wextra", "-Werror",
             "-Wno-deprecated-declarations", str(source), "-o", str(output), *more])


class Headers:
    """What a set of headers declares."""

    def __init__(self, directory, toolchain, own=()):
        self.directory = pathlib.Path(directory)
        # `own`: headers beside those that spice.h includes.
        self.includes = "".join(f"#include <{name}>\n" for name in ("spice.h", *own))
        if not (self.directory / "spice.h").is_file():
            hint = f": install {REFERENCE_PACKAGE}" if self.directory == REFERENCE else ""
            fail(f"{self.directory}/spice.h is missing{hint}")
        # record -> [(member, type, deprecated)], in order
        self.records = {}
        # records that are only named
        self.opaque = set()
        self.enumerators = set()
        self.typedefs = {}
        # function -> (type, deprecated)
        self.functions = {}
        # macro -> body
        self.macros = {}
        self._read_declarations(toolchain)
        self._read_macros(toolchain)

    def _read_declarations(self, toolchain):
        with tempfile.TemporaryDirectory() as place:
            source = pathlib.Path(place) / "all.c"
            source.write_text(self.includes, encoding="utf-8")
            text = run([toolchain.clang, *toolchain.flags(self.directory), "-fsyntax-only",
                        "-Xclang", "-ast-dump=json", str(source)])
        where = Location()
        for node in json.loads(text)["inner"]:
            where.enter(node.get("loc", {}))
            if where.file and pathlib.Path(where.file).parent == self.directory:
                self._add(node)
            # The rest of the node moves the location, too.
            where.enter({key: value for key, value in node.items() if key != "loc"})

    def _add(self, node):
        kind, name = node["kind"], node.get("name")
        if kind == "RecordDecl":
            if node.get("completeDefinition"):
                self.records[name] = members_of(node)
            elif name:
                self.opaque.add(name)
        elif kind == "EnumDecl":
            self.enumerators |= {child["name"] for child in node.get("inner", [])
                                 if child["kind"] == "EnumConstantDecl"}
        elif kind == "TypedefDecl":
            self.typedefs[name] = node["type"]["qualType"]
        elif kind == "FunctionDecl":
            self.functions[name] = (node["type"]["qualType"], is_deprecated(node))
        elif kind != "EmptyDecl":
            fail(f"{self.directory}: a declaration of kind {kind} is not compared ({name})")

    def _read_macros(self, toolchain):
        text = run([toolchain.cc, *toolchain.flags(self.directory), "-E", "-dD", "-xc", "-"],
                   stdin=self.includes)
        own = False
        for line in text.splitlines():
            if marker := re.match(r'# \d+ "([^"]*)"', line):
                own = pathlib.Path(marker[1]).parent == self.directory
            elif own and (define := re.match(r"#define (\w+)(\(?)\s*(.*)", line)):
                name, parameters, body = define.groups()
                if parameters:
                    fail(f"{self.directory}: macro {name} has parameters, which are not compared")
                self.macros[name] = body.strip()

    def values(self):
        """Macros that stand for something: all but include guards."""
        return {name for name, body in self.macros.items() if body}


class Location:
    """clang writes a file name only where it differs from the last one written."""

    def __init__(self):
        self.file = None

    def enter(self, value):
        if isinstance(value, dict):
            self.file = value.get("file", self.file)
            for key, child in value.items():
                if key != "includedFrom":
                    self.enter(child)
        elif isinstance(value, list):
            for child in value:
                self.enter(child)


def members_of(record):
    """The named members of a record, with those of its unnamed unions."""
    members, unnamed = [], {}
    for child in record.get("inner", []):
        if child["kind"] == "RecordDecl":
            unnamed = members_of(child)
        elif child["kind"] == "FieldDecl":
            if child.get("isImplicit") or "name" not in child:
                members += unnamed
            else:
                members.append((child["name"], child["type"]["qualType"], is_deprecated(child)))
    return members


def is_deprecated(node):
    return any(child["kind"] == "DeprecatedAttr" for child in node.get("inner", []))


def run(command, stdin=None, env=None):
    """What a program prints; stops the test when it is missing or fails."""
    try:
        done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True,
                              check=False)
    except FileNotFoundError:
        fail(f"{command[0]} is missing: install it")
    if done.returncode != 0:
        fail(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def fail(message):
    print(f"FAIL: {message}")
    sys.exit(1)
