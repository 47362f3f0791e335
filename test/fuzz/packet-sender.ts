import {
	bind,
	CLOEXEC,
	close,
	interfaceIndex,
	SystemCallError,
	socket,
	write,
} from '../../agent/src/capture/libc.ts'
import { inNetworkNamespace } from '../../agent/src/capture/namespace.ts'
import { pause } from '../harness/wait.ts'

const AF_PACKET = 17
const SOCK_RAW = 3
/** Frames between pauses of a millisecond: the reader must keep up, or the test would measure its losses. */
const FRAMES_A_MS = 100

/** Puts frames on an interface as they are (packet(7)). */
export interface PacketSender {
	/** @returns how many the kernel took: it refuses frames without a whole Ethernet header and above the MTU */
	send(frames: Iterable<Uint8Array>): Promise<number>
	close(): void
}

export function openPacketSender(namespace: string, interfaceName: string): PacketSender {
	const fd = inNetworkNamespace(`/run/netns/${namespace}`, () => {
		const opened = socket(AF_PACKET, SOCK_RAW | CLOEXEC, 0)
		// struct sockaddr_ll: 0 sll_family(u16)  2 sll_protocol(be16)  4 sll_ifindex(int) …
		const address = new DataView(new ArrayBuffer(20))
		address.setUint16(0, AF_PACKET, true)
		address.setInt32(4, interfaceIndex(interfaceName), true)
		bind(opened, new Uint8Array(address.buffer))
		return opened
	})
	return {
		async send(frames) {
			let tried = 0
			let taken = 0
			for (const frame of frames) {
				if (isTaken(fd, frame)) taken++
				if (++tried % FRAMES_A_MS === 0) await pause(1)
			}
			return taken
		},
		close: () => close(fd),
	}
}

function isTaken(fd: number, frame: Uint8Array): boolean {
	try {
		return write(fd, frame) === frame.length
	} catch (error) {
		if (error instanceof SystemCallError && REFUSALS.includes(error.code)) return false
		throw error
	}
}

const REFUSALS = ['EINVAL', 'EMSGSIZE', 'ENOBUFS']
