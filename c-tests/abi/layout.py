#!/usr/bin/env python3
"""Compares our headers with Debian's: every structure, enumerator, macro, type
and function, in both directions.

One C program prints `name value` for every size, offset and constant that
either set knows. It is compiled once with each set and both must print the
same. Declarations without a value (typedefs, prototypes) are compared as types.
"""

import argparse
import pathlib
import tempfile

from headers import REFERENCE, Headers, Toolchain, fail, run

# Where ours is ahead of the Debian release it is compared with.
NEW_FUNCTIONS = {"spice_qxl_gl_scanout2"}
VERSION_MACRO = "SPICE_SERVER_VERSION"
OUR_VERSION = 0x001000

PROGRAM = """\
#include <stddef.h>
#include <stdio.h>
#include <spice.h>

static void print_number(const char *name, long long value) {{ printf("%s %lld\\n", name, value); }}
static void print_text(const char *name, const char *value) {{ printf("%s \\"%s\\"\\n", name, value); }}

#define CONSTANT(name) \\
    _Generic((name), char *: print_text, const char *: print_text, default: print_number)( \\
        #name, (name))
#define SIZE(type) print_number("sizeof " #type, (long long)sizeof(type))
#define MEMBER(type, member) \\
    print_number(#type "." #member " offset", (long long)offsetof(type, member)); \\
    print_number(#type "." #member " size", (long long)sizeof(((type *)0)->member))

int main(void)
{{
{lines}
    return 0;
}}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cc", required=True)
    parser.add_argument("--clang", required=True)
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--theirs", default=REFERENCE, type=pathlib.Path)
    parser.add_argument("--protocol", action="append", default=[])
    args = parser.parse_args()

    toolchain = Toolchain(args.cc, args.clang, args.protocol)
    ours, theirs = Headers(args.ours, toolchain), Headers(args.theirs, toolchain)

    problems = compare_declarations(ours, theirs)
    if not problems:
        problems = compare_values(ours, theirs, toolchain)
    if problems:
        fail("our headers differ from " + str(args.theirs) + "\n  " + "\n  ".join(problems))

    members = sum(len(members) for members in theirs.records.values())
    print(f"the same: {len(theirs.records)} structures with {members} members, "
          f"{len(theirs.enumerators)} enumerators, {len(theirs.values())} macros, "
          f"{len(theirs.typedefs)} typedefs, {len(theirs.functions)} functions")


def compare_declarations(ours, theirs):
    """Differences in what is declared, and with which types."""
    problems = []
    new = {name: ours.functions.get(name) for name in NEW_FUNCTIONS - set(theirs.functions)}
    for name in (name for name, declared in new.items() if declared is None):
        problems.append(f"function {name} is missing in ours")

    our_functions = {k: v for k, v in ours.functions.items() if k not in new}
    for what, left, right in (
        ("function", our_functions, theirs.functions),
        ("structure", ours.records, theirs.records),
        ("typedef", ours.typedefs, theirs.typedefs),
        ("enumerator", ours.enumerators, theirs.enumerators),
        ("opaque type", ours.opaque, theirs.opaque),
        ("macro", ours.values(), theirs.values()),
    ):
        problems += [f"{what} {name} is missing in ours" for name in sorted(set(right) - set(left))]
        problems += [f"{what} {name} is only in ours" for name in sorted(set(left) - set(right))]
        if isinstance(left, dict):
            problems += [f"{what} {name}:\n    ours   {left[name]}\n    theirs {right[name]}"
                         for name in sorted(set(left) & set(right)) if left[name] != right[name]]
    return problems


def compare_values(ours, theirs, toolchain):
    """Differences in sizes, offsets and constants."""
    program = PROGRAM.format(lines="\n".join(f"    {line};" for line in lines_of(theirs)))
    with tempfile.TemporaryDirectory() as place:
        source = pathlib.Path(place) / "layout.c"
        source.write_text(program, encoding="utf-8")
        printed = []
        for headers in (ours, theirs):
            binary = pathlib.Path(place) / "layout"
            toolchain.compile(source, binary, headers.directory)
            printed.append(dict(line.rsplit(" ", 1) if '"' not in line else line.split(" ", 1)
                                for line in run([str(binary)]).splitlines()))
    left, right = printed

    our_version, their_version = int(left.pop(VERSION_MACRO)), int(right.pop(VERSION_MACRO))
    problems = []
    if our_version != OUR_VERSION or their_version > our_version:
        problems.append(f"{VERSION_MACRO}: ours {our_version:#08x}, theirs {their_version:#08x}")
    if len(left) < 100:
        problems.append(f"the program printed only {len(left)} lines")
    problems += [f"{name}: ours {left.get(name)}, theirs {right.get(name)}"
                 for name in sorted(set(left) | set(right)) if left.get(name) != right.get(name)]
    return problems


def lines_of(headers):
    for record, members in headers.records.items():
        name = record if record in headers.typedefs else f"struct {record}"
        yield f"SIZE({name})"
        for member, _, _ in members:
            yield f"MEMBER({name}, {member})"
    for name in headers.typedefs:
        # A size is only known for what is not opaque.
        if name not in headers.records and headers.typedefs[name].startswith("enum "):
            yield f"SIZE({name})"
    for name in sorted(headers.enumerators | headers.values()):
        yield f"CONSTANT({name})"


if __name__ == "__main__":
    main()
