#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules about the sources that a text search can check; each names what to do instead.

usage: sources.py ROOT [RULE...]

A rule is a function that takes the tree and yields (file, line, message). sources_test.py holds, for
every rule, a small tree that breaks it.
"""

import os
import re
import sys

SKIPPED_FOLDERS = {".git", "build", "__pycache__"}
CODE = (".c", ".h", ".cc")
TEXT = CODE + (".sh", ".py", ".proto", ".md", ".txt", ".yaml", ".yml", ".json", ".cmake")
KERNEL_LICENCE = "GPL-2.0-only OR BSD-2-Clause"
# Sources that say what must not be written, and so contain it.
ABOUT_RULES = ("test/check/",)


class Tree:
    """The files of the project: path from the root -> lines."""

    def __init__(self, root):
        self.root = root
        self.files = {}
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), root)
                if name.endswith(TEXT) or path == ".ci/run" or "LICENSE" in path:
                    self.files[path] = self.read(path)

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read().split("\n")

    def lines(self, *ends, under=""):
        """Yields (path, line number, line) of files with one of these ends."""
        for path, lines in self.files.items():
            if path.endswith(ends) and path.startswith(under) and not path.startswith(ABOUT_RULES):
                for number, line in enumerate(lines, 1):
                    yield path, number, line


RULES = {}


def rule(function):
    RULES[function.__name__] = function
    return function


def search(lines, pattern, message):
    compiled = re.compile(pattern)
    for path, number, line in lines:
        if compiled.search(line):
            yield path, number, message


def without_comment(lines):
    for path, number, line in lines:
        if not line.lstrip().startswith(("*", "/*")):
            yield path, number, line.split("//")[0]


@rule
def licence_line(tree):
    for path, lines in tree.files.items():
        if not path.endswith(CODE + (".sh", ".py", ".proto")) and path != ".ci/run":
            continue
        wanted = "Apache-2.0"
        shared = path.startswith(("maps/", "test/bench/")) and path.endswith(".h")
        if path.startswith("bpf/") or path.endswith(".bpf.c") or (
                shared and KERNEL_LICENCE in "".join(lines[:3])):
            wanted = KERNEL_LICENCE
        if not any(f"SPDX-License-Identifier: {wanted}" in line for line in lines[:3]):
            yield path, 1, f"the first lines lack SPDX-License-Identifier: {wanted}"


@rule
def pragma_once(tree):
    for path, lines in tree.files.items():
        if path.endswith(".h") and "#pragma once" not in lines:
            yield path, 1, "a header begins with #pragma once"


@rule
def file_length(tree):
    for path, lines in tree.files.items():
        if path.endswith(CODE + (".sh", ".py")) and len(lines) - 1 > 500:
            yield path, len(lines), "more than 500 lines: would two names say it better?"


@rule
def line_length(tree):
    for path, number, line in tree.lines(*CODE, ".sh", ".py"):
        # Tabs count as eight columns, as in the kernel.
        if len(line.expandtabs(8)) > 100:
            yield path, number, "more than 100 columns"


@rule
def vague_file_name(tree):
    for path in tree.files:
        words = re.split(r"[/._-]", path.removeprefix("test/data/"))
        vague = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "data", "info"}
        if vague & set(words):
            yield path, 1, "a name that says nothing: util, helper, common, misc, manager, data, info"


@rule
def vague_type_name(tree):
    return search(tree.lines(*CODE),
                  r"\b(class|struct|enum|enum class|namespace) \w*"
                  r"(Util|Helper|Common|Misc|Manager|Data|Info|_util|_helper|_manager)s?\b [{:]",
                  "a name that says nothing: util, helper, common, misc, manager, data, info")


@rule
def kept_in_sync(tree):
    return search(tree.lines(*CODE, ".sh", ".py", ".proto"), r"(?i)keep (this |these )?in sync",
                  "one definition, not two that a comment asks to keep the same")


@rule
def sleeping(tree):
    return search(without_comment(tree.lines(".cc", ".h")),
                  r"\b(usleep|nanosleep|sleep_for|sleep_until|SleepFor|sleep) ?\(",
                  "no sleep in C++: wait for the event")


@rule
def shelling_out(tree):
    return search(without_comment(tree.lines(".cc", ".h")), r"(?<![\w.>:])(std::)?(system|popen)\(",
                  "no system() or popen()")


@rule
def unfinished(tree):
    return search(tree.lines(*CODE, ".sh", ".py", ".proto", ".cmake", "CMakeLists.txt"),
                  r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))", "unfinished, without an issue's number")


@rule
def raw_ownership(tree):
    # The owner may stand on the line before: a unique_ptr, a deleter, or a static that is never freed.
    owner = re.compile(r"WrapUnique\(|unique_ptr<|operator\(\)\(|\bstatic \w")
    made = re.compile(r"\bnew [A-Z]\w*[({[]|(?<!= )\bdelete(\[\])? [\w*(]")
    before = ""
    for path, number, line in without_comment(tree.lines(".cc", ".h")):
        if made.search(line) and not path.startswith("test/") and not owner.search(before + line):
            yield path, number, "raw new or delete: make_unique; or into a unique_ptr at once"
        before = before[-200:] + line


@rule
def using_namespace(tree):
    return search(tree.lines(".h"), r"^\s*using namespace", "using namespace in a header")


@rule
def test_only_code(tree):
    lines = ((path, number, line) for path, number, line in tree.lines(".cc", ".h")
             if not path.startswith("test/"))
    return search(lines, r"\w+ForTest(ing)?\(|#define private public",
                  "a door for tests in production code: put a fake behind an interface")


@rule
def pure_folders(tree):
    for folder in ("control/desired/", "control/plan/"):
        yield from search(tree.lines(".cc", ".h", under=folder),
                          r'#include ("maps/(bpf_table|map_set|slot_array)\.h"|<(bpf|sys|net|linux)/|'
                          r'<(unistd|fcntl|chrono|random|fstream|filesystem|thread)\b)|spdlog|getenv',
                          "desired/ and plan/ read nothing of their surroundings")


@rule
def own_macros(tree):
    # SL_ASSIGN_*, SL_MACRO_CONCAT_*: the parts that the second is made of.
    known = r"(RETURN_IF_ERROR|ASSIGN_OR_RETURN|SL_ABI_\w+|SL_ASSIGN_\w*|SL_MACRO_CONCAT_\w*)"
    return search(tree.lines(*CODE), rf"^\s*#define (?!{known}\()\w+\(",
                  "a function-like macro: only RETURN_IF_ERROR, ASSIGN_OR_RETURN and SL_ABI_* exist")


@rule
def bpf_conditionals(tree):
    return search(tree.lines(".c", ".h", under="bpf/"), r"^\s*#\s*(if|ifdef|ifndef|elif)\b",
                  "no conditional compilation in bpf/: a constant, tested with if")


@rule
def families_twice(tree):
    lines = ((path, number, line) for path, number, line in tree.lines(".c", ".h", under="bpf/core/"))
    return search(lines, r"\bstruct (iphdr|ipv6hdr)\b",
                  "headers of one family are read and written in bpf/packet/ only")


@rule
def unnamed_nolint(tree):
    return search(tree.lines(*CODE), r"NOLINT(NEXTLINE|BEGIN)?(?!\(|END|NEXTLINE|BEGIN)",
                  "NOLINT names the check and the reason")


@rule
def hosts_and_paths(tree):
    hosts = (r"pypi\.org|pythonhosted|npmjs|crates\.io|proxy\.golang|docker\.io|ghcr\.io|quay\.io|"
             r"gcr\.io|registry\.k8s|deb\.debian\.org|security\.debian\.org|artifactory|jfrog")
    paths = r"(?<![\w.])/(work|home|Users|mnt)/"
    return search(tree.lines(*TEXT), f"{hosts}|{paths}",
                  "names a registry, or a path of somebody's machine")


@rule
def dead_links(tree):
    pattern = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
    for path, number, line in tree.lines(".md"):
        for target, _ in pattern.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            folder = os.path.dirname(os.path.join(tree.root, path))
            if not os.path.exists(os.path.join(folder, target)):
                yield path, number, f"leads nowhere: {target}"


@rule
def design_notes(tree):
    for folder in ("bpf", "maps", "control", "cmd", "test"):
        if f"{folder}/DESIGN.md" not in tree.files:
            yield f"{folder}/DESIGN.md", 1, "each top folder has its design notes"


@rule
def unbuilt_tests(tree):
    """Every *_test.cc is named in the CMakeLists.txt beside it; the scripts of e2e are globbed."""
    for path in tree.files:
        if not path.endswith("_test.cc"):
            continue
        folder, name = os.path.split(path)
        listed = "\n".join(tree.files.get(os.path.join(folder, "CMakeLists.txt"), []))
        names = {name, name.removesuffix("_test.cc")} if "_test.cc" in listed else {name}
        if "sl_test(" not in listed or not names & set(re.split(r"[\s()]+", listed)):
            yield path, 1, "a test that no sl_test() builds"


def main():
    tree = Tree(sys.argv[1])
    found = 0
    for name in sys.argv[2:] or RULES:
        for path, number, message in RULES[name](tree):
            print(f"{path}:{number}: {message} [{name}]")
            found += 1
    print(f"{len(sys.argv[2:] or RULES)} rules, {len(tree.files)} files, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
