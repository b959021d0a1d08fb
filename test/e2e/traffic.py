#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traffic of the e2e tests and the demo, and what became of it.

  spread  opens N connections (UDP: sockets) and says which backend answered each
  load    the same without end, until SIGTERM or SIGINT
  probe   one try; prints answer, refused, timeout, reset or unreachable
  hold    one connection; asks once for every line of standard input; with --watch it also says when
          the socket ends
  crowd   opens N connections, which stay; for each line of standard input prints one. Nothing: who
          answers over them now; "more N": who answers over N more; "close": ends them; "vanish":
          forgets them without a word to the other end
  fetch   gets a file over HTTP; prints its size and SHA-256
  put     sends a file over HTTP

Servers are those of cluster.sh: they answer "<backend> <client address>". `spread` and `load` print
one JSON object: asked, failed, errors {what: count}, backends {name: count}, sources {address:
count}, samples [time, from, to, what] of failures. Standard library only.
"""

import argparse
import collections
import errno
import hashlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time

# Upper 0.001 points of the chi-square distribution, by degrees of freedom.
CHI_SQUARE_0001 = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467, 5: 20.515, 6: 22.458, 7: 24.322}

# `spread` gives up after these: each may have cost a whole timeout.
ENOUGH_FAILURES = 20

TCP_REPAIR = 19  # of linux/tcp.h: a socket that is closed then says nothing


def parse_target(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def name_of_failure(failure):
    if isinstance(failure, (TimeoutError, socket.timeout)):
        return "timeout"
    names = {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "reset",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
        errno.EMSGSIZE: "too big",
    }
    number = getattr(failure, "errno", None)
    return names.get(number) or f"{type(failure).__name__}: {failure}"


class Client:
    """One connection, or for UDP one socket, to a target."""

    def __init__(self, args, target):
        self.args = args
        self.target = target
        self.udp = args.protocol == "udp"
        kind = socket.SOCK_DGRAM if self.udp else socket.SOCK_STREAM
        self.socket = socket.socket(family_of(target[0]), kind)
        self.socket.settimeout(args.timeout)
        try:
            if args.source:
                self.socket.bind((args.source, args.source_port))
            self.socket.connect(target)
        except OSError:
            self.socket.close()
            raise
        self.stream = None

    def ask(self, last=True):
        """Returns (backend, the client's address as the backend saw it)."""
        line = self.ask_udp() if self.udp else self.ask_http(last)
        words = line.split()
        if len(words) != 2:
            raise ValueError(f"answer {line!r}")
        return words

    def ask_udp(self):
        payload = os.urandom(self.args.size)
        self.socket.send(payload)
        answer = self.socket.recv(65535)
        line, _, echoed = answer.partition(b"\n")
        if echoed != payload:
            raise ValueError("another payload came back")
        return line.decode()

    def ask_http(self, last):
        if self.stream is None:
            self.stream = self.socket.makefile("rb")
        connection = "close" if last else "keep-alive"
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: service\r\nConnection: {connection}\r\n\r\n".encode())
        status, length = read_head(self.stream)
        if status != 200:
            raise ValueError(f"status {status}")
        body = self.stream.read(length)
        if len(body) != length:
            raise ValueError("cut off")
        return body.decode()

    def close(self):
        if self.stream:
            self.stream.close()
        self.socket.close()


def read_head(stream):
    first = stream.readline().split()
    if len(first) < 2:
        raise ConnectionResetError(errno.ECONNRESET, "closed before the answer")
    length = 0
    while (line := stream.readline().strip()):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(first[1]), length


class Tally:
    """Counts outcomes from several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked = 0
        self.errors = collections.Counter()
        self.backends = collections.Counter()
        self.sources = collections.Counter()
        self.samples = []

    def try_once(self, args, targets):
        local = None
        try:
            with self.lock:
                self.asked += 1
                target = targets[self.asked % len(targets)]
            client = Client(args, target)
            local = client.socket.getsockname()[:2]
            try:
                for left in reversed(range(args.requests)):
                    backend, source = client.ask(last=left == 0)
            finally:
                client.close()
        except (OSError, ValueError) as failure:
            with self.lock:
                self.errors[name_of_failure(failure)] += 1
                if len(self.samples) < 5:
                    self.samples.append([time.strftime("%H:%M:%S"), local, target,
                                         name_of_failure(failure)])
            return
        with self.lock:
            self.backends[backend] += 1
            self.sources[source] += 1

    def result(self):
        return {"asked": self.asked, "failed": sum(self.errors.values()),
                "errors": dict(self.errors), "backends": dict(sorted(self.backends.items())),
                "sources": dict(sorted(self.sources.items())), "samples": self.samples}


def chi_square(counts):
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def run_workers(count, body):
    workers = [threading.Thread(target=body, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def spread(args):
    tally = Tally()
    turns = iter(range(args.count))
    turn_lock = threading.Lock()

    def work():
        while True:
            with turn_lock:
                if next(turns, None) is None or sum(tally.errors.values()) >= ENOUGH_FAILURES:
                    return
            tally.try_once(args, args.target)

    run_workers(args.concurrency, work)
    result = tally.result()
    problems = []
    if args.expect_backends:
        names = args.expect_backends.split(",")
        counts = [result["backends"].get(name, 0) for name in names]
        if result["failed"]:
            problems.append(f"{result['failed']} failed: {result['errors']}")
        if set(result["backends"]) - set(names):
            problems.append(f"answers of others than {args.expect_backends}")
        if len(names) > 1 and sum(counts):
            value = chi_square(counts)
            result["chiSquare"] = round(value, 3)
            result["chiSquareLimit"] = CHI_SQUARE_0001[len(names) - 1]
            if value > result["chiSquareLimit"]:
                problems.append("uneven")
    print(json.dumps(result))
    if problems:
        print("; ".join(problems), file=sys.stderr)
    return 1 if problems else 0


def load(args):
    tally = Tally()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def work():
        while not stopped.is_set():
            tally.try_once(args, args.target)
            stopped.wait(args.pause)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(args.concurrency)]
    for worker in workers:
        worker.start()
    print("running", file=sys.stderr, flush=True)
    while not stopped.wait(0.2):
        if args.progress:
            with open(args.progress + ".new", "w", encoding="utf-8") as file:
                json.dump(tally.result(), file)
            os.replace(args.progress + ".new", args.progress)
    for worker in workers:
        worker.join()
    print(json.dumps(tally.result()))
    return 0


def probe(args):
    try:
        client = Client(args, args.target[0])
        print("answer", *client.ask())
        client.close()
    except (OSError, ValueError) as failure:
        print(name_of_failure(failure))
    return 0


def watch(client):
    """Says when the socket ends, though nothing is sent."""
    poll = select.poll()
    poll.register(client.socket, 0)  # errors and hang-ups are told all the same
    poll.poll()
    failure = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print("ended:", errno.errorcode.get(failure, failure), flush=True)


def hold(args):
    client = Client(args, args.target[0])
    print("open", flush=True)
    if args.watch:
        threading.Thread(target=watch, args=[client], daemon=True).start()
    for _ in sys.stdin:
        try:
            print("answer", *client.ask(last=False), flush=True)
        except (OSError, ValueError) as failure:
            print(name_of_failure(failure), flush=True)
    return 0


class Crowd:
    """Connections that stay; answers are counted by backend, or by what failed."""

    def __init__(self, args):
        self.args = args
        self.clients = []

    def more(self, count):
        opened = []
        for number in range(count):
            opened.append(Client(self.args, self.args.target[number % len(self.args.target)]))
            self.ask(opened[-1:])
        self.clients += opened
        return self.ask(opened)

    def ask(self, clients, word=0):
        """Counts a word of the answers, or what failed."""
        counts = collections.Counter()
        for client in clients:
            try:
                counts[client.ask(last=False)[word]] += 1
            except (OSError, ValueError) as failure:
                counts[name_of_failure(failure)] += 1
        return json.dumps(dict(sorted(counts.items())))

    def end(self, silently):
        for client in self.clients:
            if silently and not client.udp:
                client.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            client.close()
        self.clients = []
        return "ended"


def crowd(args):
    here = Crowd(args)
    here.more(args.count)
    print("open", flush=True)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "more":
            print(here.more(int(number)), flush=True)
        elif word == "sources":
            print(here.ask(here.clients, word=1), flush=True)
        elif word:
            print(here.end(word == "vanish"), flush=True)
        else:
            print(here.ask(here.clients), flush=True)
    return 0


def fetch(args):
    with socket.create_connection(args.target[0], args.timeout) as connection:
        connection.sendall(f"GET {args.path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
                           .encode())
        stream = connection.makefile("rb")
        status, length = read_head(stream)
        digest, size = hashlib.sha256(), 0
        while (block := stream.read1(1 << 16)):
            digest.update(block)
            size += len(block)
    print(json.dumps({"status": status, "length": length, "size": size,
                      "sha256": digest.hexdigest()}))
    return 0 if status == 200 and size == length else 1


def put(args):
    size = os.path.getsize(args.file)
    with socket.create_connection(args.target[0], args.timeout) as connection, \
            open(args.file, "rb") as file:
        connection.sendall(f"PUT {args.path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n"
                           f"Content-Length: {size}\r\n\r\n".encode())
        while (block := file.read(1 << 16)):
            connection.sendall(block)
        status, _ = read_head(connection.makefile("rb"))
    print(json.dumps({"status": status}))
    return 0 if status in (201, 204) else 1


MODES = {"spread": spread, "load": load, "probe": probe, "hold": hold, "crowd": crowd,
         "fetch": fetch, "put": put}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("target", nargs="+", type=parse_target, help="ADDRESS:PORT, [ADDRESS]:PORT")
    parser.add_argument("--protocol", choices=["tcp", "udp"], default="tcp")
    parser.add_argument("--timeout", type=float, default=10, help="seconds for each step")
    parser.add_argument("--source", help="address to send from")
    parser.add_argument("--source-port", type=int, default=0)
    parser.add_argument("--size", type=int, default=32, help="octets of a UDP payload")
    parser.add_argument("--requests", type=int, default=1, help="on each connection")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.002,
                        help="seconds between two connections of one worker (load)")
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--progress", help="file that `load` writes its counts to while it runs")
    parser.add_argument("--expect-backends", help="exactly these answer, evenly, and none fails")
    parser.add_argument("--path", default="/", help="of fetch and put")
    parser.add_argument("--file", help="of put")
    args = parser.parse_args()
    start = time.monotonic()
    code = MODES[args.mode](args)
    if os.environ.get("TRAFFIC_TIMES"):
        print(f"{args.mode}: {time.monotonic() - start:.2f} s", file=sys.stderr)
    return code


sys.exit(main())
