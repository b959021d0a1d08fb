#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table and the plots of a run of run.sh, out of what it measured.

usage: bench_report.py FOLDER

FOLDER has machine.json and results.jsonl; table.md and *.svg are written beside them. Traffic is
compared inside a round: each way's rate against straight's in the same one. Printed are medians,
with the quartiles in brackets.
"""

import collections
import json
import os
import statistics
import subprocess
import sys

WAYS = ("straight", "connect", "packet", "xdp", "iptables", "nftables",
        "kube-proxy-iptables", "kube-proxy-nftables")
TITLES = {"connect": "sluice at connect()", "packet": "sluice by packet",
          "xdp": "sluice by XDP", "sluice": "sluice", "sluice-xdp": "sluice, XDP",
          "kube-proxy-iptables": "kube-proxy, iptables",
          "kube-proxy-nftables": "kube-proxy, nftables"}
PATHS = {"pod-local": "pod to ClusterIP, backend on this node",
         "pod-remote": "pod to ClusterIP, backend on another node",
         "outside-local": "outside to NodePort, backend on this node",
         "outside-remote": "outside to NodePort, backend on another node"}
TRAFFIC = {"CRR": "a connection for each request", "RR": "requests on one connection",
           "stream": "one stream", "UDP RR": "UDP, requests from one socket"}


def title(name):
    return TITLES.get(name, name)


def quartiles(values):
    """Median, and the two between which half of the values are."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def spread(values, digits=3):
    middle, low, high = quartiles(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


class Results:
    """The lines of a run, by what they are about."""

    def __init__(self, lines):
        self.lines = lines
        # (traffic, path, services) -> way -> round -> line
        self.traffic = collections.defaultdict(lambda: collections.defaultdict(dict))
        for line in self.of("traffic"):
            key = (line["traffic"], line["path"], line["services"])
            self.traffic[key][line["way"]][line["round"]] = line

    def of(self, measure):
        return [line for line in self.lines if line["measure"] == measure]

    def ratios(self, key, way):
        """To straight, of the rounds that both have."""
        ways = self.traffic[key]
        straight = ways.get("straight", {})
        return [line["rate"] / straight[number]["rate"]
                for number, line in sorted(ways.get(way, {}).items()) if number in straight]

    def values(self, key, way, field):
        return [line[field] for line in self.traffic[key].get(way, {}).values() if field in line]

    def busy_us(self, key, way):
        """Of all processors for a request. Summed up first: the kernel counts in ticks."""
        requests = sum(self.values(key, way, "requests"))
        return sum(self.values(key, way, "busyUs")) / requests if requests else None

    def ways(self, traffic):
        found = {way for key, ways in self.traffic.items() if key[0] == traffic for way in ways}
        return [way for way in WAYS if way in found]

    def keys(self, traffic):
        order = list(PATHS)
        return sorted((key for key in self.traffic if key[0] == traffic),
                      key=lambda key: (order.index(key[1]), key[2]))


def rate_cell(results):
    """Of straight; itself where it is straight's, or nothing else is there to compare with."""
    def cell(key, way):
        rates = results.values(key, way, "rate")
        ratios = results.ratios(key, way) if way != "straight" else []
        if ratios:
            return spread(ratios)
        unit = next(iter(results.traffic[key][way].values()))["unit"] if rates else ""
        return f"{statistics.median(rates):,.0f} {unit}" if rates else ""
    return cell


def traffic_table(results, traffic, cell):
    ways = results.ways(traffic)
    rows = []
    for key in results.keys(traffic):
        rows.append([PATHS[key[1]], f"{key[2]:,}", *(cell(key, way) for way in ways)])
    return table(["from, to", "Services", *map(title, ways)], rows)


def times_cell(results):
    def cell(key, way):
        p50, p99 = results.values(key, way, "p50Us"), results.values(key, way, "p99Us")
        return f"{statistics.median(p50):.0f} / {statistics.median(p99):.0f}" if p50 else ""
    return cell


def busy_cell(results):
    def cell(key, way):
        busy = results.busy_us(key, way)
        return "" if busy is None else f"{busy:.1f}"
    return cell


def kernel_cell(kept):
    if "kernelKb" not in kept:
        return ""
    # Of rules: by how much what the kernel holds has grown, and so with others' comings and goings.
    return f"{kept['kernelKb'] / 1024:.1f} MiB" if kept["kernelKb"] >= 1024 else "under 1 MiB"


def control_table(results):
    rows = []
    loads = {(line["services"], line["side"]): line for line in results.of("load")}
    memory = {(line["services"], line["side"]): line for line in results.of("memory")}
    agents = {line["services"]: line for line in results.of("agent")}
    for key in sorted(loads):
        services, side = key
        changes = [line["followMs"] for line in results.of("change")
                   if (line["services"], line["side"]) == key]
        kept = memory.get(key, {})
        start = loads[key]["startMs"]
        agent = agents.get(services) if side == "sluice" else None
        resident = kept["residentKb"] / 1024 if "residentKb" in kept else None
        if agent:
            start, resident = agent["syncMs"], agent["residentMib"]
        rows.append([f"{services:,}", title(side), f"{start:,.0f} ms",
                     f"{spread(changes, 1)} ms" if changes else "",
                     "" if resident is None else f"{resident:.0f} MiB",
                     kernel_cell(kept)])
    return table(["Services", "side", "from nothing to all in force", "one change, to traffic",
                  "process", "rules or maps, in the kernel"], rows)


def churn_table(results):
    groups = collections.defaultdict(lambda: {"rest": [], "changing": []})
    for line in results.of("churn"):
        groups[line["services"], line["side"]][line["state"]].append(line)
    after = {(line["services"], line["side"]): line["followMs"]
             for line in results.of("after churn")}
    rows = []
    for (services, side), states in sorted(groups.items()):
        if not states["rest"] or not states["changing"]:
            continue
        cells = []
        for state in ("rest", "changing"):
            cells.append(spread([line["p99Us"] for line in states[state]], 0))
            cells.append(f"{max(line['worstUs'] for line in states[state]) / 1000:.1f}")
        rates = [statistics.median(line["rate"] for line in states[state])
                 for state in ("changing", "rest")]
        late = max(line["lateS"] for line in states["changing"])
        rows.append([f"{services:,}", title(side), *cells, f"{rates[0] / rates[1]:.2f}",
                     f"{late:.1f}",
                     f"{after[services, side]:,.0f}" if (services, side) in after else ""])
    return table(["Services", "side", "p99 at rest, us", "worst, ms", "p99 while they change, us",
                  "worst, ms", "rate, of that at rest", "written behind time, s",
                  "one change after them, to traffic, ms"], rows)


def program_table(results):
    groups = collections.defaultdict(dict)
    for line in results.of("program"):
        groups[line["program"], line["path"], line["traffic"]][line["services"]] = line["ns"]
    counts = sorted({line["services"] for line in results.of("program")})
    rows = [[name, PATHS[path], traffic,
             *(f"{by[count]:.0f}" if count in by else "" for count in counts)]
            for (name, path, traffic), by in sorted(groups.items())]
    return table(["program", "from, to", "traffic", *(f"{count:,}" for count in counts)], rows)


def report(results, machine):
    parts = ["# Benchmark of sluice", "",
             ", ".join(f"{name} {value}" for name, value in machine.items()) + ".", "",
             "Rates are against straight to the backend in the same round; medians, with the "
             "quartiles in brackets.", ""]
    for traffic, what in TRAFFIC.items():
        if not results.keys(traffic):
            continue
        parts += [f"## {traffic}: {what}", "", traffic_table(results, traffic, rate_cell(results))]
        if traffic != "stream":
            parts += ["Time of a request in us, p50 / p99:", "",
                      traffic_table(results, traffic, times_cell(results)),
                      "Processor time for a request in us, of the whole machine, both ends and "
                      "all between:", "", traffic_table(results, traffic, busy_cell(results))]
    if results.of("load"):
        parts += ["## Services coming and changing", "", control_table(results)]
    if results.of("churn"):
        parts += ["## Traffic while 1,000 endpoints a second change, for ten seconds", "",
                  churn_table(results)]
    if results.of("program"):
        parts += ["## Nanoseconds of each program for a packet, by number of Services", "",
                  program_table(results)]
    return "\n".join(parts)


# Plots.

COLOURS = {"straight": "#888888", "connect": "#1b7837", "packet": "#7fbf7b", "xdp": "#00bcd4",
           "iptables": "#d6604d", "nftables": "#4393c3", "sluice": "#1b7837",
           "sluice-xdp": "#00bcd4", "kube-proxy-iptables": "#762a83",
           "kube-proxy-nftables": "#e08214"}


def gnuplot(path, size, commands):
    script = f"set terminal svg size {size} dynamic font 'sans,12' background '#ffffff'\n" \
        f"set output '{path}'\n" + commands
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not os.path.exists(path):
        raise SystemExit(f"gnuplot: {done.stderr[-600:]}")


def lines_plot(series):
    """series: name -> [(x, middle, low, high)...]: gnuplot's commands for one diagram."""
    blocks, plots = [], []
    for number, (name, points) in enumerate(series.items()):
        # Beside each other, not on top.
        points = [(x * 1.03 ** number, *values) for x, *values in points]
        rows = "\n".join(" ".join(f"{value:.6g}" for value in point) for point in points)
        blocks.append(f"$data{number} << END\n{rows}\nEND\n")
        plots.append(f"$data{number} using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.6 "
                     f"lc rgb '{COLOURS[name]}' title '{title(name)}'")
    return "".join(blocks) + "plot " + ", ".join(plots) + "\n"


def series_of(results, traffic, path, values):
    series = {}
    for way in results.ways(traffic):
        points = [(key[2], *quartiles(values(key, way))) for key in results.keys(traffic)
                  if key[1] == path and values(key, way)]
        if points:
            series[way] = points
    return series


def path_plots(results, folder, traffic, name, label, values):
    paths = [path for path in PATHS if any(key[1] == path for key in results.keys(traffic))]
    parts = []
    for path in paths:
        series = series_of(results, traffic, path, values)
        if series:
            parts.append(f"set title '{PATHS[path]}'\n" + lines_plot(series))
    if parts:
        rows = (len(parts) + 1) // 2
        gnuplot(os.path.join(folder, name), f"1100,{400 * rows}",
                "set logscale x\nset grid\nset xlabel 'Services'\nset key bottom left\n"
                f"set ylabel '{label}'\nset yrange [0:*]\n"
                "set offsets graph 0.05, graph 0.05, 0, 0\n"
                f"set multiplot layout {rows},{min(2, len(parts))}\n" + "".join(parts))


def control_plot(results, folder):
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in results.of("change"):
        groups[line["side"]][line["services"]].append(line["followMs"])
    series = {side: [(services, *quartiles(values)) for services, values in sorted(by.items())]
              for side, by in groups.items()}
    if series:
        gnuplot(os.path.join(folder, "change.svg"), "700,450",
                "set logscale xy\nset grid\nset key top left\nset xlabel 'Services'\n"
                "set ylabel 'one change, from its write to traffic, ms'\n" + lines_plot(series))


def plots(results, folder):
    for traffic in TRAFFIC:
        name = traffic.lower().replace(" ", "-")
        path_plots(results, folder, traffic, f"{name}.svg", f"{traffic}, of straight",
                   results.ratios)
    path_plots(results, folder, "CRR", "crr-p99.svg", "CRR, p99, us",
               lambda key, way: results.values(key, way, "p99Us"))
    control_plot(results, folder)


def read(folder):
    with open(os.path.join(folder, "results.jsonl"), encoding="utf-8") as file:
        results = Results([json.loads(line) for line in file])
    with open(os.path.join(folder, "machine.json"), encoding="utf-8") as file:
        return results, json.load(file)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    results, machine = read(folder)
    text = report(results, machine)
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
    plots(results, folder)


if __name__ == "__main__":
    main()
