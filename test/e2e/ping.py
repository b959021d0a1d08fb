#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ICMP echoes, as ping sends them: `ping.py ADDRESS [COUNT]` prints how many of COUNT (1) were
answered from that address with what was sent, each within a second, e.g. "2/2". Standard library
only.
"""

import errno
import os
import select
import socket
import struct
import sys
import time

SECONDS = 1
REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def answered(wire, family, address, message):
    end = time.monotonic() + SECONDS
    while select.select([wire], [], [], max(0, end - time.monotonic()))[0]:
        packet, sender = wire.recvfrom(4096)
        if family == socket.AF_INET:
            packet = packet[(packet[0] & 15) * 4:]
            if checksum(packet):
                continue
        # The kernel has checked an ICMPv6 checksum.
        if sender[0] == address and packet[:2] == bytes([REPLY[family], 0]) and \
                packet[4:] == message:
            return True
    return False


def main():
    address, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    answers = 0
    with socket.socket(family, socket.SOCK_RAW, protocol) as wire:
        wire.setblocking(False)
        for sequence in range(count):
            message = struct.pack("!HH", os.getpid() & 0xffff, sequence) + os.urandom(56)
            head = struct.pack("!BBH", REQUEST[family], 0, 0)
            head = head[:2] + struct.pack("!H", checksum(head + message))
            try:
                wire.sendto(head + message, (address, 0))
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:  # dropped on its way out
                    raise
            answers += answered(wire, family, address, message)
    print(f"{answers}/{count}")


main()
