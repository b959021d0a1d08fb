#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of test/data/semantics, read, checked and multiplied out; test/DESIGN.md says what is
in it.

usage: table.py OUT.json     for those who run the flows: one entry for each

Addresses are those of the cluster that test/e2e/cluster.sh builds, and come from there.
"""

import functools
import ipaddress
import itertools
import json
import os
import subprocess
import sys

import expectation
import yaml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
FOLDER = os.path.join(ROOT, "test", "data", "semantics")
NAMESPACE = "semantics"
API_VERSIONS = {"Service": "v1", "Node": "v1", "EndpointSlice": "discovery.k8s.io/v1"}
FAMILIES = {4: "IPv4", 6: "IPv6"}
# What a flow comes from: the machine, which of its addresses, and what rules.yaml counts it as.
CLIENTS = {"pod": ("a2", 0, "pod"), "a1": ("a1", 0, "pod"), "node": ("node-a", 0, "node"),
           "outside": ("client", 0, "outside"), "stranger": ("client", 1, "outside")}
# `answered`: by the node, in the name of a service; of ICMP echoes alone.
VERDICTS = ("forward", "drop", "reject", "none", "answered")
CASE_KEYS = {"name", "rules", "objects", "flows"}
FLOW_KEYS = {"from", "to", "port", "protocol", "verdict", "reason", "endpoints", "source",
             "affinity", "every"}
DEFAULT_PORTS = [{"name": "tcp", "protocol": "TCP", "port": 8080},
                 {"name": "udp", "protocol": "UDP", "port": 8080}]
DEFAULT_TARGET = 8080


class TableError(Exception):
    """Says where in the table, and what."""


def family_of(address):
    return ipaddress.ip_address(address).version


def as_list(value):
    return value if isinstance(value, list) else [value]


class Cluster:
    """Who has which addresses: those of cluster.sh, and those that cluster.yaml adds."""

    def __init__(self, content):
        self.agent = content["agent"]
        self.routes = content["routes"]
        self.objects = content["objects"]
        self.added = content["addresses"]
        self.addresses = {role: list(given) for role, given in read_cluster_sh().items()}
        for role, more in self.added.items():
            self.addresses.setdefault(role, []).extend(more)

    def of(self, role, family, index=0):
        """A machine's address; the index counts those of the family."""
        found = [one for one in self.addresses.get(role, []) if family_of(one) == family]
        if index >= len(found):
            raise TableError(f"{role} has no IPv{family} address number {index}")
        return found[index]

    def is_here(self, role):
        """Is it on the agent's node?"""
        return role in ("a1", "a2", "node-a")


@functools.cache
def read_cluster_sh():
    script = """source test/e2e/cluster.sh
for role in "${!CLUSTER_V4[@]}"; do echo "$role ${CLUSTER_V4[$role]} ${CLUSTER_V6[$role]}"; done"""
    lines = subprocess.run(["bash", "-c", script], cwd=ROOT, check=True, text=True,
                           env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE).stdout
    return {role: (v4, v6) for role, v4, v6 in map(str.split, lines.splitlines())}


class Table:
    """Every file of a folder as the one on disk has it, checked; see expand() for the rest."""

    def __init__(self, folder=FOLDER):
        self.files = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".yaml"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    self.files[name.removesuffix(".yaml")] = yaml.safe_load(file)
        self.cluster = Cluster(self.files.pop("cluster"))
        self.rules = self.files.pop("rules")
        self.cases = [(name, case) for name, content in self.files.items()
                      for case in content["cases"]]

    def setups(self):
        """What is loaded into one agent: the files without flags together, each other by itself."""
        setups = {"usual": {"flags": [], "files": []}}
        for name, content in self.files.items():
            extra = content.keys() - {"cases", "agent"}
            if extra:
                raise TableError(f"{name}: unknown {sorted(extra)}")
            if "agent" in content:
                setups[name] = {"flags": content["agent"], "files": [name]}
            else:
                setups["usual"]["files"].append(name)
        return setups

    def expand(self):
        """The table for those who run it, as plain JSON."""
        setups, ports, addresses = [], {DEFAULT_TARGET}, {}
        names = [case["name"] for _, case in self.cases]
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"two cases are named {name}")
        for name, setup in self.setups().items():
            objects = list(self.cluster.objects)
            flows = []
            for file, case in self.cases:
                if file not in setup["files"]:
                    continue
                unknown = case.keys() - CASE_KEYS
                if unknown:
                    raise TableError(f"{file}: {case['name']}: unknown {sorted(unknown)}")
                objects += case.get("objects", [])
                flows += [dict(flow, case=case["name"], file=file)
                          for flow in self.flows_of(file, case)]
            for flow in flows:
                for endpoint in flow["endpoints"]:
                    if endpoint["name"] in self.cluster.addresses:
                        ports.add(endpoint["port"])
                        known = addresses.setdefault(endpoint["name"], [])
                        known += [endpoint["address"]] if endpoint["address"] not in known else []
            setups.append({
                "name": name, "flags": self.cluster.agent + setup["flags"], "flows": flows,
                "manifests": "---\n".join(yaml.safe_dump(one, sort_keys=False)
                                          for one in self.fill_in_all(objects))})
        return {"setups": setups, "machines": self.cluster.addresses, "added": self.cluster.added,
                "routes": self.cluster.routes, "ports": sorted(ports - {0}), "servers": addresses,
                "flow_count": {runner: sum(expectation.runs_in(runner, flow)
                                           for setup in setups for flow in setup["flows"])
                               for runner in expectation.LEFT_OUT}}

    def flows_of(self, file, case):
        """One entry for every client, destination, port and protocol that the lists say."""
        for flow in case["flows"]:
            try:
                unknown = flow.keys() - FLOW_KEYS
                if unknown:
                    raise TableError(f"unknown {sorted(unknown)}")
                yield from self.multiply(flow)
            except (KeyError, TableError, ValueError) as error:
                raise TableError(f"{file}: {case['name']}: {error}") from error

    def multiply(self, flow):
        targets = []
        for target in as_list(flow["to"]):
            named = self.cluster.addresses.get(target)
            targets += named[:2] if named else [str(ipaddress.ip_address(target))]
        for client, target, port, protocol in itertools.product(
                as_list(flow["from"]), targets, as_list(flow.get("port", 0)),
                as_list(flow.get("protocol", ["TCP", "UDP"]))):
            role, index, counts_as = CLIENTS[client]
            family = family_of(target)
            verdict = flow.get("verdict", "forward")
            if verdict not in VERDICTS:
                raise TableError(f"verdict {verdict}")
            if (protocol == "ICMP") != (port == 0):
                raise TableError(f"{protocol}: an ICMP echo, and nothing else, has no port")
            if verdict == ("forward" if protocol == "ICMP" else "answered"):
                raise TableError(f"{verdict}: ICMP echoes, and nothing else, are answered")
            if (verdict in ("drop", "reject")) != ("reason" in flow):
                raise TableError(f"{verdict}: a drop or reject, and nothing else, has a reason")
            if (verdict in ("forward", "none")) != bool(flow.get("endpoints")):
                raise TableError(f"{verdict}: what is answered, and nothing else, has endpoints")
            yield {"client": client, "role": role, "from": counts_as, "family": family,
                   "protocol": protocol, "source": self.cluster.of(role, family, index),
                   "destination": target, "port": port, "verdict": verdict,
                   "reason": flow.get("reason", ""), "affinity": flow.get("affinity", 0),
                   "every": flow.get("every", True),
                   "endpoints": [self.endpoint(one, flow, role, index, counts_as, target, port)
                                 for one in flow.get("endpoints", [])]}

    def endpoint(self, text, flow, role, index, counts_as, target, port):
        """Who answers, where, and the address that it sees. Unless the flow says otherwise that is
        the client's own, but the node's for an outside client of an endpoint that is elsewhere."""
        name, _, target_port = text.partition(":")
        family = family_of(target)
        client = self.cluster.of(role, family, index)
        node = self.cluster.of("node-a", family)
        if flow.get("verdict") == "none":
            # By which of its addresses a machine speaks to itself is up to the kernel: not asked.
            return {"name": name, "address": target, "port": port,
                    "sees": "" if role == name else client}
        usual = "node" if counts_as == "outside" and not self.cluster.is_here(name) else "client"
        seen = {"client": client, "node": node}[flow.get("source", usual)]
        return {"name": name, "address": self.cluster.of(name, family),
                "port": int(target_port or DEFAULT_TARGET), "sees": seen}

    def fill_in_all(self, objects):
        for one in objects:
            if one["kind"] == "EndpointSlices":
                yield from (self.fill_in(self.slice_of(one, family)) for family in FAMILIES)
            else:
                yield self.fill_in(one)

    def fill_in(self, one):
        metadata = dict(one["metadata"])
        if one["kind"] != "Node":
            metadata.setdefault("namespace", NAMESPACE)
        return dict({"apiVersion": API_VERSIONS[one["kind"]]}, **dict(one, metadata=metadata))

    def slice_of(self, slices, family):
        """One family of `kind: EndpointSlices`."""
        unknown = slices.keys() - {"kind", "service", "name", "ports", "endpoints"}
        if unknown:
            raise TableError(f"EndpointSlices: unknown {sorted(unknown)}")
        endpoints = []
        for endpoint in slices["endpoints"]:
            fields = {"pod": endpoint} if isinstance(endpoint, str) else dict(endpoint)
            pod = fields.pop("pod")
            node = fields.pop("nodeName", "node-a" if self.cluster.is_here(pod) else "node-b")
            endpoints.append(dict({"addresses": [self.cluster.of(pod, family)]},
                                  **({"nodeName": node} if node else {}),
                                  **dict({"conditions": {"ready": True}}, **fields)))
        service = slices["service"]
        return {"kind": "EndpointSlice",
                "metadata": {"name": f"{slices.get('name', service)}-ipv{family}",
                             "labels": {"kubernetes.io/service-name": service}},
                "addressType": FAMILIES[family], "ports": slices.get("ports", DEFAULT_PORTS),
                "endpoints": endpoints}


def main():
    try:
        expanded = Table().expand()
    except TableError as error:
        sys.exit(f"test/data/semantics: {error}")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(expanded, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
