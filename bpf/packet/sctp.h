/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SCTP (RFC 9260), told in the terms of TCP, so that conntrack has one state machine: INIT is a
 * SYN, INIT ACK the SYN-ACK, both SHUTDOWNs are FINs, ABORT is an RST; an association's tags stand
 * for the numbers that prove a handshake. Included by packet.h.
 */
#pragma once

enum sctp_chunk_type {
	SCTP_INIT = 1,
	SCTP_INIT_ACK = 2,
	SCTP_ABORT = 6,
	SCTP_SHUTDOWN = 7,
	SCTP_SHUTDOWN_ACK = 8,
	SCTP_ERROR = 9,
	SCTP_COOKIE_ACK = 11,
	SCTP_SHUTDOWN_COMPLETE = 14,
};

/* Cause of an ERROR: a cookie that came too late (RFC 9260 3.3.10.3). */
enum { SCTP_CAUSE_STALE_COOKIE = 3 };

/* The tag of an ABORT or SHUTDOWN COMPLETE is the receiver's own, sent back (RFC 9260 8.4). */
enum { SCTP_TAG_REFLECTED = 1 };

struct sctp_header {
	__be16 source;
	__be16 destination;
	__be32 tag;
	__u32 checksum; /* CRC32c, little endian; 0: the device is to compute it */
};

struct sctp_chunk {
	__u8 type;
	__u8 flags;
	__be16 length;
};

/* What every packet begins with. */
struct sctp_start {
	struct sctp_header header;
	struct sctp_chunk chunk;
};

/* Behind it, in ERROR: the first cause. */
struct sctp_cause {
	__be16 code;
	__be16 length;
};

/* Behind it, in INIT and INIT ACK: the tag that the receiver is to send with all packets. */
typedef __be32 sctp_initiate_tag;

/* Beside TCP's flags, in the place of PSH: COOKIE ACK, which only follows a cookie that has been
 * checked. */
enum { SCTP_PROOF = 0x08 };

static __always_inline __u8 sctp_tcp_flags(__u8 chunk_type)
{
	switch (chunk_type) {
	case SCTP_INIT:
		return TCP_SYN;
	case SCTP_INIT_ACK:
		return TCP_SYN | TCP_ACK;
	case SCTP_ABORT:
		return TCP_RST | TCP_ACK;
	case SCTP_SHUTDOWN:
	case SCTP_SHUTDOWN_ACK:
		return TCP_FIN | TCP_ACK;
	case SCTP_COOKIE_ACK:
		return TCP_ACK | SCTP_PROOF;
	default:
		return TCP_ACK;
	}
}

/* CRC32c is a polynomial over two elements, here with its highest power in the lowest bit. */
enum { SCTP_CRC_POLYNOMIAL = 0x82f63b78, SCTP_CRC_BITS = 32 };

/* Return: @a times @b, modulo the polynomial. */
static __noinline __u32 sctp_crc_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < SCTP_CRC_BITS; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = b >> 1 ^ (SCTP_CRC_POLYNOMIAL & -(b & 1));
	}
	return product;
}

/* Shifts by @bytes, if they are in @length: @power is what eight times as many bits come to. */
static __always_inline __u32 sctp_crc_shift(__u32 diff, __u32 length, __u32 bytes, __u32 power)
{
	return length & bytes ? sctp_crc_multiply(power, diff) : diff;
}

/*
 * By what the CRC32c of @length bytes changes if their first four change by @ports (exclusive or).
 * The rest of the message stays as it is and need not be read: each byte behind the ports shifts
 * what they add by eight powers. The constants are those powers for 1, 2, 4, ... bytes.
 */
static __noinline __u32 sctp_crc_diff(__u32 ports, __u32 length)
{
	__u32 diff = ports;

	diff = sctp_crc_shift(diff, length, 1 << 0, 0x00800000);
	diff = sctp_crc_shift(diff, length, 1 << 1, 0x00008000);
	diff = sctp_crc_shift(diff, length, 1 << 2, 0x82f63b78);
	diff = sctp_crc_shift(diff, length, 1 << 3, 0x6ea2d55c);
	diff = sctp_crc_shift(diff, length, 1 << 4, 0x18b8ea18);
	diff = sctp_crc_shift(diff, length, 1 << 5, 0x510ac59a);
	diff = sctp_crc_shift(diff, length, 1 << 6, 0xb82be955);
	diff = sctp_crc_shift(diff, length, 1 << 7, 0xb8fdb1e7);
	diff = sctp_crc_shift(diff, length, 1 << 8, 0x88e56f72);
	diff = sctp_crc_shift(diff, length, 1 << 9, 0x74c360a4);
	diff = sctp_crc_shift(diff, length, 1 << 10, 0xe4172b16);
	diff = sctp_crc_shift(diff, length, 1 << 11, 0x0d65762a);
	diff = sctp_crc_shift(diff, length, 1 << 12, 0x35d73a62);
	diff = sctp_crc_shift(diff, length, 1 << 13, 0x28461564);
	diff = sctp_crc_shift(diff, length, 1 << 14, 0xbf455269);
	diff = sctp_crc_shift(diff, length, 1 << 15, 0xe2ea32dc);
	return diff;
}

/* Return: the CRC32c of @words, as it is written into the header. */
static __always_inline __u32 sctp_crc(const __u32 *words, __u32 count)
{
	__u32 crc = ~0U;

	for (__u32 i = 0; i < count; i++) {
		crc ^= words[i];
		for (int bit = 0; bit < SCTP_CRC_BITS; bit++)
			crc = crc >> 1 ^ (SCTP_CRC_POLYNOMIAL & -(crc & 1));
	}
	return ~crc;
}
