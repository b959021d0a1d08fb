# SPDX-License-Identifier: Apache-2.0
"""kube-proxy itself as a side of run.sh, with an API server: where KUBEBUILDER_ASSETS names a
folder with these programs."""

import functools
import json
import os
import time

import bench_api
from bench_objects import LETTERS
from bench_sides import Failure, Iptables, Netfilter, kernel_memory_kb, process_memory

PROGRAMS = ("etcd", "kube-apiserver", "kubectl", "kube-proxy")
NODES = {"node-a": "a1", "node-b": "b2"}  # and a client of each


def running(process):
    """One that has ended is there until its parent has looked."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class KubeProxy(Netfilter):
    """Follows the API; all that is changed is changed there."""

    mode = ""
    patience = 900

    def __init__(self, bench, folder):
        super().__init__(bench, folder)
        self.api = None
        self.processes = {}  # node -> of kube-proxy
        self.kernel_kb = 0

    @staticmethod
    def missing():
        folder = os.environ.get("KUBEBUILDER_ASSETS", "")
        absent = [name for name in PROGRAMS
                  if not os.access(os.path.join(folder, name), os.X_OK)]
        if folder and not absent:
            return ""
        return f"set KUBEBUILDER_ASSETS to a folder with {', '.join(PROGRAMS)}; " + (
            f"{folder} has no {', '.join(absent)}" if folder else "it is not set")

    def flags(self):
        return ["--kube-proxy", self.mode, self.objects.pod_range, Iptables.variant]

    def load(self):
        begin = time.monotonic()
        self.api = bench_api.Api(self.netns("router"), self.facts["api"],
                                 os.path.join(self.facts["folder"], "pki"))
        self.api.create(self.objects.all())
        self.loaded = {"objectsS": time.monotonic() - begin}
        grown = []
        for node, client in NODES.items():
            memory = kernel_memory_kb()
            times = self.follow(client, functools.partial(self.start_on, node))
            self.loaded.setdefault("startMs", (times.followed - times.begin) / 1e6)
            grown.append(kernel_memory_kb() - memory)
        # The same twice: what something else has taken meanwhile is in one of the two.
        self.kernel_kb = max(0, min(grown))

    def start_on(self, node):
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"{self.name}: {self.log_end()}")
        self.processes[node] = json.loads(line)["process"]

    def stop(self):
        if self.api:
            self.api.close()
            self.api = None
        super().stop()

    def check_running(self):
        for node, process in self.processes.items():
            if not running(process):
                log = os.path.join(self.facts["folder"], f"kube-proxy-{node}.log")
                with open(log, encoding="utf-8", errors="replace") as file:
                    # Before what Go tells of each of its threads.
                    said = file.read().split("\ngoroutine ")[0][-800:].strip() or "nothing"
                raise Failure(f"{self.name}: kube-proxy on {node} has ended; it said: {said}")

    def prepare(self, names):
        self.api.wake()
        return [bench_api.replacement(self.objects.endpoint_slice(name)) for name in names]

    def write(self, prepared):
        self.api.ask_all(prepared)

    def settle(self):
        # Of node-a it is known; the other one must not work on while the next side is measured.
        self.follow(NODES["node-b"], lambda: None)

    def memory(self):
        return {**process_memory(self.processes["node-a"]), "kernelKb": self.kernel_kb}

    def check(self, ways):
        super().check(ways)
        self.check_running()


class KubeProxyIptables(KubeProxy):
    name = "kube-proxy-iptables"
    ways = ("kube-proxy-iptables",)
    mode = "iptables"


class KubeProxyNftables(KubeProxy):
    name = "kube-proxy-nftables"
    ways = ("kube-proxy-nftables",)
    mode = "nftables"


SIDES = (KubeProxyIptables, KubeProxyNftables)
