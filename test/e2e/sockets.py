#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What socket calls of a node's own process give when they name a service, as JSON.

usage: sockets.py peer ADDRESS PORT [--mapped]
         connect(): the error, or who answers and what getpeername() says
       sockets.py resolver ADDRESS PORT [ADDRESS PORT...]
         one unconnected UDP socket asks all of them in turn, twice: where answers seem to come from
       sockets.py raw SOURCE ADDRESS PORT
         a SYN that no socket of the kernel's sends: who answers, and with what flags
       sockets.py held ADDRESS PORT
         connects, says "open", and sleeps in send() for good: its memory never comes
       sockets.py ask ADDRESS PORT
         one unconnected UDP socket asks once for every line of standard input; prints who answers
Standard library only.
"""

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
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


def raw(source, address, port):
    """A TCP of its own over IPv4, as a sandboxed pod has it."""
    own_port, sequence = 999, 1000

    def segment(flags):
        pseudo = (socket.inet_aton(source) + socket.inet_aton(address) +
                  struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20))
        head = struct.pack("!HHIIBBHHH", own_port, port, sequence, 0, 5 << 4, flags, 1000, 0, 0)
        total = sum(struct.unpack("!16H", pseudo + head))
        total = (total & 0xffff) + (total >> 16)
        return head[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + head[18:]

    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as wire:
        wire.settimeout(TIMEOUT)
        wire.sendto(segment(0x02), (address, 0))
        while True:
            packet, sender = wire.recvfrom(4096)
            answer = packet[(packet[0] & 15) * 4:]
            from_port, to_port, _, acknowledged = struct.unpack("!HHII", answer[:12])
            if to_port == own_port and acknowledged == sequence + 1:
                return {"from": f"{sender[0]} {from_port}", "flags": answer[13]}


def held(target):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    faults = libc.syscall({"x86_64": 323, "aarch64": 282}[os.uname().machine], os.O_CLOEXEC)
    memory = libc.mmap(None, 1 << 16, 3, 0x22, -1, 0)
    # UFFDIO_API and UFFDIO_REGISTER of linux/userfaultfd.h
    fcntl.ioctl(faults, 0xc018aa3f, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
    fcntl.ioctl(faults, 0xc020aa00, bytearray(struct.pack("QQQQ", memory, 1 << 16, 1, 0)))
    with socket.create_connection(target, TIMEOUT) as connection:
        print("open", flush=True)
        libc.send(connection.fileno(), memory, 1, 0)


def ask(target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(TIMEOUT)
        for _ in sys.stdin:
            asker.sendto(b"question", target)
            print(asker.recv(4096).split()[0].decode(), flush=True)


def main():
    mode, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("--")]
    targets = [] if mode == "raw" else list(zip(words[::2], map(int, words[1::2])))
    if mode == "raw":
        print(json.dumps(raw(words[0], words[1], int(words[2]))))
    elif mode == "peer":
        print(json.dumps(peer(*targets[0], "--mapped" in sys.argv)))
    elif mode == "held":
        held(targets[0])
    elif mode == "ask":
        ask(targets[0])
    else:
        print(json.dumps(resolver(targets)))


main()
