#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes TCP connections to a server of cluster.sh, and counts what they carried, as JSON.

usage: connections.py ADDRESS PORT COUNT [flags]
  --concurrency N   so many at a time
  --parallel        all of them at once: every connect() is called before one answer is awaited
  --open HOW        plain; mapped: IPv4 through an IPv6 socket; bound: after bind(); nonblocking;
                    fastopen: with data in the SYN
  --end HOW         client: the client closes first; server: the server does; half: the client ends
                    its own direction first; reset: the client sends an RST after the answer; mixed:
                    each of these in turn
  --up N --down N   bytes of the bodies sent, and of those asked for (there must be such files)
  --expect-peer A   getpeername() must say this address

Prints {connections, failed, errors {what: count}, sent, received}: bytes as the calls said.
Standard library only.
"""

import argparse
import asyncio
import collections
import errno
import json
import resource
import select
import socket
import struct
import threading

ENDS = ["client", "server", "half", "reset"]


def connect(args, address, request):
    """A connected socket, and how much of the request was sent with the SYN."""
    family = socket.AF_INET6 if ":" in address or args.open == "mapped" else socket.AF_INET
    target = ("::ffff:" + address if args.open == "mapped" else address, args.port)
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(args.timeout)
    sent = 0
    try:
        if args.open == "fastopen":
            sent = connection.sendto(request, socket.MSG_FASTOPEN, target)
        elif args.open == "nonblocking":
            connection.setblocking(False)
            result = connection.connect_ex(target)
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, errno.errorcode[result])
            if not select.select([], [connection], [], args.timeout)[1]:
                raise TimeoutError
            result = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if result:
                raise OSError(result, errno.errorcode[result])
            connection.settimeout(args.timeout)
        else:
            if args.open == "bound":
                connection.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            connection.connect(target)
        if args.expect_peer:
            peer = connection.getpeername()
            if peer[:2] != (args.expect_peer, args.port):
                raise OSError(0, f"getpeername: {peer}")
    except OSError:
        connection.close()
        raise
    return connection, sent


def converse(args, number):
    """One connection; returns bytes sent and received."""
    end = ENDS[number % len(ENDS)] if args.end == "mixed" else args.end
    close = "close" if end == "server" else "keep-alive"
    what = f"GET /files/down-{args.down}" if args.down else "GET /"
    if args.up:
        what = f"PUT /files/up-{threading.get_ident()}"
    request = (f"{what} HTTP/1.1\r\nHost: server\r\nConnection: {close}\r\n"
               f"Content-Length: {args.up}\r\n\r\n").encode() + b"x" * args.up
    connection, sent = connect(args, args.address, request)
    with connection:
        connection.sendall(request[sent:])
        if end == "half":
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += receive(connection)
        head, body = answer.split(b"\r\n\r\n", 1)
        if b" 20" not in head.split(b"\r\n")[0]:
            raise OSError(0, head.split(b"\r\n")[0].decode())
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        received, left = len(answer), length - len(body)
        while left > 0:
            got = len(receive(connection))
            received, left = received + got, left - got
        if end in ("server", "half"):
            while connection.recv(65536):
                raise OSError(0, "more than the answer")
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return len(request), received


async def converse_in_parallel(args, total, errors):
    """All are open at the same time; each asks when all have been begun."""
    request = b"GET / HTTP/1.0\r\n\r\n"
    begun = asyncio.Event()

    async def one():
        try:
            connecting = asyncio.create_task(asyncio.open_connection(args.address, args.port))
            await begun.wait()
            reader, writer = await asyncio.wait_for(connecting, args.timeout)
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), args.timeout)
            writer.close()
            if b" 200 " not in answer:
                raise OSError(0, "no answer")
            total.update(connections=1, sent=len(request), received=len(answer))
        except OSError as failure:
            fail(failure, total, errors)

    tasks = [asyncio.create_task(one()) for _ in range(args.count)]
    await asyncio.sleep(0)  # each task has called connect() and waits
    await asyncio.sleep(0)
    begun.set()
    await asyncio.gather(*tasks)


def fail(failure, total, errors):
    name = errno.errorcode.get(failure.errno) if failure.errno else str(failure)
    total.update(failed=1)
    errors.update([name or type(failure).__name__])


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise OSError(0, "cut short")
    return data


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--parallel", action="store_true")
    parser.add_argument("--open", default="plain")
    parser.add_argument("--end", default="mixed")
    parser.add_argument("--up", type=int, default=0)
    parser.add_argument("--down", type=int, default=0)
    parser.add_argument("--expect-peer")
    parser.add_argument("--timeout", type=float, default=10)
    args = parser.parse_args()

    lock = threading.Lock()
    numbers = iter(range(args.count))
    total = collections.Counter()
    errors = collections.Counter()

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                sent, received = converse(args, number)
                with lock:
                    total.update(connections=1, sent=sent, received=received)
            except OSError as failure:
                with lock:
                    fail(failure, total, errors)

    if args.parallel:
        resource.setrlimit(resource.RLIMIT_NOFILE, (args.count + 100,) * 2)
        asyncio.run(converse_in_parallel(args, total, errors))
        args.count = 0
    workers = [threading.Thread(target=work) for _ in range(min(args.concurrency, args.count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({"connections": total["connections"], "failed": total["failed"],
                      "errors": errors, "sent": total["sent"], "received": total["received"]}))


main()
