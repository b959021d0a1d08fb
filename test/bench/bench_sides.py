# SPDX-License-Identifier: Apache-2.0
"""The sides that run.sh compares: a cluster each (contender.sh), all standing at the same time, and
what does the services in it. None is ever on a node with another."""

import collections
import json
import os
import re
import select
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import bench_objects
import kube_proxy_rules
from bench_objects import LETTERS

CLIENT_PORTS = {True: [10000, 19999], False: [20000, 29999]}  # in the agent's cgroup, or not
FOLLOW_PORTS = range(30000, 64000)
FOLLOW_MOST = 8000  # at a time: a quarter of a minute, or more than one if nobody answers

# Nanoseconds: before something was done, when that was done, and when traffic followed.
Times = collections.namedtuple("Times", ("begin", "done", "followed"))


class Failure(Exception):
    """What the run ends with."""


def command(arguments, text=None):
    """Runs it to its end; what it printed."""
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(arguments[:6])}: {done.stderr.strip()[-400:]}")
    return done.stdout


def kernel_memory_kb():
    """What the kernel holds outside the page cache: where rules and their chains are."""
    with open("/proc/meminfo", encoding="ascii") as file:
        sizes = dict(re.findall(r"(\w+): +(\d+)", file.read()))
    return sum(int(sizes[name]) for name in ("SUnreclaim", "VmallocUsed", "Percpu"))


def process_memory(process):
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        status = dict(re.findall(r"(\w+):\s+(\d+) kB", file.read()))
    return {"residentKb": int(status["VmRSS"]), "anonymousKb": int(status["RssAnon"])}


class Side:
    """A cluster without anything for its services: straight to the backend, the floor of all."""

    name = "straight"
    ways = ("straight",)
    patience = 0  # seconds that follow() goes on asking after its first ports

    def __init__(self, bench, folder):
        self.bench = bench
        self.manifests = os.path.join(folder, self.name)
        self.process = None
        self.facts = {}
        self.objects = None
        self.loaded = {}  # what load() found out
        self.next_port = FOLLOW_PORTS.start

    @staticmethod
    def missing():
        """What has to be there before this side is; nothing if it can be measured."""
        return ""

    def flags(self):
        return []

    def log_end(self):
        with open(self.manifests + ".log", encoding="utf-8", errors="replace") as file:
            return file.read()[-800:].strip()

    def start(self, objects):
        """The cluster stands when this returns, and does its services."""
        self.objects = objects
        log = open(self.manifests + ".log", "w", encoding="utf-8")
        with log:
            self.process = subprocess.Popen(
                [os.path.join(HERE, "contender.sh"), self.bench, *self.flags()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"the cluster of {self.name}: {self.log_end()}")
        self.facts = json.loads(line)
        self.load()

    def load(self):
        pass

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None

    def netns(self, role):
        return f"/run/netns/{self.facts['cluster']}-{role}"

    def on(self, role, *arguments, text=None):
        return command(["nsenter", f"--net={self.netns(role)}", "--", *arguments], text)

    def way(self, way, client, service=True):
        """Where a client asks, in sluice_connection_bench's words."""
        inside = way == "connect"
        at = self.objects
        straight = self.name == "straight"
        target = {"name": way, "netns": self.netns(client), "tcpPort": bench_objects.PORT,
                  "udpPort": bench_objects.PORT, "clientPorts": CLIENT_PORTS[inside]}
        if straight or not service:
            target["address"] = at.pod_address(at.web_pod, 0)
        elif client == "client":
            target.update(address=at.node_address, tcpPort=bench_objects.NODE_PORT,
                          udpPort=bench_objects.NODE_PORT)
        else:
            target["address"] = at.web_address
        if inside:
            target["cgroup"] = self.facts["cgroup"]
        return target

    def fresh_ports(self):
        """Of which no flow is remembered: it is half a minute until one is again."""
        if self.next_port + FOLLOW_MOST > FOLLOW_PORTS.stop:
            self.next_port = FOLLOW_PORTS.start
        return [self.next_port, self.next_port + FOLLOW_MOST - 1]

    def follow(self, client, act):
        """Does that, and waits until a client of web is answered by the pod that web is on now."""
        plan = {"way": self.way(self.ways[-1], client), "until": LETTERS[self.objects.web_pod]}
        last = time.monotonic() + self.patience
        begin = done = 0
        while True:
            plan["way"]["clientPorts"] = self.fresh_ports()
            # Without buffers: select() sees what there is to read.
            with subprocess.Popen([self.bench, "follow"], bufsize=0, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                try:
                    process.stdin.write(json.dumps(plan).encode())
                    process.stdin.close()
                    if process.stdout.readline() != b"following\n":
                        raise Failure(f"sluice_connection_bench follow: {process.stderr.read()}")
                    if not begin:
                        begin = time.monotonic_ns()
                        act()
                        done = time.monotonic_ns()
                    while not select.select([process.stdout], [], [], 1)[0]:
                        self.check_running()
                    line = process.stdout.readline()
                    words = b"" if line else process.stderr.read()
                finally:
                    process.kill()  # if it has not ended
            if line:
                followed = json.loads(line)
                self.next_port += followed["ports"]
                return Times(begin, done, followed["at"])
            self.next_port += FOLLOW_MOST
            if time.monotonic() > last or b"no other backend answers" not in words:
                raise Failure(f"{self.name}, {client} asks for {self.objects.web_pod}: "
                              f"{words.decode(errors='replace').strip()}")

    def check_running(self):
        """Ends the run if something has ended that a change waits for."""

    def prepare(self, names):
        """What is written when these have changed; the objects are as they shall be."""
        del names

    def write(self, prepared):
        """Puts that in force, or on its way. Returns when there is nothing more to do here."""

    def settle(self):
        """Waits for what goes on after traffic has followed a change."""

    def memory(self):
        """{residentKb: of processes, kernelKb: of rules or maps}"""
        return {}

    def tracked(self):
        """Flows that netfilter's connection tracking knows on node-a."""
        try:
            return int(self.on("node-a", "sysctl", "-n", "net.netfilter.nf_conntrack_count"))
        except Failure:
            return 0  # a kernel without

    def check(self, ways):
        """Ends the run unless the traffic went the ways that it should have gone."""
        del ways
        if self.tracked() > 0:
            raise Failure(f"{self.name}: connections are tracked where no rules are")


class Sluice(Side):
    """Agents that follow a folder of manifests."""

    name = "sluice"
    ways = ("connect", "packet")

    def flags(self):
        return [self.manifests]

    def start(self, objects):
        objects.write(self.manifests)
        super().start(objects)

    def load(self):
        self.loaded = {"startMs": self.facts["startMs"]}

    def prepare(self, names):
        return [(name, self.objects.endpoint_slice(name)) for name in names]

    def write(self, prepared):
        for name, value in prepared:
            bench_objects.write_whole(self.manifests, f"{name}.json", value)

    def control(self, *arguments):
        program = os.path.join(os.path.dirname(self.bench), "..", "..", "cmd", "sluicectl",
                               "sluicectl")
        state = os.path.join(self.facts["folder"], "state-node-a")
        return json.loads(self.on("node-a", program, "--state-dir", state, "-o", "json",
                                  *arguments))

    def check(self, ways):
        super().check(ways)
        services = self.control("service", "show", "bench/web")
        opened = sum(one["stats"]["opened"] for one in services)
        sockets = sum(one.get("sockets", {}).get("established", 0) for one in services)
        packets = opened - sockets
        if {"packet", "xdp"} & ways and packets <= 0 or "connect" in ways and sockets == 0:
            raise Failure(f"{self.name}: {packets} connections by packet, {sockets} at connect()")

    def maps(self):
        # Those of both agents may be loaded; pinned in this folder are those of node-a.
        folder = os.path.join(self.facts["bpffs"], "v1")
        shown = []
        for name in sorted(os.listdir(folder)):
            try:
                shown.append(json.loads(command(["bpftool", "-j", "map", "show", "pinned",
                                                 os.path.join(folder, name)])))
            except Failure:
                continue  # a link or a program
        return shown

    def memory(self):
        return {**process_memory(self.facts["agent"]),
                "kernelKb": sum(int(one["bytes_memlock"]) for one in self.maps()) // 1024}


class SluiceXdp(Sluice):
    """The same with the program in the driver."""

    name = "sluice-xdp"
    ways = ("xdp",)

    def flags(self):
        return [self.manifests, "--xdp", "native"]

    def check(self, ways):
        super().check(ways)
        counters = self.on("node-a", "ethtool", "-S", "eth0")
        if "xdp" in ways and not re.search(r"_xdp_tx: [1-9]", counters):
            raise Failure(f"{self.name}: nothing left by XDP")


class Netfilter(Side):
    """Rules, through which every packet of a service goes."""

    def check(self, ways):
        if ways and self.tracked() == 0:
            raise Failure(f"{self.name}: nothing went through its rules")


class Peer(Netfilter):
    """kube-proxy's rules, put in by the programs that kube-proxy runs."""

    def program(self):
        raise NotImplementedError

    def rules(self, node):
        raise NotImplementedError

    def change_rules(self, names, before):
        raise NotImplementedError

    def load(self):
        grown = []
        for node in ("node-a", "node-b"):
            text = self.rules(node)
            memory, begin = kernel_memory_kb(), time.monotonic()
            self.on(node, *self.program(), text=text)
            if node == "node-a":
                self.loaded = {"startMs": (time.monotonic() - begin) * 1000}
            grown.append(kernel_memory_kb() - memory)
        # The same twice: what something else has taken meanwhile is in one of the two.
        self.kernel_kb = min(grown)
        self.before = self.objects.rules_input("node-a")

    def prepare(self, names):
        text = self.change_rules(self.objects.rule_names(names), self.before)
        self.before = self.objects.rules_input("node-a")
        return text

    def write(self, prepared):
        # On node-a alone: no client of a service is behind the other.
        self.on("node-a", *self.program(), text=prepared)

    def memory(self):
        return {"kernelKb": self.kernel_kb}


class Iptables(Peer):
    name = "iptables"
    ways = ("iptables",)
    variant = "legacy"  # or nft

    def program(self):
        six = "6" if self.objects.family == 6 else ""
        return [f"ip{six}tables-{self.variant}-restore", "-w", "5", "--noflush", "--counters"]

    def rules(self, node):
        cluster = self.objects.rules_input(node)
        return kube_proxy_rules.Iptables(cluster, self.objects.family == 6).text()

    def change_rules(self, names, before):
        cluster = self.objects.rules_input("node-a")
        return kube_proxy_rules.Iptables(cluster, self.objects.family == 6).change_text(names)


class Nftables(Peer):
    name = "nftables"
    ways = ("nftables",)

    def program(self):
        return ["nft", "-f", "-"]

    def rules(self, node):
        cluster = self.objects.rules_input(node)
        return kube_proxy_rules.Nftables(cluster, self.objects.family == 6).text()

    def change_rules(self, names, before):
        cluster = self.objects.rules_input("node-a")
        rules = kube_proxy_rules.Nftables(cluster, self.objects.family == 6)
        return rules.change_text(names, before)


SIDES = (Side, Sluice, SluiceXdp, Iptables, Nftables)
