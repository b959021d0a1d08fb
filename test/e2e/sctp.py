#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A little SCTP (RFC 9260) of raw sockets, for kernels that have none.

usage: sctp.py serve NAME PORT
         answers INIT, COOKIE ECHO, DATA and SHUTDOWN; to DATA with "NAME <client address>" as DATA.
         Prints "ready", then what is wrong with a packet that it gets.
       sctp.py ask ADDRESS PORT [SOURCE PORT]
         an association from INIT to SHUTDOWN COMPLETE; prints "answer NAME <client address>",
         "aborted" if an ABORT with the right tag comes, "timeout", or what is wrong.

Both look at the CRC32c of each packet, at its ports and its tag. Standard library only.
"""

import os
import select
import socket
import struct
import sys
import time

SCTP = 132
SECONDS = 3
DATA, INIT, INIT_ACK, SACK, ABORT, SHUTDOWN, SHUTDOWN_ACK = 0, 1, 2, 3, 6, 7, 8
COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 10, 11, 14
COOKIE = b"a cookie, of 20 byte"


class Wrong(Exception):
    pass


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def chunk(kind, body=b"", flags=0):
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + padding


def packet(ports, tag, *chunks):
    head, body = struct.pack("!HHI", *ports, tag), b"".join(chunks)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def read(data, family):
    """Returns ports, tag and [(kind, flags, body)] of what a raw socket gives."""
    if family == socket.AF_INET:
        data = data[(data[0] & 15) * 4:]
    source, destination, tag = struct.unpack("!HHI", data[:8])
    if struct.unpack("<I", data[8:12])[0] != crc32c(data[:8] + bytes(4) + data[12:]):
        raise Wrong(f"CRC of a packet from port {source} to {destination}")
    chunks, rest = [], data[12:]
    while rest:
        kind, flags, length = struct.unpack("!BBH", rest[:4])
        if not 4 <= length <= len(rest):
            raise Wrong(f"chunk of {length} bytes")
        chunks.append((kind, flags, rest[4:length]))
        rest = rest[(length + 3) & ~3:]
    return (source, destination), tag, chunks


def initiation(kind, tag, tsn, more=b""):
    return chunk(kind, struct.pack("!IIHHI", tag, 65536, 1, 1, tsn) + more)


def data_chunk(tsn, text):
    return chunk(DATA, struct.pack("!IHHI", tsn, 0, 0, 0) + text, flags=3)


def sack(tsn):
    return chunk(SACK, struct.pack("!IIHH", tsn, 65536, 0, 0))


class Server:
    """Tags and TSNs are those of the last association with the same address and port."""

    def __init__(self, name, family):
        self.name = name
        self.family = family
        self.peers = {}  # (address, port): [own tag, the peer's tag, own TSN]

    def answer(self, sender, ports, tag, chunks):
        place = sender, ports[0]
        kind, _, body = chunks[0]
        back = ports[1], ports[0]
        if kind == INIT:
            if tag:
                raise Wrong("INIT with a tag")
            peer_tag = struct.unpack("!I", body[:4])[0]
            own = [struct.unpack("!I", os.urandom(4))[0] | 1, peer_tag, 1000]
            self.peers[place] = own
            cookie = struct.pack("!HH", 7, 4 + len(COOKIE)) + COOKIE
            return packet(back, peer_tag, initiation(INIT_ACK, own[0], own[2], cookie))
        if place not in self.peers:
            raise Wrong(f"chunk {kind} of no association")
        own_tag, peer_tag, tsn = self.peers[place]
        if tag != own_tag:
            raise Wrong(f"tag of chunk {kind}")
        if kind == COOKIE_ECHO:
            if body != COOKIE:
                raise Wrong("cookie")
            return packet(back, peer_tag, chunk(COOKIE_ACK))
        if kind == DATA:
            self.peers[place][2] += 1
            return packet(back, peer_tag, sack(struct.unpack("!I", body[:4])[0]),
                          data_chunk(tsn, f"{self.name} {sender}".encode()))
        if kind == SHUTDOWN:
            return packet(back, peer_tag, chunk(SHUTDOWN_ACK))
        if kind == SHUTDOWN_COMPLETE:
            del self.peers[place]
        return None


def serve(name, port):
    wires = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        wires[socket.socket(family, socket.SOCK_RAW, SCTP)] = Server(name, family)
    print("ready", flush=True)
    while True:
        for wire in select.select(list(wires), [], [])[0]:
            data, sender = wire.recvfrom(65535)
            server = wires[wire]
            try:
                ports, tag, chunks = read(data, server.family)
                if ports[1] != port:
                    continue  # a raw socket is shown everybody's
                answer = server.answer(sender[0], ports, tag, chunks)
            except (Wrong, struct.error) as failure:
                print("wrong:", failure, flush=True)
                continue
            if answer:
                wire.sendto(answer, (sender[0], 0))


class Client:
    def __init__(self, address, port, own_port):
        self.address = address
        self.ports = own_port, port
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.wire = socket.socket(self.family, socket.SOCK_RAW, SCTP)
        self.tag = struct.unpack("!I", os.urandom(4))[0] | 1
        self.peer_tag = 0

    def send(self, *chunks):
        self.wire.sendto(packet(self.ports, self.peer_tag, *chunks), (self.address, 0))

    def ask(self, *chunks):
        """Sends; returns the chunks of what is answered."""
        self.send(*chunks)
        end = time.monotonic() + SECONDS
        while select.select([self.wire], [], [], max(0, end - time.monotonic()))[0]:
            data, sender = self.wire.recvfrom(65535)
            ports, tag, chunks = read(data, self.family)
            if ports[1] != self.ports[0]:
                continue
            if sender[0] != self.address or ports[0] != self.ports[1]:
                raise Wrong(f"answer from {sender[0]} port {ports[0]}")
            # Also of an ABORT: what answers an INIT has the tag that it brings (RFC 9260 8.4).
            if tag != self.tag:
                raise Wrong(f"tag {tag:08x}, ours is {self.tag:08x}")
            if chunks[0][0] == ABORT:
                raise ConnectionAbortedError
            return {kind: body for kind, _, body in chunks}
        raise TimeoutError

    def expect(self, kind, answer):
        if kind not in answer:
            raise Wrong(f"chunks {sorted(answer)} in place of {kind}")
        return answer[kind]

    def associate(self, texts):
        answer = self.expect(INIT_ACK, self.ask(initiation(INIT, self.tag, 1)))
        self.peer_tag, _, _, _, peer_tsn = struct.unpack("!IIHHI", answer[:16])
        self.expect(COOKIE_ACK, self.ask(chunk(COOKIE_ECHO, answer[20:])))
        said = set()
        for tsn, text in enumerate(texts, 1):
            answer = self.ask(data_chunk(tsn, text))
            if struct.unpack("!I", self.expect(SACK, answer)[:4])[0] != tsn:
                raise Wrong("TSN of a SACK")
            said.add(self.expect(DATA, answer)[12:].decode())
        self.expect(SHUTDOWN_ACK, self.ask(chunk(SHUTDOWN, struct.pack("!I", peer_tsn))))
        self.send(chunk(SHUTDOWN_COMPLETE))
        return " ".join(sorted(said))


def ask(address, port, own_port):
    client = Client(address, port, own_port)
    # Lengths that are and are not multiples of four; the longest fills a packet.
    texts = [b"x" * length for length in (1, 2, 3, 4, 64, 255, 1023, 1400)]
    try:
        print("answer", client.associate(texts))
    except ConnectionAbortedError:
        print("aborted")
    except TimeoutError:
        print("timeout")
    except (Wrong, struct.error) as failure:
        print("wrong:", failure)


def main():
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        own_port = int(sys.argv[4]) if len(sys.argv) > 4 else 20000 + os.getpid() % 10000
        ask(sys.argv[2], int(sys.argv[3]), own_port)


main()
