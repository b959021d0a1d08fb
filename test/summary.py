#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The one summary of test/run.sh, from the JUnit files that CTest wrote.

usage: summary.py SKIPS RESULTS LABEL...

SKIPS lists the tests that may be skipped, with what they say then (see test/skips.txt). A
GoogleTest program is one test for CTest; its own cases are not counted one by one, but a case that
was skipped is found in its output and needs the same justification. Exit code 0 if nothing failed,
every skip is justified, and every label had tests.
"""

import os
import re
import sys
import xml.etree.ElementTree as xml

GTEST_SKIP = re.compile(r"^\[  SKIPPED \] ([\w/.]+)(?: \(\d+ ms\))?$", re.MULTILINE)


def read_skips(path):
    skips = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.startswith("#"):
                continue
            columns = [column.strip() for column in line.split("|")]
            if len(columns) != 3 or not all(columns):
                sys.exit(f"{path}:{number}: three columns wanted: test | output | reason")
            skips.append(columns)
    return skips


def justified(skips, name, output):
    return any(name == test and said in output for test, said, _ in skips)


class Row:
    """What became of one label."""

    def __init__(self, label):
        self.label = label
        self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0
        self.notes = []

    def add(self, case, skips):
        name, output = case.get("name"), case.findtext("system-out") or ""
        status = case.get("status")
        self.seconds += float(case.get("time") or 0)
        if status == "run":
            self.passed += 1
            self.add_skipped_cases(name, output, skips)
        elif status in ("notrun", "disabled") and case.find("skipped") is not None:
            self.add_skipped(name, output, skips)
        else:
            self.failed += 1
            self.notes.append(f"failed: {name}")

    def add_skipped(self, name, output, skips):
        if justified(skips, name, output):
            self.skipped += 1
            self.notes.append(f"skipped, justified in test/skips.txt: {name}")
        else:
            self.failed += 1
            self.notes.append(f"failed: {name} was skipped without a reason in test/skips.txt")

    def add_skipped_cases(self, name, output, skips):
        for case in sorted(set(GTEST_SKIP.findall(output))):
            self.add_skipped(f"{name}/{case}", output, skips)


def read_label(results, label, skips):
    row = Row(label)
    path = os.path.join(results, label + ".xml")
    try:
        cases = xml.parse(path).getroot().findall("testcase")
    except (OSError, xml.ParseError) as failure:
        row.failed += 1
        row.notes.append(f"failed: {label} left no result ({failure})")
        return row
    for case in cases:
        row.add(case, skips)
    if not cases:
        row.failed += 1
        row.notes.append(f"failed: {label} has no tests")
    return row


def main():
    skips = read_skips(sys.argv[1])
    rows = [read_label(sys.argv[2], label, skips) for label in sys.argv[3:]]
    notes = [note for row in rows for note in row.notes]
    print(f"\n{'label':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for row in rows:
        print(f"{row.label:<10}{row.passed:>8}{row.failed:>8}{row.skipped:>9}{row.seconds:>9.1f}")
    if notes:
        print()
        print("\n".join(notes))
    passed, failed, skipped = (sum(getattr(row, name) for row in rows)
                               for name in ("passed", "failed", "skipped"))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


sys.exit(main())
