#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the flows of the table that come from one machine, with real packets.

usage: semantics_client.py TABLE SETUP MACHINE WAY

WAY says how the machine's sockets find their endpoints: `packets`, on the way; or `connect`, where
the agent's programs at its calls choose them: then what is dropped may be an error of the call. A
pod's datagrams are always looked at on the way.
"""

import collections
import concurrent.futures
import errno
import json
import socket
import struct
import sys
import time

import expectation

WORKERS = 4
# What is answered is, within this; only a fault reaches it.
PATIENCE_S = 15
# How long what is dropped is waited for, all of it at once. Long enough for a SYN to be sent again.
SILENCE_S = 3
RESEND_S = 1
ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
# The last: of an echo of the node's own, which is dropped on its way out.
ERRORS_OF_DROPS = {errno.EHOSTUNREACH, errno.EPERM, errno.ENOBUFS}
# No port of a client is used twice, or the second flow with it to one endpoint would get another
# (netfilter would do the same). Outside of the node ports and of what the servers listen on.
FIRST_PORTS = {"packets": range(33000, 65000), "connect": range(10000, 20000)}


def family_of(flow):
    return socket.AF_INET if flow["family"] == 4 else socket.AF_INET6


def open_socket(flow, kind):
    opened = socket.socket(family_of(flow), kind)
    if flow["family"] == 6:  # or the port would be taken of IPv4, too
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # An outside client has several addresses.
    source = flow["source"] if flow["from"] == "outside" else ""
    opened.bind((source, next(flow["ports"])))
    return opened


def ask_tcp(flow, seconds):
    with open_socket(flow, socket.SOCK_STREAM) as asker:
        asker.settimeout(seconds)
        asker.connect((flow["destination"], flow["port"]))
        text = b""
        while block := asker.recv(256):
            text += block
        return text


def ask_udp(flow, seconds):
    """The node's own datagrams are sent without connect(), as resolvers do it: then an answer has
    to come from the address that was asked."""
    target = (flow["destination"], flow["port"])
    with open_socket(flow, socket.SOCK_DGRAM) as asker:
        asker.settimeout(RESEND_S)
        connected = flow["from"] != "node"
        if connected:
            asker.connect(target)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if connected:
                asker.send(b"?")
            else:
                asker.sendto(b"?", target)
            try:
                text, peer = asker.recvfrom(256)
            except TimeoutError:
                continue
            if peer[:2] != target:
                raise ValueError(f"answered by {peer[:2]}")
            return text
        raise TimeoutError


def echo_request(v6, number):
    """Of any length that is even; of IPv6 the kernel makes the checksum."""
    kind = ECHO_REQUEST[6 if v6 else 4]
    words = [kind << 8, 0, number, 1]
    if not v6:
        total = sum(words)
        words[1] = ~((total & 0xffff) + (total >> 16)) & 0xffff
    return struct.pack("!4H", *words)


def ask_icmp(flow, seconds):
    """Every raw socket hears every answer: its own is told by the number."""
    v6 = flow["family"] == 6
    number = next(flow["ports"])
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    with socket.socket(family_of(flow), socket.SOCK_RAW, protocol) as asker:
        if flow["from"] == "outside":
            asker.bind((flow["source"], 0))
        asker.settimeout(RESEND_S)
        deadline = resend = time.monotonic()
        deadline += seconds
        while (now := time.monotonic()) < deadline:
            if now >= resend:
                asker.sendto(echo_request(v6, number), (flow["destination"], 0))
                resend = now + RESEND_S
            try:
                packet, peer = asker.recvfrom(256)
            except TimeoutError:
                continue
            message = packet if v6 else packet[(packet[0] & 15) * 4:]
            kind, _, of = struct.unpack_from("!BxHH", message)
            if kind == ECHO_REPLY[flow["family"]] and of == number:
                if peer[0] != flow["destination"]:
                    raise ValueError(f"answered by {peer[0]}")
                return
        raise TimeoutError


def ask(flow, seconds):
    if flow["protocol"] == "ICMP":
        ask_icmp(flow, seconds)
        # Who answers an echo does not say who it is.
        return tuple(flow["endpoints"][0][key] for key in ("name", "sees")) \
            if flow["endpoints"] else ("the node", "")
    text = (ask_tcp if flow["protocol"] == "TCP" else ask_udp)(flow, seconds)
    words = text.decode().split()
    if len(words) != 2:
        raise ValueError(f"answer {text!r}")
    return tuple(words)


def outcome_of(flow, seconds):
    """What became of one try: an answer, or a word."""
    try:
        return ask(flow, seconds)
    except TimeoutError:
        return "silence"
    except OSError as error:
        return "refused" if error.errno == errno.ECONNREFUSED else errno.errorcode[error.errno]
    except ValueError as error:
        return str(error)


class Client:
    """The flows of one machine, and who answered those that are bound to one endpoint."""

    def __init__(self, way):
        self.way = way
        self.bindings = {}

    def problems_of(self, flow):
        if flow["verdict"] == "drop":
            outcome = outcome_of(flow, SILENCE_S)
            allowed = {"silence"}
            if self.way == "connect":
                allowed |= {errno.errorcode[one] for one in ERRORS_OF_DROPS}
            return [] if outcome in allowed else [f"{outcome} instead of silence"]
        if flow["verdict"] == "answered":
            outcome = outcome_of(flow, PATIENCE_S)
            return [] if outcome == ("the node", "") else [f"{outcome} instead of an answer"]
        if flow["verdict"] == "reject":
            outcomes = {outcome_of(flow, PATIENCE_S) for _ in range(2)}
            return [f"{one} instead of a refusal" for one in outcomes - {"refused"}]
        answers = set()
        for _ in range(expectation.tries(flow)):
            outcome = outcome_of(flow, PATIENCE_S)
            if not isinstance(outcome, tuple):
                return [f"{outcome} instead of an answer"]
            answers.add(outcome)
        if flow["affinity"]:
            key = (flow["case"], flow["source"], flow["protocol"])
            self.bindings.setdefault(key, set()).update(name for name, _ in answers)
        return expectation.problems_of(flow, answers, is_real=True)

    def run(self, flows):
        """What is dropped is waited for by a thread each, as all they do is wait."""
        silent = [flow for flow in flows if flow["verdict"] == "drop"]
        others = [flow for flow in flows if flow["verdict"] != "drop"]
        failures = []
        with concurrent.futures.ThreadPoolExecutor(len(silent) or 1) as waiters, \
                concurrent.futures.ThreadPoolExecutor(WORKERS) as workers:
            outcomes = [(flow, pool.submit(self.problems_of, flow))
                        for pool, these in ((waiters, silent), (workers, others))
                        for flow in these]
            for flow, outcome in outcomes:
                failures += [f"{expectation.name(flow)}: {one}" for one in outcome.result()]
        return failures + [f"{' '.join(key)}: one client, {sorted(names)}"
                           for key, names in self.bindings.items() if len(names) > 1]


def give_ports(setups, ports):
    """To each flow of the whole table those that it needs: flows of other setups may live on."""
    used = collections.Counter()
    for flow in (flow for setup in setups for flow in setup["flows"]):
        key, count = (flow["source"], flow["protocol"]), expectation.tries(flow)
        given = ports[used[key]:used[key] + count]
        if len(given) < count:
            sys.exit(f"{flow['source']} has too few ports")
        flow["ports"] = iter(given)
        used[key] += count


def main():
    path, name, machine, way = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        setups = json.load(file)["setups"]
    # The node has but one way, and something listens among the other's ports.
    give_ports(setups, FIRST_PORTS["packets" if machine == "node-a" else way])
    flows = [flow for setup in setups if setup["name"] == name for flow in setup["flows"]
             if flow["role"] == machine and expectation.runs_in("packets", flow)]
    if way == "connect" and machine != "node-a":
        flows = [flow for flow in flows if flow["protocol"] == "TCP"]
    failures = Client(way).run(flows)
    return expectation.report(f"{machine} by {way}", len(flows), failures)


sys.exit(main())
