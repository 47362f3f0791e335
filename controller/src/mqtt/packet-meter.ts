/** Fixed header (MQTT 3.1.1 §2.2): type and flags in one byte, remaining length in up to four of seven bits each. */
const LENGTH_BYTES_MAX = 4
const CONNECT = 1

export interface PacketMeter {
	/**
	 * Follows packet borders through a chunk without keeping bytes.
	 * @returns why the connection must be cut; undefined while all is well
	 */
	measure(chunk: Uint8Array): string | undefined
}

/**
 * Reads only lengths, ahead of the parser: a parser keeps a packet until its end, so what a peer may announce
 * (256 MiB by the protocol) has to be bounded before.
 * @param bytesMax largest packet at this moment, header included; smaller before a peer is known than after
 */
export function createPacketMeter(bytesMax: () => number): PacketMeter {
	let state: 'type' | 'length' | 'body' = 'type'
	let isFirst = true
	let remaining = 0
	let lengthBytes = 0

	function byteOfHeader(byte: number): string | undefined {
		if (state === 'type') {
			if (isFirst && byte >> 4 !== CONNECT) return 'not-connect'
			isFirst = false
			remaining = 0
			lengthBytes = 0
			state = 'length'
			return undefined
		}
		remaining += (byte & 0x7f) * 128 ** lengthBytes
		lengthBytes += 1
		if (byte & 0x80) return lengthBytes === LENGTH_BYTES_MAX ? 'malformed' : undefined
		if (remaining + 1 + lengthBytes > bytesMax()) return 'too-large'
		state = remaining === 0 ? 'type' : 'body'
		return undefined
	}

	return {
		measure(chunk) {
			for (let at = 0; at < chunk.length; ) {
				if (state === 'body') {
					const skipped = Math.min(remaining, chunk.length - at)
					at += skipped
					remaining -= skipped
					if (remaining === 0) state = 'type'
					continue
				}
				const why = byteOfHeader(chunk[at] ?? 0)
				if (why !== undefined) return why
				at += 1
			}
			return undefined
		},
	}
}
