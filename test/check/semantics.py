#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether the table of test/data/semantics shows every rule of its rules.yaml, for all that the rule
applies to, and names no other.

usage: semantics.py ROOT
"""

import itertools
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support", "semantics"))
import table  # noqa: E402  # pylint: disable=wrong-import-position

DEFAULTS = {"protocols": ["TCP", "UDP"], "families": [4, 6], "from": ["pod", "node", "outside"]}
RULE_KEYS = {"id", "says", "shown_by"} | DEFAULTS.keys()


def tests_of(root):
    """The tests that CTest has, by their names: unit.plan.planner_test, e2e.spread."""
    names = set()
    for folder, _, files in os.walk(os.path.join(root, "test")):
        for file in files:
            stem, end = os.path.splitext(file)
            if not stem.endswith("_test") or end not in (".cc", ".sh"):
                continue
            path = os.path.relpath(os.path.join(folder, stem), os.path.join(root, "test"))
            name = path.replace(os.sep, ".")
            names.add(name.removesuffix("_test") if end == ".sh" else name)
    return names


def findings_of(rules, cases, tests):
    """`cases`: [(file, case, its flows multiplied out)]. Yields what is wrong."""
    shown = {}
    for file, case, flows in cases:
        if not case.get("rules"):
            yield f"{file}: {case['name']}: shows no rule"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", case["name"]):
            yield f"{file}: {case['name']}: a name is words with underscores, for GoogleTest"
        for rule in case.get("rules", []):
            shown.setdefault(rule, []).extend(flows)
    ids = [rule["id"] for rule in rules]
    for rule in sorted(shown.keys() - set(ids)):
        yield f"cases name a rule that there is not: {rule}"
    for one in sorted({one for one in ids if ids.count(one) > 1}):
        yield f"{one}: there twice"
    for rule in rules:
        if rule.keys() - RULE_KEYS or not rule.get("says"):
            yield f"{rule['id']}: a rule has an id, says something, and {sorted(DEFAULTS)}"
        if "shown_by" in rule:
            if rule["shown_by"] not in tests:
                yield f"{rule['id']}: shown by {rule['shown_by']}, which is no test"
            continue
        if rule["id"] not in shown:
            yield f"{rule['id']}: no case shows it"
            continue
        there = {(flow["protocol"], flow["family"], flow["from"]) for flow in shown[rule["id"]]}
        for wanted in itertools.product(*(rule.get(key, DEFAULTS[key]) for key in DEFAULTS)):
            if wanted not in there:
                yield f"{rule['id']}: no flow of it is {wanted[0]}, IPv{wanted[1]}, from {wanted[2]}"


def main():
    loaded = table.Table()
    loaded.expand()
    cases = [(file, case, list(loaded.flows_of(file, case))) for file, case in loaded.cases]
    findings = list(findings_of(loaded.rules, cases, tests_of(sys.argv[1])))
    for finding in findings:
        print(finding)
    flows = sum(len(flows) for _, _, flows in cases)
    print(f"{len(loaded.rules)} rules, {len(cases)} cases, {flows} flows, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
