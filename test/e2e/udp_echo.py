#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""UDP echo of a pod: answers "<name> <client address>\\n" and then what it was sent.

usage: udp_echo.py NAME PORT; prints "ready" when it can be asked.
"""

import socket
import sys


def main():
    name, port = sys.argv[1], int(sys.argv[2])
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind(("::", port))
    print("ready", flush=True)
    while True:
        payload, client = server.recvfrom(65535)
        address = client[0].removeprefix("::ffff:")
        server.sendto(f"{name} {address}\n".encode() + payload, client)


main()
