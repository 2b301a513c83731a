#!/usr/bin/env python3
"""Compiles one C file with our headers and with Debian's, and runs it on both
libraries: it takes the address of every public function into a pointer of the
exact type that Debian's header declares.

The types of functions that Debian 12 does not have are written here by hand.
"""

import argparse
import os
import pathlib
import re
import tempfile

from headers import REFERENCE, Headers, Toolchain, fail, run

NEW_FUNCTIONS = {
    "spice_qxl_gl_scanout2":
        "void (QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *, "
        "const uint32_t *, uint32_t, uint32_t, uint64_t, int)",
}
EXPECTED = 98

PROGRAM = """\
#include <stdio.h>
#include <spice.h>

{pointers}

int main(void)
{{
    int found = 0;
{checks}
    printf("%d\\n", found);
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
    parser.add_argument("--our-library", required=True, type=pathlib.Path,
                        help="directory of libspice-server.so")
    args = parser.parse_args()

    toolchain = Toolchain(args.cc, args.clang, args.protocol)
    theirs = Headers(args.theirs, toolchain)
    types = {name: declared for name, (declared, _) in theirs.functions.items()}
    count = run_with(types, args.theirs, toolchain, None)
    print(f"Debian's headers and library: {count} functions")

    types |= NEW_FUNCTIONS
    count = run_with(types, args.ours, toolchain, args.our_library.resolve())
    print(f"our headers and library: {count} functions")
    if count != EXPECTED:
        fail(f"{EXPECTED} functions were expected")


def run_with(types, headers, toolchain, library):
    """Compiles, links and runs; returns how many functions the program found."""
    names = sorted(types)
    program = PROGRAM.format(
        pointers="\n".join(pointer(name, types[name]) for name in names),
        checks="\n".join(f"    found += p_{name} != NULL;" for name in names),
    )
    environment = dict(os.environ, LD_BIND_NOW="1")
    environment.pop("LD_PRELOAD", None)
    environment.pop("LD_LIBRARY_PATH", None)
    # The installed library is found by itself.
    where = []
    if library:
        where = [f"-L{library}"]
        environment["LD_LIBRARY_PATH"] = str(library)
    with tempfile.TemporaryDirectory() as place:
        source = pathlib.Path(place) / "prototypes.c"
        source.write_text(program, encoding="utf-8")
        binary = pathlib.Path(place) / "prototypes"
        toolchain.compile(source, binary, headers, *where, "-lspice-server")
        return int(run([str(binary)], env=environment))


def pointer(name, declared):
    """`int (A, B)` becomes `int (*volatile p_NAME)(A, B) = NAME;`"""
    match = re.fullmatch(r"(.*?)\s*(\([^()]*\))", declared)
    if not match:
        fail(f"{name}: type not understood: {declared}")
    result, parameters = match.groups()
    # volatile: the compiler must not settle the comparison with NULL itself.
    return f"static {result} (*volatile p_{name}){parameters} = {name};"


if __name__ == "__main__":
    main()
