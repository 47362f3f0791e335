/**
 * IPv4 header (RFC 791 §3.1), offsets in bytes:
 *
 *      0                         2                  4                   6                       8
 *     | version, IHL, TOS       | total length (2) | identification (2) | flags, offset (2)     | TTL, protocol, checksum (4)
 *      12                        16                 20
 *     | source (4)              | destination (4)  | options up to 4 × IHL
 */

const HEADER_BYTES_MIN = 20

/**
 * Whether a whole header is there, options included, and its length fields agree. A total length of 0 stands for
 * a segment of more than 64 KiB that offload cuts later (`linux/ip.h` `iph_totlen`). First thing to ask.
 */
export function isValid(view: DataView, at: number, end: number): boolean {
	if (end - at < HEADER_BYTES_MIN || view.getUint8(at) >>> 4 !== 4) return false
	const header = headerBytes(view, at)
	if (header < HEADER_BYTES_MIN || header > end - at) return false
	const total = totalBytes(view, at)
	return total === 0 || total >= header
}

export function headerBytes(view: DataView, at: number): number {
	return (view.getUint8(at) & 15) << 2
}

/** Header and payload, without what the link padded. */
export function totalBytes(view: DataView, at: number): number {
	return view.getUint16(at + 2)
}

/** Place of a fragment in its datagram, in units of 8 bytes. */
export function fragmentOffset(view: DataView, at: number): number {
	return view.getUint16(at + 6) & 0x1fff
}

export function hasMoreFragments(view: DataView, at: number): boolean {
	return (view.getUint8(at + 6) & 0x20) !== 0
}

export function protocol(view: DataView, at: number): number {
	return view.getUint8(at + 9)
}

/** Source address as a signed word. */
export function source(view: DataView, at: number): number {
	return view.getInt32(at + 12)
}

/** Destination address as a signed word. */
export function destination(view: DataView, at: number): number {
	return view.getInt32(at + 16)
}
