#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench_report.py makes of a few lines of a run: ratios inside rounds, medians, tables, plots;
what peers are given, by bench_objects.py; and what kube-proxy itself is asked for and given."""

import json
import os
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "e2e")]

import bench_api
import bench_kube_proxy
import bench_objects
import bench_report
import kube_proxy_rules


def traffic(way, rates, **fields):
    return [{"measure": "traffic", "services": 10, "traffic": "CRR", "path": "pod-local",
             "way": way, "round": number, "rate": rate, "unit": "connections/s",
             "requests": 100, "p50Us": 70 + number, "p99Us": 200, "worstUs": 300,
             "busyUs": 5000 * (number + 1), **fields} for number, rate in enumerate(rates)]


LINES = [
    # The machine is twice as fast in the second round: only ratios inside a round say anything.
    *traffic("straight", [1000, 2000, 1000]), *traffic("iptables", [500, 1200, 700]),
    # A way that was not measured in every round.
    *traffic("nftables", [900]), *traffic("packet", [950, 1900], services=1000),
    {"measure": "load", "services": 10, "side": "iptables", "startMs": 1234.4},
    {"measure": "memory", "services": 10, "side": "iptables", "kernelKb": 2048},
    *traffic("kube-proxy-nftables", [450, 1000, 400]),
    {"measure": "load", "services": 10, "side": "kube-proxy-nftables", "startMs": 4321},
    {"measure": "memory", "services": 10, "side": "kube-proxy-nftables", "residentKb": 40960,
     "kernelKb": 512},
    {"measure": "load", "services": 10, "side": "sluice", "startMs": 3000},
    {"measure": "memory", "services": 10, "side": "sluice", "residentKb": 20480, "kernelKb": 1024},
    {"measure": "agent", "services": 10, "syncMs": 700, "residentMib": 25.4},
    *({"measure": "change", "services": 10, "side": "iptables", "followMs": value}
      for value in (5, 9, 7)),
    *({"measure": "churn", "services": 10, "side": side, "state": state, "rate": rate,
       "p99Us": p99, "worstUs": 2000, "lateS": 0.25} for side in ("sluice", "iptables")
      for state, rate, p99 in (("rest", 100, 50), ("changing", 80, 90), ("changing", 60, 110))),
    {"measure": "after churn", "services": 10, "side": "sluice", "writeMs": 1, "followMs": 1234.4},
    {"measure": "churn", "services": 10, "side": "nftables", "state": "rest", "rate": 1,
     "p99Us": 1, "worstUs": 1},
    {"measure": "program", "services": 10, "program": "sl_to_pod", "path": "pod-local",
     "traffic": "RR", "ns": 100.4, "runs": 1000},
]


def equal(got, wanted):
    assert got == wanted, (got, wanted)


def check_numbers(results):
    key = ("CRR", "pod-local", 10)
    equal(results.ratios(key, "iptables"), [0.5, 0.6, 0.7])
    equal(results.ratios(key, "nftables"), [0.9])
    equal(results.ratios(("CRR", "pod-local", 1000), "packet"), [])
    equal(results.busy_us(key, "straight"), 100)
    equal(bench_report.quartiles([4, 1, 2, 3, 5]), (3, 2, 4))
    equal(bench_report.quartiles([7]), (7, 7, 7))


def check_text(text):
    place = "pod to ClusterIP, backend on this node"
    for line in (
            f"| {place} | 10 | 1,000 connections/s |  | 0.600 (0.550-0.650) | "
            "0.900 (0.900-0.900) | 0.450 (0.425-0.475) |",
            f"| {place} | 10 | 71 / 200 |  | 71 / 200 | 70 / 200 | 71 / 200 |",
            f"| {place} | 10 | 100.0 |  | 100.0 | 50.0 | 100.0 |",
            "| straight | sluice by packet | iptables | nftables | kube-proxy, nftables |",
            "| 10 | iptables | 1,234 ms | 7.0 (6.0-8.0) ms |  | 2.0 MiB |",
            "| 10 | kube-proxy, nftables | 4,321 ms |  | 40 MiB | under 1 MiB |",
            "| 10 | sluice | 700 ms |  | 25 MiB | 1.0 MiB |",
            "| 10 | sluice | 50 (50-50) | 2.0 | 100 (95-105) | 2.0 | 0.70 | 0.2 | 1,234 |",
            "| 10 | iptables | 50 (50-50) | 2.0 | 100 (95-105) | 2.0 | 0.70 | 0.2 |  |",
            f"| sl_to_pod | {place} | RR | 100 |"):
        assert line in text, (line, text)
    assert "Linux 6.18, processors 2." in text, text


def check_plots(results):
    with tempfile.TemporaryDirectory() as folder:
        bench_report.plots(results, folder)
        for name in ("crr.svg", "crr-p99.svg", "change.svg"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read()
            assert "</svg>" in text and "iptables" in text, name
            assert name == "change.svg" or "kube-proxy, nftables" in text, name


def check_peers():
    objects = bench_objects.Objects(40)
    before = objects.rules_input("node-a")
    ports = [service["name"] for service in before["services"]]
    equal(len(ports), 41)  # web has two
    equal(ports.index("bench/web:tcp"), 19)
    objects.web_pod = "b1"
    objects.change(["other-3"])
    changed = objects.rule_names(["web", "other-3"])
    after = objects.rules_input("node-a")

    rules = kube_proxy_rules.Nftables(after, False).change_text(changed, before).splitlines()
    equal(sum("flush chain" in rule for rule in rules), 3)
    # No endpoint of web is on this node any more.
    equal(sum(rule.startswith("delete element") for rule in rules), 20)
    equal(sum("10.244.2.10" in rule for rule in rules), 2)

    rules = kube_proxy_rules.Iptables(after, False).change_text(changed).splitlines()
    services = [rule for rule in rules if rule.startswith("-A KUBE-SERVICES")]
    equal(len(services), 42)  # all of them, and the jump to the node ports
    equal(sum(rule.startswith(":KUBE-SVC-") for rule in rules), 3)
    equal(sum(rule.startswith(":KUBE-SEP-") for rule in rules), 30)


def check_kube_proxy():
    objects = bench_objects.Objects(2)
    equal([bench_api.path_of(value) for value in objects.all()], [
        "/api/v1/namespaces", "/api/v1/nodes", "/api/v1/nodes",
        *["/api/v1/namespaces/bench/services"] * 2,
        *["/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices"] * 2])
    method, path, _ = bench_api.replacement(objects.endpoint_slice("web"))
    equal((method, path.rsplit("/", 2)[1:]), ("PUT", ["endpointslices", "web-x7k2p"]))
    equal(bench_api.message_of(b'{"message": "no such port"}'), "no such port")
    equal(bench_api.message_of(b"<html>"), "<html>")

    missing = bench_kube_proxy.KubeProxy.missing
    os.environ.pop("KUBEBUILDER_ASSETS", None)
    assert missing().startswith("set KUBEBUILDER_ASSETS to a folder with etcd"), missing()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KUBEBUILDER_ASSETS"] = folder
        for name in bench_kube_proxy.PROGRAMS:
            assert name in missing().split("has no ")[1], (name, missing())
            os.symlink("/bin/true", os.path.join(folder, name))
        equal(missing(), "")


def main():
    results = bench_report.Results([json.loads(json.dumps(line)) for line in LINES])
    check_numbers(results)
    check_text(bench_report.report(results, {"Linux": "6.18", "processors": 2}))
    check_plots(results)
    check_peers()
    check_kube_proxy()
    print("ratios, tables, plots, peers and kube-proxy are as they should be")


if __name__ == "__main__":
    sys.exit(main())
