#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measuring of run.sh, which says what is measured and has built what is needed.

usage: bench_run.py BUILD FOLDER [flags]; each result is a JSON line of FOLDER/results.jsonl
"""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time

import bench_kube_proxy
import bench_sides
from bench_objects import Objects
from bench_sides import Failure, command

SIDES = bench_sides.SIDES + bench_kube_proxy.SIDES

# From where to where: the client's namespace, and the pod that web is on.
PATHS = {"pod-local": ("a1", "a2"), "pod-remote": ("a1", "b1"),
         "outside-local": ("client", "a2"), "outside-remote": ("client", "b1")}
TRAFFIC = ("CRR", "RR", "stream", "UDP RR")
CHURN_SECONDS = 10


def fits(way, traffic, path):
    """What a way has no part in is not measured: it would be another's figure again."""
    if way == "connect":  # TCP of pods
        return path.startswith("pod") and traffic != "UDP RR"
    return way != "xdp" or path == "outside-remote"


class Run:
    """Sides of one number of Services at a time, and where results go."""

    def __init__(self, args):
        self.args = args
        self.bench = os.path.join(args.build, "test", "bench", "sluice_connection_bench")
        self.results = open(os.path.join(args.folder, "results.jsonl"), "a", encoding="utf-8")
        self.sides = []
        self.services = 0
        self.measured = set()  # ways, of this number of Services
        self.foreign = set()
        self.begin = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.begin:5.0f} s] {text}", flush=True)

    def write(self, measure, **fields):
        json.dump({"measure": measure, "services": self.services, **fields}, self.results)
        self.results.write("\n")
        self.results.flush()

    def start(self, services):
        self.services = services
        self.measured = set()
        self.foreign = {one["id"] for one in programs()}  # of a sluice that this machine has
        for kind in SIDES:
            if kind.name not in self.args.sides:
                continue
            side = kind(self.bench, os.path.join(self.args.folder, "work"))
            self.sides.append(side)
            self.say(f"{services} services: {side.name}")
            side.start(Objects(services, self.args.family))
            if side.loaded:
                self.write("load", side=side.name, **side.loaded)
            if side.memory():
                self.write("memory", side=side.name, **side.memory())

    def stop(self):
        for side in self.sides:
            side.stop()
        self.sides = []

    def ways(self, traffic, path):
        client = PATHS[path][0]
        return [side.way(way, client) for side in self.sides for way in side.ways
                if fits(way, traffic, path)]

    def ask(self, traffic, ways, rounds, milliseconds):
        plan = {"traffic": traffic, "rounds": rounds, "milliseconds": milliseconds, "ways": ways}
        lines = command([self.bench, "ask"], json.dumps(plan)).splitlines()
        return [json.loads(line) for line in lines]

    def measure_traffic(self, traffic, path):
        ways = self.ways(traffic, path)
        self.say(f"{self.services} services: {traffic}, {path}, {len(ways)} ways, "
                 f"{self.args.rounds} rounds")
        self.measured |= {way["name"] for way in ways}
        for line in self.ask(traffic, ways, self.args.rounds, self.args.milliseconds):
            self.write("traffic", traffic=traffic, path=path, **line)

    def move(self, side, pod):
        """Puts web on that pod, and says how long until traffic follows; None where none is to."""
        side.objects.web_pod = pod
        prepared = side.prepare(["web"])
        if prepared is None:
            return None
        times = side.follow("a1", lambda: side.write(prepared))
        side.settle()
        return {"writeMs": (times.done - times.begin) / 1e6,
                "followMs": (times.followed - times.begin) / 1e6}

    def move_all(self, pod):
        for side in self.sides:
            change = side.objects.web_pod != pod and self.move(side, pod)
            if change:
                self.write("change", side=side.name, **change)

    def measure_changes(self):
        self.say(f"{self.services} services: {self.args.changes} changes, one at a time")
        for i in range(self.args.changes):
            self.move_all(("b1", "a2")[i % 2])
        self.move_all("a2")

    def churn(self, side):
        """A thousand changes in each second, as many Services: each by itself for who takes them
        so, all of them in one update a second for kube-proxy's rules, as it folds them."""
        names = side.objects.changing()
        peer = isinstance(side, bench_sides.Peer)
        parts = [names] if peer else [names[i:i + 10] for i in range(0, len(names), 10)]
        prepared = []
        for _ in range(CHURN_SECONDS):
            for part in parts:
                side.objects.change(part)
                prepared.append(side.prepare(part))

        def write():
            late = 0.0
            begin = time.monotonic()
            for number, one in enumerate(prepared):
                due = begin + number * CHURN_SECONDS / len(prepared)
                time.sleep(max(0, due - time.monotonic()))
                side.write(one)
                late = max(late, time.monotonic() - due)
            return late

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            lines = self.ask("CRR", [side.way(side.ways[-1], "a1")], CHURN_SECONDS - 1, 1000)
            late = writing.result()
        return lines, late

    def measure_churn(self):
        for side in self.sides:
            if not side.objects.changing() or side.name in ("straight", "sluice-xdp"):
                continue
            self.say(f"{self.services} services: 1,000 changes a second, {side.name}")
            way = [side.way(side.ways[-1], "a1")]
            for line in self.ask("CRR", way, CHURN_SECONDS - 1, 1000):
                self.write("churn", side=side.name, state="rest", **line)
            lines, late = self.churn(side)
            for line in lines:
                self.write("churn", side=side.name, state="changing", lateS=late, **line)
            # What comes after all those is in force when they are.
            self.write("after churn", side=side.name, **self.move(side, "b1"))
            self.move(side, "a2")

    def measure_programs(self, path):
        """Nanoseconds of each program, by the kernel's own account, while there is traffic."""
        sides = [side for side in self.sides if isinstance(side, bench_sides.Sluice)]
        for traffic in ("CRR", "RR"):
            ways = [side.way(way, PATHS[path][0]) for side in sides for way in side.ways
                    if fits(way, traffic, path)]
            if not ways or traffic not in self.args.traffic:
                continue
            before = program_times(self.foreign)
            command(["sysctl", "-qw", "kernel.bpf_stats_enabled=1"])
            try:
                self.ask(traffic, ways, 5, 100)
            finally:
                command(["sysctl", "-qw", "kernel.bpf_stats_enabled=0"])
            for program, (spent, runs) in program_times(self.foreign).items():
                spent -= before.get(program, (0, 0))[0]
                runs -= before.get(program, (0, 0))[1]
                if runs >= 100:
                    self.write("program", traffic=traffic, path=path, program=program,
                               ns=spent / runs, runs=runs)

    def measure_agent(self):
        """A whole agent over the API, by itself: sluice_kubernetes_bench."""
        if "sluice" not in self.args.sides:
            return
        self.say(f"{self.services} services: an agent over the API")
        text = command([os.path.join(self.args.build, "test", "bench", "sluice_kubernetes_bench"),
                        str(self.services), "10", str(min(self.services, 1000)), "100"])
        found = [re.search(pattern, text) for pattern in (
            r"sync: (\d+) ms from start to the last row", r"resident: ([\d.]+) MiB",
            r"change, wire to row,.* p50 ([\d.]+) ms, p99 ([\d.]+) ms")]
        if not all(found):
            raise Failure(f"sluice_kubernetes_bench said {text}")
        self.write("agent", syncMs=float(found[0][1]), residentMib=float(found[1][1]),
                   changeP50Ms=float(found[2][1]), changeP99Ms=float(found[2][2]))

    def one_count(self, services):
        try:
            self.start(services)
            for path in self.args.paths:
                self.move_all(PATHS[path][1])
                for traffic in self.args.traffic:
                    self.measure_traffic(traffic, path)
                self.measure_programs(path)
            for side in self.sides:
                side.check(self.measured & set(side.ways))
            self.measure_changes()
            if services >= 1000:
                self.measure_churn()
        finally:
            self.stop()
        self.measure_agent()


def programs():
    """All of sluice on this machine, as bpftool has them."""
    return [one for one in json.loads(command(["bpftool", "-j", "prog", "show"]))
            if one.get("name", "").startswith("sl_")]


def program_times(foreign):
    """Of sluice's programs, on all nodes together: name -> nanoseconds, runs."""
    times = collections.Counter()
    runs = collections.Counter()
    for one in programs():
        if one["id"] not in foreign:
            times[one["name"]] += one.get("run_time_ns", 0)
            runs[one["name"]] += one.get("run_cnt", 0)
    return {name: (times[name], runs[name]) for name in times}


def words(known):
    def parse(text):
        chosen = text.split(",")
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"not {', '.join(known)}: {', '.join(unknown)}")
        return chosen
    return parse


def main():
    sides = [side.name for side in SIDES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("folder")
    parser.add_argument("--services", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--sides", type=words(sides))
    parser.add_argument("--paths", type=words(PATHS), default=list(PATHS))
    parser.add_argument("--traffic", type=words(TRAFFIC), default=TRAFFIC)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--milliseconds", type=int, default=50)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--family", type=int, choices=(4, 6), default=4)
    parser.add_argument("--iptables", choices=("legacy", "nft"), default="legacy")
    parser.add_argument("--check", action="store_true", help="whether it can be done, and no more")
    args = parser.parse_args()
    if args.sides is None:
        args.sides = [side.name for side in SIDES if not side.missing()]
    for side in SIDES:
        if side.name in args.sides and side.missing():
            print(f"test/bench/run.sh: --sides {side.name}: {side.missing()}", file=sys.stderr)
            return 2
    if args.check:
        return 0
    run = Run(args)
    bench_sides.Iptables.variant = run.args.iptables
    # What stands is taken down. (So it is when this is killed: contender.sh sees its input end.)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.makedirs(os.path.join(run.args.folder, "work"), exist_ok=True)
    try:
        for services in run.args.services:
            run.one_count(services)
    except Failure as failure:
        print(f"test/bench/run.sh: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
