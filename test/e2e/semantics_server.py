#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What answers the flows of the table on one machine: "<name> <client address>", to each TCP
connection and each datagram.

usage: semantics_server.py TABLE NAME; prints "ready" when it can be asked
"""

import json
import selectors
import socket
import sys

# Addresses may come later; Python has no names for these.
IP_FREEBIND, IPV6_FREEBIND = 15, 78


def open_socket(kind, address, port):
    v6 = ":" in address
    server = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind)
    if v6:
        server.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind((address, port))
    if kind == socket.SOCK_STREAM:
        server.listen(4096)
    return server


def answer(server, name):
    if server.type == socket.SOCK_DGRAM:
        _, client = server.recvfrom(2048)
        server.sendto(f"{name} {client[0]}\n".encode(), client)
        return
    connection, client = server.accept()
    with connection:
        connection.sendall(f"{name} {client[0]}\n".encode())


def main():
    path, name = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    selector = selectors.DefaultSelector()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for address in table["servers"][name]:
            for port in table["ports"]:
                selector.register(open_socket(kind, address, port), selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                answer(key.fileobj, name)
            except OSError:
                pass  # a client that has gone


main()
