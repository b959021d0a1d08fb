#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that every rule of sources.py finds what it forbids, and lets good code be."""

import os
import sys
import tempfile

import sources

LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = LICENCE + "#pragma once\n"

# rule -> (file, text that breaks it, text that does not)
CASES = {
    "licence_line": ("control/a.cc", "int x;\n", LICENCE + "int x;\n"),
    "pragma_once": ("control/a.h", LICENCE, HEADER),
    "file_length": ("control/a.cc", "\n" * 501, "\n" * 500),
    "line_length": ("control/a.cc", "x" * 101 + "\n", "x" * 100 + "\n"),
    "vague_file_name": ("control/plan/plan_utils.cc", "\n", None),
    "vague_type_name": ("control/a.cc", "class MapManager {\n", "class MapWriter {\n"),
    "kept_in_sync": ("maps/a.h", "/* Keep in sync with b.h. */\n", "/* In sync with the source. */\n"),
    "sleeping": ("control/a.cc", "  absl::SleepFor(x);\n", "  // never sleep(1)\n"),
    "shelling_out": ("control/a.cc", "  std::system(command);\n", "  file_system(path);\n"),
    "unfinished": ("control/a.cc", "// TODO: more\n", "// TODO(#17): more\n"),
    "raw_ownership": ("control/a.cc", "  auto* a = new Agent(x);\n",
                      "  Agent(const Agent&) = delete;\n  return absl::WrapUnique(new Agent(x));\n"),
    "using_namespace": ("control/a.h", "using namespace std;\n", "using std::string;\n"),
    "test_only_code": ("control/a.h", "  void SetClockForTest(Clock*);\n", "  void SetClock(Clock*);\n"),
    "pure_folders": ("control/plan/a.cc", '#include "maps/bpf_table.h"\n', '#include "maps/table.h"\n'),
    "own_macros": ("bpf/a.h", "#define MIN(a, b) a\n", "#define SL_ABI_SIZE(type, size) x\n"),
    "bpf_conditionals": ("bpf/core/a.h", "#ifdef IPV6\n", "#pragma once\n"),
    "families_twice": ("bpf/core/a.h", "struct iphdr *ip;\n", "struct flow *flow;\n"),
    "unnamed_nolint": ("control/a.cc", "x();  // NOLINT\n", "x();  // NOLINT(bugprone-x): why\n"),
    "hosts_and_paths": ("README.md", "pip install from pypi." "org\n", "see kernel.org\n"),
    "dead_links": ("README.md", "[gone](gone.md)\n", "[here](README.md) [web](https://x.org/y)\n"),
    "design_notes": ("bpf/README.md", "\n", None),
    "unbuilt_tests": ("test/unit/a_test.cc", "\n", None),
}


def findings(name, files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return list(sources.RULES[name](sources.Tree(root)))


def main():
    wrong = []
    for name in sorted(set(sources.RULES) - set(CASES)):
        wrong.append(f"{name}: no case breaks it")
    for name, (path, bad, good) in CASES.items():
        if not findings(name, {path: bad}):
            wrong.append(f"{name}: did not find {bad!r}")
        if good is not None and findings(name, {path: good}):
            wrong.append(f"{name}: found fault with {good!r}")
    good_trees = {
        "vague_file_name": {"control/plan/planner.cc": "\n"},
        "design_notes": {f"{top}/DESIGN.md": "\n"
                         for top in ("bpf", "maps", "control", "cmd", "test")},
        "unbuilt_tests": {"test/unit/a_test.cc": "\n", "test/unit/CMakeLists.txt":
                          "sl_test(LABEL unit SOURCES a_test.cc DEPS x)\n"},
    }
    for name, files in good_trees.items():
        if findings(name, files):
            wrong.append(f"{name}: found fault with {files}")
    print("\n".join(wrong) or f"{len(CASES)} rules find what they forbid")
    return 1 if wrong else 0


sys.exit(main())
