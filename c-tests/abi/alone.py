#!/usr/bin/env python3
"""Compiles each public header by itself, and all together, as C99 and as C++17,
with warnings as errors. The protocol headers, which are not clean, come as
system headers."""

import argparse
import pathlib

from headers import fail, run

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cc", required=True)
    parser.add_argument("--cxx", required=True)
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--protocol", action="append", default=[])
    args = parser.parse_args()

    headers = sorted(header.name for header in args.ours.glob("*.h"))
    if len(headers) < 10:
        fail(f"only {len(headers)} headers in {args.ours}")
    languages = {"C99": [args.cc, "-xc", "-std=c99"], "C++17": [args.cxx, "-xc++", "-std=c++17"]}
    flags = [*WARNINGS, f"-I{args.ours}", *(f"-isystem{d}" for d in args.protocol)]
    for language, compiler in languages.items():
        for define in ([], ["-DSPICE_SERVER_INTERNAL"]):
            for header in headers:
                # Twice: the include guard. The declaration: an empty file is no C.
                text = f"#include <{header}>\n#include <{header}>\nextern int alone;\n"
                run([*compiler, *define, *flags, "-fsyntax-only", "-"], stdin=text)
        print(f"{language}: {len(headers)} headers compile alone")


if __name__ == "__main__":
    main()
