#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header of user space compiles alone, and the shared ones of maps/ also as C.

usage: headers.py ROOT BUILD

A header that the .cc beside it includes first has been shown to by the build; the others are
compiled here, with the flags of compile_commands.json in the build folder. Headers of BPF programs
are parts of one (the entry file chooses the hook) and are not meant to stand alone. The rule's own
case is a header that uses a name without its #include.
"""

import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
import tempfile

FOLDERS = ("control", "cmd", "maps", "test")
KERNEL_LICENCE = "GPL-2.0-only OR BSD-2-Clause"


def include_flags(build):
    """The union of the include flags that the build uses."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    flags = {}
    for command in commands:
        words = shlex.split(command["command"])
        for i, word in enumerate(words):
            if word == "-isystem":
                flags[word, words[i + 1]] = None
            elif word.startswith(("-I", "-D")):
                flags[word,] = None
    return [word for flag in flags for word in flag]


def compiles(header, language, flags):
    compiler = ["g++", "-std=c++20"] if language == "c++" else ["clang", "-std=gnu11"]
    done = subprocess.run([*compiler, "-x", language, "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                           *flags, "-"], input=f'#include "{os.path.abspath(header)}"\n',
                          capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr


def headers(root):
    for folder in FOLDERS:
        for place, folders, names in os.walk(os.path.join(root, folder)):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".h"):
                    yield os.path.join(place, name)


def first_include(path):
    """What a source includes first; None for one that is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            return next((line.split('"')[1] for line in file if line.startswith('#include "')), None)
    except OSError:
        return None


def of_a_bpf_program(header):
    with open(header, encoding="utf-8") as file:
        return '#include "bpf/' in file.read()


def shown_by_the_build(root, header):
    return first_include(header.removesuffix(".h") + ".cc") == os.path.relpath(header, root)


def shared_with_bpf(header):
    with open(header, encoding="utf-8") as file:
        return KERNEL_LICENCE in file.readline()


def main():
    root, build = sys.argv[1], sys.argv[2]
    flags = include_flags(build)
    with tempfile.NamedTemporaryFile("w", suffix=".h") as broken:
        broken.write("#pragma once\ninline std::string Name() { return {}; }\n")
        broken.flush()
        if compiles(broken.name, "c++", flags)[0]:
            sys.exit("a header without its #include was let through")
    jobs = [(header, "c++") for header in headers(root)
            if not shown_by_the_build(root, header) and not of_a_bpf_program(header)]
    jobs += [(header, "c") for header in headers(root) if shared_with_bpf(header)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: compiles(*job, flags), jobs)
        for (header, language), (good, said) in zip(jobs, results):
            if not good:
                failed += 1
                print(f"{os.path.relpath(header, root)} does not compile alone as {language}:")
                print("\n".join(said.split("\n")[:6]))
    print(f"{len(jobs)} headers, {failed} do not compile alone")
    return 1 if failed else 0


sys.exit(main())
