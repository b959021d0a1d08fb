#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that test/summary.py passes nothing that it should not: what CTest would write goes in, the
last line and the exit code are looked at."""

import os
import subprocess
import sys
import tempfile

SUMMARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "summary.py")
SKIPS = "# a comment\ne2e.vlan | no 802.1Q | the kernel's choice\nunit.a/A.B | why | because\n"

PASSED = '<testcase name="unit.a" time="1.5" status="run"><system-out>ok</system-out></testcase>'
FAILED = ('<testcase name="unit.b" time="1" status="fail"><failure message=""/>'
          "<system-out>bad</system-out></testcase>")
NOT_RUN = '<testcase name="unit.c" time="0" status="notrun"><failure message="no program"/></testcase>'
JUSTIFIED = ('<testcase name="e2e.vlan" time="0" status="notrun"><skipped message="77"/>'
             "<system-out>skipped: there is no 802.1Q here</system-out></testcase>")
OTHER_REASON = JUSTIFIED.replace("no 802.1Q", "no time")
OTHER_TEST = JUSTIFIED.replace("e2e.vlan", "e2e.spread")
GTEST = PASSED.replace("ok", "[  SKIPPED ] A.{} (0 ms)\nwhy\n[  PASSED  ] 0 tests.")

# what CTest says, by label -> last line, exit code
CASES = [
    ({"unit": [PASSED, PASSED]}, "2 passed, 0 failed, 0 skipped", 0),
    ({"unit": [PASSED, FAILED]}, "1 passed, 1 failed, 0 skipped", 1),
    ({"unit": [PASSED, NOT_RUN]}, "1 passed, 1 failed, 0 skipped", 1),
    ({"unit": [PASSED], "e2e": [JUSTIFIED]}, "1 passed, 0 failed, 1 skipped", 0),
    ({"e2e": [OTHER_REASON]}, "0 passed, 1 failed, 0 skipped", 1),
    ({"e2e": [OTHER_TEST]}, "0 passed, 1 failed, 0 skipped", 1),
    ({"unit": [GTEST.format("B")]}, "1 passed, 0 failed, 1 skipped", 0),
    ({"unit": [GTEST.format("C")]}, "1 passed, 1 failed, 0 skipped", 1),
    ({"unit": [PASSED], "e2e": []}, "1 passed, 1 failed, 0 skipped", 1),
    ({"unit": [PASSED], "e2e": None}, "1 passed, 1 failed, 0 skipped", 1),
]


def summarise(labels):
    with tempfile.TemporaryDirectory() as folder:
        skips = os.path.join(folder, "skips.txt")
        with open(skips, "w", encoding="utf-8") as file:
            file.write(SKIPS)
        for label, cases in labels.items():
            if cases is not None:
                with open(os.path.join(folder, label + ".xml"), "w", encoding="utf-8") as file:
                    file.write(f"<testsuite>{''.join(cases)}</testsuite>")
        done = subprocess.run([sys.executable, "-B", SUMMARY, skips, folder, *labels],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip().split("\n")[-1], done.returncode


def main():
    wrong = 0
    for labels, line, code in CASES:
        got = summarise(labels)
        if got != (line, code):
            wrong += 1
            print(f"{labels}:\n  got    {got}\n  wanted {(line, code)}")
    print(f"{len(CASES)} cases, {wrong} wrong")
    return 1 if wrong else 0


sys.exit(main())
