"""Runs one test file on one library; writes one JSON line per check to stdout."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lib.bench import Bench  # noqa: E402
from lib.process import end_with_parent  # noqa: E402
from lib.qemu import Library  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--lib", required=True)
    parser.add_argument("--home")
    parser.add_argument("--build", required=True)
    parser.add_argument("--logs", required=True)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    end_with_parent()
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints goes to the log, not between the results

    def report(result):
        results.write(json.dumps(result) + "\n")
        results.flush()

    module = importlib.import_module(options.file)
    library = Library(options.lib, options.build, options.home)
    Bench(module, library, options.logs).run(report, options.only)


main()
