# SPDX-License-Identifier: Apache-2.0
"""The objects that every side of run.sh is given: Services with ten endpoints each, as manifests
and as kube_proxy_rules.py reads them.

One of them, web, has endpoints that answer: ten addresses of one pod. Of the others, which nobody
asks, every tenth is a NodePort (more than that and the range of NodePorts would not do).
"""

import json
import os

ENDPOINTS = 10
# Of each second of changes, each of another Service.
CHANGED = 1000
PORT = 8080  # of the backends, TCP and UDP
NODE_PORT = 30080
FIRST_OTHER_NODE_PORT = 30100
# The node of a pod, its addresses in cluster.sh, and those that are web's endpoints.
PODS = {"a2": ("node-a", 1), "b1": ("node-b", 2)}
LETTERS = {"a2": "a", "b1": "b"}  # what each answers to who it is


class Objects:
    """N Services of one family. Thread: any, but one at a time."""

    def __init__(self, services, family=4):
        self.services = services
        self.family = family
        self.web_pod = "a2"
        self.versions = {}  # of others that have changed: name -> how often
        self.pod_range = "10.244.0.0/16" if family == 4 else "fd00:10:244::/48"
        self.web_address = "10.96.0.10" if family == 4 else "fd00:10:96::10"
        self.node_address = "198.51.100.11" if family == 4 else "2001:db8:a::11"
        self.node_b_address = "198.51.100.12" if family == 4 else "2001:db8:a::12"

    def pod_address(self, pod, number):
        """Of the addresses that a pod has for this: those of web's endpoints."""
        part = PODS[pod][1]
        if self.family == 4:
            return f"10.244.{part}.{100 + number}"
        return f"fd00:10:244:{part}::{0x100 + number:x}"

    def other_address(self, index):
        if self.family == 4:
            return f"10.96.{1 + index // 250}.{1 + index % 250}"
        return f"fd00:10:96::1:{index:x}"

    def end_address(self, number):
        """Of an endpoint that nobody asks; all are different."""
        if self.family == 4:
            return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        return f"fd00:80::{number >> 16:x}:{number & 65535:x}"

    def others(self):
        return [f"other-{index}" for index in range(self.services - 1)]

    def changing(self):
        """Those whose endpoints change, one after the other."""
        return self.others()[:CHANGED]

    def change(self, names):
        for name in names:
            self.versions[name] = self.versions.get(name, 0) + 1

    def endpoints(self, name):
        """[address, node] of each."""
        if name == "web":
            node = PODS[self.web_pod][0]
            return [[self.pod_address(self.web_pod, i), node] for i in range(ENDPOINTS)]
        first = int(name.split("-")[1]) * ENDPOINTS
        numbers = [first + i for i in range(ENDPOINTS)]
        # With each change the first endpoint has another address, which no other ever had.
        version = self.versions.get(name, 0)
        if version:
            numbers[0] += version * self.services * ENDPOINTS
        return [[self.end_address(number), f"worker-{number % 100}"] for number in numbers]

    # As Kubernetes has them.

    def ports(self, name):
        if name == "web":
            return [{"name": protocol.lower(), "protocol": protocol, "port": PORT,
                     "nodePort": NODE_PORT} for protocol in ("TCP", "UDP")]
        index = int(name.split("-")[1])
        port = {"name": "tcp", "protocol": "TCP", "port": 80}
        if index % 10 == 0:
            port["nodePort"] = FIRST_OTHER_NODE_PORT + index // 10
        return [port]

    def address(self, name):
        return self.web_address if name == "web" else self.other_address(int(name.split("-")[1]))

    def service(self, name):
        ports = self.ports(name)
        return {"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": "bench"},
                "spec": {"type": "NodePort" if "nodePort" in ports[0] else "ClusterIP",
                         "ipFamilies": [f"IPv{self.family}"], "clusterIP": self.address(name),
                         "clusterIPs": [self.address(name)], "ports": ports}}

    def endpoint_slice(self, name):
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": f"{name}-x7k2p", "namespace": "bench",
                             "labels": {"kubernetes.io/service-name": name}},
                "addressType": f"IPv{self.family}",
                "ports": [{"name": port["name"], "protocol": port["protocol"], "port": PORT}
                          for port in self.ports(name)],
                "endpoints": [{"addresses": [address], "nodeName": node,
                               "conditions": {"ready": True}}
                              for address, node in self.endpoints(name)]}

    def nodes(self):
        return [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                 "status": {"addresses": [{"type": "InternalIP", "address": address}]}}
                for name, address in (("node-a", self.node_address),
                                      ("node-b", self.node_b_address))]

    def all(self):
        """In an order in which an API server takes them."""
        names = ["web", *self.others()]
        return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}},
                *self.nodes(), *map(self.service, names), *map(self.endpoint_slice, names)]

    def write(self, folder):
        """All of them, those that change in files of their own."""
        os.makedirs(folder, exist_ok=True)
        own = {"web", *self.changing()}
        items = self.nodes()
        for name in ["web", *self.others()]:
            items.append(self.service(name))
            if name in own:
                self.write_slice(folder, name)
            else:
                items.append(self.endpoint_slice(name))
        write_whole(folder, "cluster.json", {"apiVersion": "v1", "kind": "List", "items": items})

    def write_slice(self, folder, name):
        write_whole(folder, f"{name}.json", self.endpoint_slice(name))

    # As kube_proxy_rules.py has them.

    def rules_input(self, node):
        services = []
        for name in self.others():
            # kube-proxy's order is by chance; on average, what is asked for is in the middle.
            if len(services) == (self.services - 1) // 2:
                services += self.rules_of("web", node)
            services += self.rules_of(name, node)
        if not services:
            services = self.rules_of("web", node)
        return {"podCidr": self.pod_range,
                "serviceCidr": "10.96.0.0/16" if self.family == 4 else "fd00:10:96::/96",
                "nodeAddress": self.node_address if node == "node-a" else self.node_b_address,
                "services": services}

    def rules_of(self, name, node):
        rules = []
        for port in self.ports(name):
            protocol = port["protocol"].lower()
            rule = {"name": f"bench/{name}:{port['name']}", "protocol": protocol,
                    "ip": self.address(name), "port": port["port"],
                    "endpoints": [[address, PORT, node == at]
                                  for address, at in self.endpoints(name)]}
            if "nodePort" in port:
                rule["nodePort"] = port["nodePort"]
            rules.append(rule)
        return rules

    def rule_names(self, names):
        return {f"bench/{name}:{port['name']}" for name in names for port in self.ports(name)}


def write_whole(folder, name, value):
    """At once, as editors do it."""
    hidden = os.path.join(folder, f".{name}")
    with open(hidden, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(hidden, os.path.join(folder, name))
