#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What socket calls of a node's own process give when they name a service, as JSON.

usage: sockets.py peer ADDRESS PORT [--mapped]
         connect(): the error, or who answers and what getpeername() says
       sockets.py resolver ADDRESS PORT [ADDRESS PORT...]
         one unconnected UDP socket asks all of them in turn, twice: where answers seem to come from
       sockets.py ask ADDRESS PORT
         one unconnected UDP socket asks once for every line of standard input; prints who answers
Standard library only.
"""

import errno
import json
import socket
import sys

TIMEOUT = 5


def peer(address, port, mapped):
    family = socket.AF_INET6 if ":" in address or mapped else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(("::ffff:" + address if mapped else address, port))
        except OSError as failure:
            return {"error": errno.errorcode.get(failure.errno, str(failure))}
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        name, port = connection.getpeername()[:2]
        body = answer.split(b"\r\n\r\n")[1]
        return {"peer": f"{name} {port}", "backend": body.split()[0].decode()}


def resolver(targets):
    family = socket.AF_INET6 if ":" in targets[0][0] else socket.AF_INET
    answers = []
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.settimeout(TIMEOUT)
        for target in targets * 2:
            asker.sendto(b"question", target)
        for _ in targets * 2:
            answer, source = asker.recvfrom(4096)
            answers.append(f"{source[0]} {source[1]} {answer.split()[0].decode()}")
    return {"answers": sorted(answers)}


def ask(target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(TIMEOUT)
        for _ in sys.stdin:
            asker.sendto(b"question", target)
            print(asker.recv(4096).split()[0].decode(), flush=True)


def main():
    mode, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("--")]
    targets = list(zip(words[::2], map(int, words[1::2])))
    if mode == "peer":
        print(json.dumps(peer(*targets[0], "--mapped" in sys.argv)))
    elif mode == "ask":
        ask(targets[0])
    else:
        print(json.dumps(resolver(targets)))


main()
