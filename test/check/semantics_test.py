#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small table that breaks each thing that semantics.py and table.py look for; they have to find it."""

import sys

import semantics
import table

FLOWS = [{"protocol": protocol, "family": family, "from": client}
         for protocol in ("TCP", "UDP") for family in (4, 6)
         for client in ("pod", "node", "outside")]
RULES = [{"id": "some.rule", "says": "something"}]
CASES = [("file", {"name": "some_case", "rules": ["some.rule"]}, FLOWS)]
TESTS = {"e2e.spread"}


def found(wanted, rules=None, cases=None):
    findings = list(semantics.findings_of(rules or RULES, cases or CASES, TESTS))
    if wanted is None:
        assert not findings, findings
    else:
        assert any(wanted in finding for finding in findings), (wanted, findings)


LOADED = table.Table()


def refused(wanted, **changes):
    flow = {"from": "pod", "to": "10.96.0.1", "port": 80, "endpoints": ["a1"], **changes}
    try:
        list(LOADED.flows_of("file", {"name": "some_case", "flows": [flow]}))
    except table.TableError as error:
        assert wanted in str(error), error
    else:
        raise AssertionError(f"not refused: {wanted}")


def main():
    found(None)
    found("no case shows it", rules=RULES + [{"id": "other.rule", "says": "more"}])
    found("a rule that there is not: other.rule",
          cases=[("file", {"name": "some_case", "rules": ["some.rule", "other.rule"]}, FLOWS)])
    found("shows no rule", cases=CASES + [("file", {"name": "idle", "rules": []}, FLOWS)])
    found("for GoogleTest", cases=[("file", {"name": "a case", "rules": ["some.rule"]}, FLOWS)])
    for missing, wanted in enumerate(["TCP, IPv4, from pod", "TCP, IPv4, from node"]):
        found(f"no flow of it is {wanted}",
              cases=[("file", CASES[0][1], FLOWS[:missing] + FLOWS[missing + 1:])])
    found(None, rules=[dict(RULES[0], protocols=["TCP"], **{"from": ["pod"]})],
          cases=[("file", CASES[0][1], FLOWS[:4])])
    found("there twice", rules=RULES + RULES)
    found("says something", rules=[{"id": "some.rule"}])
    found(None, rules=[dict(RULES[0], shown_by="e2e.spread")])
    found("which is no test", rules=[dict(RULES[0], shown_by="e2e.never")])

    refused("unknown ['sauce']", sauce="node")
    refused("verdict ignore", verdict="ignore")
    refused("a drop or reject, and nothing else, has a reason", verdict="drop", endpoints=[])
    refused("has a reason", reason="no_backend")
    refused("has endpoints", verdict="reject", reason="no_backend")
    refused("has endpoints", endpoints=[])
    refused("c9 has no IPv4 address", endpoints=["c9"])
    print("every finding is found")


if __name__ == "__main__":
    sys.exit(main())
