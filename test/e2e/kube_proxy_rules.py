#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the rules that kube-proxy 1.36 writes for some services, chain for chain.

  kube_proxy_rules.py iptables 4   for iptables-restore --noflush (6: for ip6tables-restore)
  kube_proxy_rules.py nftables 4   for nft -f -
  kube_proxy_rules.py ipvs 4       for iptables-restore: the part of ipvs mode that iptables has

change_text() of the first two, for who imports this: what it writes when endpoints have changed.

Standard input: one JSON object {podCidr, serviceCidr, nodeAddress, services: [{name, protocol, ip,
port, nodePort, balancerIP, sourceRanges, endpoints: [[address, port, isLocal]...]}]}; nodePort,
balancerIP and sourceRanges may be missing. A service with a balancerIP has the external traffic
policy Local. Chain names are made from the same hashes as kube-proxy's. Left out is what a kernel
without nfacct does without too: two rules that count for a metric.
"""

import base64
import hashlib
import json
import sys


def hashed(text, length):
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:length]


# kube-proxy's largeClusterEndpointsThreshold: with more, rules of endpoints have no comments.
LARGE = 1000


def bracketed(address):
    return f"[{address}]" if ":" in address else address


class Iptables:
    """The two tables of iptables mode, and the canary in mangle."""

    # Written anew with every change; of all others, only those of the services that changed.
    SHARED = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL")

    def __init__(self, cluster, six):
        self.cluster = cluster
        self.six = six
        # Chains in their order.
        self.chains = {"nat": {}, "filter": {}, "mangle": {"KUBE-PROXY-CANARY": None}}
        self.rules = {"nat": [], "filter": [], "mangle": []}
        self.large = sum(len(one["endpoints"]) for one in cluster["services"]) > LARGE
        self.shared_only = False

    def chain(self, table, name):
        self.chains[table].setdefault(name)
        return name

    def add(self, table, chain, rule):
        if not self.shared_only or chain in self.SHARED:
            self.rules[table].append(f"-A {self.chain(table, chain)} {rule}")

    def endpoint_comment(self, text):
        return "" if self.large else f"-m comment --comment {text} "

    def jump(self, table, chain, target, comment, new=False):
        state = "-m conntrack --ctstate NEW " if new else ""
        self.rules[table].append(
            f'-I {chain} {state}-m comment --comment "{comment}" -j {self.chain(table, target)}')

    def jumps(self):
        portals, external = "kubernetes service portals", "kubernetes externally-visible service " \
            "portals"
        for chain in ("INPUT", "FORWARD"):
            self.jump("filter", chain, "KUBE-EXTERNAL-SERVICES", external, new=True)
        self.jump("filter", "INPUT", "KUBE-NODEPORTS", "kubernetes health check service ports")
        for chain in ("FORWARD", "OUTPUT"):
            self.jump("filter", chain, "KUBE-SERVICES", portals, new=True)
        self.jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules")
        for chain in ("INPUT", "OUTPUT", "FORWARD"):
            self.jump("filter", chain, "KUBE-PROXY-FIREWALL", "kubernetes load balancer firewall",
                      new=True)
        for chain in ("OUTPUT", "PREROUTING"):
            self.jump("nat", chain, "KUBE-SERVICES", portals)
        self.jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules")

    def fixed(self):
        self.chain("nat", "KUBE-PROXY-CANARY")
        self.chain("filter", "KUBE-PROXY-CANARY")
        self.chain("nat", "KUBE-NODEPORTS")
        self.add("nat", "KUBE-MARK-MASQ", "-j MARK --or-mark 0x4000")
        self.add("nat", "KUBE-POSTROUTING", "-m mark ! --mark 0x4000/0x4000 -j RETURN")
        self.add("nat", "KUBE-POSTROUTING", "-j MARK --xor-mark 0x4000")
        self.add("nat", "KUBE-POSTROUTING", '-m comment --comment "kubernetes service traffic '
                 'requiring SNAT" -j MASQUERADE --random-fully')
        self.add("filter", "KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP")
        self.add("filter", "KUBE-FORWARD", '-m comment --comment "kubernetes forwarding rules" '
                 "-m mark --mark 0x4000/0x4000 -j ACCEPT")
        self.add("filter", "KUBE-FORWARD", '-m comment --comment "kubernetes forwarding conntrack '
                 'rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT')

    def service(self, one):
        name, protocol, port = one["name"], one["protocol"], one["port"]
        to = f"-m {protocol} -p {protocol} -d {one['ip']} --dport {port}"
        if not one["endpoints"]:
            self.add("filter", "KUBE-SERVICES",
                     f'-m comment --comment "{name} has no endpoints" {to} -j REJECT')
            return
        key = hashed(name + protocol, 16)
        cluster = f"KUBE-SVC-{key}"
        self.add("nat", "KUBE-SERVICES", f'-m comment --comment "{name} cluster IP" {to} '
                 f"-j {cluster}")
        self.add("nat", cluster, f'-m comment --comment "{name} cluster IP" {to} '
                 f"! -s {self.cluster['podCidr']} -j KUBE-MARK-MASQ")
        self.endpoints(one, cluster, one["endpoints"])
        if "nodePort" in one:
            self.external(one, key)

    def external(self, one, key):
        name, protocol = one["name"], one["protocol"]
        external = f"KUBE-EXT-{key}"
        self.add("nat", "KUBE-NODEPORTS", f"-m comment --comment {name} -m {protocol} "
                 f"-p {protocol} --dport {one['nodePort']} -j {external}")
        if "balancerIP" not in one:
            self.add("nat", external, "-m comment --comment \"masquerade traffic for "
                     f"{name} external destinations\" -j KUBE-MARK-MASQ")
            self.add("nat", external, f"-j KUBE-SVC-{key}")
            return
        local, firewall = f"KUBE-SVL-{key}", f"KUBE-FW-{key}"
        to = f"-m {protocol} -p {protocol} -d {one['balancerIP']} --dport {one['port']}"
        self.add("nat", "KUBE-SERVICES", f'-m comment --comment "{name} loadbalancer IP" {to} '
                 f"-j {firewall}")
        for source in one["sourceRanges"]:
            self.add("nat", firewall, f'-m comment --comment "{name} loadbalancer IP" -s {source} '
                     f"-j {external}")
        self.add("nat", firewall, f'-m comment --comment "other traffic to {name} will be dropped '
                 'by KUBE-PROXY-FIREWALL"')
        self.add("filter", "KUBE-PROXY-FIREWALL", f'-m comment --comment "{name} traffic not '
                 f'accepted by {firewall}" {to} -j DROP')
        self.add("nat", external, '-m comment --comment "pod traffic for '
                 f'{name} external destinations" -s {self.cluster["podCidr"]} -j KUBE-SVC-{key}')
        self.add("nat", external, f'-m comment --comment "masquerade LOCAL traffic for {name} '
                 'external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ')
        self.add("nat", external, f'-m comment --comment "route LOCAL traffic for {name} external '
                 f'destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-{key}')
        self.add("nat", external, f"-j {local}")
        self.endpoints(one, local, [end for end in one["endpoints"] if end[2]])

    def endpoints(self, one, chain, endpoints):
        name, protocol = one["name"], one["protocol"]
        if not self.shared_only:
            self.chain("nat", chain)
        for number, (address, port, _) in enumerate(endpoints):
            end = f"{bracketed(address)}:{port}"
            target = "KUBE-SEP-" + hashed(name + protocol + end, 16)
            left = len(endpoints) - number
            choice = f"-m statistic --mode random --probability {1 / left:.10f} "
            if left == 1:
                choice = ""
            comment = self.endpoint_comment(f'"{name} -> {end}"')
            self.add("nat", chain, f"{comment}{choice}-j {target}")
            if target in self.chains["nat"]:
                continue
            comment = self.endpoint_comment(name)
            self.add("nat", target, f"{comment}-s {address} -j KUBE-MARK-MASQ")
            self.add("nat", target, f"{comment}-m {protocol} -p {protocol} "
                     f"-j DNAT --to-destination {end}")

    def services(self, changed=None):
        for one in self.cluster["services"]:
            self.shared_only = changed is not None and one["name"] not in changed
            self.service(one)
        self.shared_only = False
        self.add("nat", "KUBE-SERVICES", '-m comment --comment "kubernetes service nodeports; '
                 'NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL '
                 "-j KUBE-NODEPORTS")

    def text(self):
        self.fixed()
        self.services()
        self.jumps()
        return self.restore_input()

    def change_text(self, changed):
        """What is written when the services of these names have got the endpoints they have now.
        Chains of endpoints that are gone stay, as they do for an hour in large clusters."""
        self.chains["mangle"].clear()
        self.fixed()
        for chain in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS",
                      "KUBE-PROXY-FIREWALL"):
            self.chain("filter", chain)
        self.services(changed)
        return self.restore_input()

    def restore_input(self):
        lines = []
        for table, chains in self.chains.items():
            if not chains:
                continue
            lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in chains), *self.rules[table],
                      "COMMIT"]
        return "\n".join(lines) + "\n"


class Ipvs(Iptables):
    """What ipvs mode has in iptables; its services are in IPVS and in sets."""

    def text(self):
        six = "6-" if self.six else ""
        self.fixed()
        self.add("nat", "KUBE-SERVICES", '-m comment --comment "Kubernetes service cluster ip + '
                 f'port for masquerade purpose" -m set --match-set KUBE-{six}CLUSTER-IP src,dst '
                 "-j KUBE-MARK-MASQ")
        self.add("nat", "KUBE-LOAD-BALANCER", "-j KUBE-MARK-MASQ")
        self.add("filter", "KUBE-NODE-PORT", '-m comment --comment "Kubernetes health check node '
                 f'port" -m set --match-set KUBE-{six}HEALTH-CHECK-NODE-PORT dst -j ACCEPT')
        self.add("filter", "KUBE-IPVS-FILTER", "-m conntrack --ctstate NEW -m set --match-set "
                 "KUBE-IPVS-IPS dst -j REJECT" if not self.six else "-j RETURN")
        self.jump("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules")
        self.jump("filter", "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter")
        self.jump("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER", "kubernetes ipvs access filter")
        self.jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules")
        for chain in ("OUTPUT", "PREROUTING"):
            self.jump("nat", chain, "KUBE-SERVICES", "kubernetes service portals")
        self.jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules")
        return self.restore_input()


class Nftables:
    """The table of nftables mode."""

    def __init__(self, cluster, six):
        self.cluster = cluster
        self.family, self.address = ("ip6", "ipv6_addr") if six else ("ip", "ipv4_addr")
        self.lines = []

    def add(self, kind, text):
        self.lines.append(f"add {kind} {self.family} kube-proxy {text}")

    def fixed(self):
        lookup = f"type {self.address} . inet_proto . inet_service : verdict"
        self.lines.append(f"add table {self.family} kube-proxy "
                          '{ comment "rules for kube-proxy" ; }')
        self.add("set", f'cluster-ips {{ type {self.address} ; comment "Active ClusterIPs" ; }}')
        self.add("set", f"nodeport-ips {{ type {self.address} ; "
                 'comment "IPs that accept NodePort traffic" ; }')
        self.add("set", f"hairpin-connections {{ type {self.address} . {self.address} . inet_proto "
                 '. inet_service ; comment "service hairpin connections" ; }')
        for name in ("firewall-ips", "no-endpoint-services", "service-ips"):
            self.add("map", f"{name} {{ {lookup} ; }}")
        for name in ("no-endpoint-nodeports", "service-nodeports"):
            self.add("map", f"{name} {{ type inet_proto . inet_service : verdict ; }}")
        for name, kind, hook, priority in (
                ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
                ("filter-output-pre-dnat", "filter", "output", -110),
                ("filter-forward", "filter", "forward", 0),
                ("filter-input", "filter", "input", 0),
                ("filter-output", "filter", "output", 0),
                ("nat-output", "nat", "output", -100),
                ("nat-postrouting", "nat", "postrouting", 100),
                ("nat-prerouting", "nat", "prerouting", -100)):
            self.add("chain", f"{name} {{ type {kind} hook {hook} priority {priority} ; }}")
        for name in ("cluster-ips-check", "firewall-check", "masquerading",
                     "nodeport-endpoints-check", "reject-chain", "services",
                     "service-endpoints-check"):
            self.add("chain", name)
        self.fixed_rules()

    def fixed_rules(self):
        ip = self.family
        for chain, rule in (
                ("cluster-ips-check", f"{ip} daddr @cluster-ips reject comment "
                 '"Reject traffic to invalid ports of ClusterIPs"'),
                ("cluster-ips-check", f"{ip} daddr {{ {self.cluster['serviceCidr']} }} drop "
                 'comment "Drop traffic to unallocated ClusterIPs"'),
                ("filter-prerouting-pre-dnat", "ct state new jump firewall-check"),
                ("filter-forward", "ct state new jump service-endpoints-check"),
                ("filter-forward", "ct state new jump cluster-ips-check"),
                ("filter-input", "ct state new jump nodeport-endpoints-check"),
                ("filter-input", "ct state new jump service-endpoints-check"),
                ("filter-output", "ct state new jump service-endpoints-check"),
                ("filter-output-pre-dnat", "ct state new jump firewall-check"),
                ("filter-output", "ct state new jump cluster-ips-check"),
                ("firewall-check", f"{ip} daddr . meta l4proto . th dport vmap @firewall-ips"),
                ("masquerading", "mark and 0x4000 != 0 mark set mark xor 0x4000 "
                 "masquerade fully-random"),
                ("masquerading", f"ct status dnat {ip} saddr . {ip} daddr . meta l4proto . "
                 "th dport @hairpin-connections masquerade fully-random"),
                ("nat-output", "jump services"),
                ("nat-postrouting", "jump masquerading"),
                ("nat-prerouting", "jump services"),
                ("nodeport-endpoints-check", f"{ip} daddr @nodeport-ips meta l4proto . th dport "
                 "vmap @no-endpoint-nodeports"),
                ("reject-chain", "reject"),
                ("services", f"{ip} daddr @cluster-ips {ip} saddr != {self.cluster['podCidr']} "
                 "mark set mark or 0x4000 "
                 'comment "masquerade clusterIP traffic from outside cluster"'),
                ("services", f"{ip} daddr . meta l4proto . th dport vmap @service-ips"),
                ("services", f"{ip} daddr @nodeport-ips meta l4proto . th dport "
                 "vmap @service-nodeports"),
                ("service-endpoints-check", f"{ip} daddr . meta l4proto . th dport "
                 "vmap @no-endpoint-services")):
            self.add("rule", f"{chain} {rule}")
        self.add("element", f"nodeport-ips {{ {self.cluster['nodeAddress']} }}")

    def service(self, one):
        name, protocol, port = one["name"], one["protocol"], one["port"]
        path = self.path(one)
        self.add("element", f"cluster-ips {{ {one['ip']} }}")
        if not one["endpoints"]:
            self.add("element", f"no-endpoint-services {{ {one['ip']} . {protocol} . {port} "
                     f'comment "{name}" : goto reject-chain }}')
            return
        chain = self.service_chain(one)
        self.add("chain", chain)
        self.endpoints(one, chain)
        self.add("element", f"service-ips {{ {one['ip']} . {protocol} . {port} : goto {chain} }}")
        if "nodePort" in one:
            external = f"external-{hashed(path, 8)}-{path}"
            self.add("chain", external)
            self.add("rule", f"{external} mark set mark or 0x4000")
            self.add("rule", f"{external} goto {chain}")
            self.add("element", f"service-nodeports {{ {protocol} . {one['nodePort']} : "
                     f"goto {external} }}")

    @staticmethod
    def path(one):
        return one["name"].replace(":", f"/{one['protocol']}/")

    def service_chain(self, one):
        path = self.path(one)
        return f"service-{hashed(path, 8)}-{path}"

    def hairpins(self, one):
        return [f"{address} . {address} . {one['protocol']} . {port}"
                for address, port, local in one["endpoints"] if local]

    def endpoints(self, one, chain):
        ends = [f"{number} : {address} . {port}"
                for number, (address, port, _) in enumerate(one["endpoints"])]
        self.add("rule", f"{chain} meta l4proto {one['protocol']} dnat {self.family} addr . port "
                 f"to numgen random mod {len(ends)} map {{ {' , '.join(ends)} }}")
        for key in self.hairpins(one):
            self.add("element", f"hairpin-connections {{ {key} }}")

    def text(self):
        self.fixed()
        for one in self.cluster["services"]:
            self.service(one)
        return "\n".join(self.lines) + "\n"

    def change_text(self, changed, before):
        """What is written when the services of these names have got the endpoints they have now.
        before: the cluster as it was."""
        old = {one["name"]: one for one in before["services"] if one["name"] in changed}
        for one in self.cluster["services"]:
            if one["name"] not in changed:
                continue
            chain = self.service_chain(one)
            self.lines.append(f"flush chain {self.family} kube-proxy {chain}")
            self.endpoints(one, chain)
            for key in set(self.hairpins(old[one["name"]])) - set(self.hairpins(one)):
                self.lines.append(f"delete element {self.family} kube-proxy hairpin-connections "
                                  f"{{ {key} }}")
        return "\n".join(self.lines) + "\n"


def main():
    modes = {"iptables": Iptables, "nftables": Nftables, "ipvs": Ipvs}
    if len(sys.argv) != 3 or sys.argv[1] not in modes or sys.argv[2] not in ("4", "6"):
        sys.exit(__doc__)
    print(modes[sys.argv[1]](json.load(sys.stdin), sys.argv[2] == "6").text(), end="")


if __name__ == "__main__":
    main()
