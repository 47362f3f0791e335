import {
	CLOEXEC,
	close,
	getSocketOption,
	read,
	SystemCallError,
	socket,
	write,
} from '../capture/libc.ts'
import { inNetworkNamespace } from '../capture/namespace.ts'
import {
	dumpRequest,
	errnoOf,
	type Link,
	type LinkAddress,
	messagesOf,
	NLM_F_DUMP_INTR,
	NLMSG_DONE,
	NLMSG_ERROR,
	RTM_GETADDR,
	RTM_GETLINK,
	readMessage,
} from './route-netlink.ts'

const AF_NETLINK = 16
const SOCK_RAW = 3
const NETLINK_ROUTE = 0
const SOL_SOCKET = 1
/** `asm-generic/socket.h`, Linux 5.14: a number that no other namespace had since the machine started. */
const SO_NETNS_COOKIE = 71

/** No part of a dump is longer: the kernel's parts are at most 32 KiB. */
const PART_BYTES_MAX = 65_536
/** Dumps tried while interfaces change under them. */
const ATTEMPTS_MAX = 5

/** An interface with its addresses, as it stands in a namespace. */
export interface InterfaceFacts extends Omit<Link, 'kind'> {
	readonly addresses: readonly string[]
}

/**
 * Looks into a namespace from outside: its netlink socket stays there when the thread has left. The namespace,
 * with all that is in it, lives on until the view is closed, even when its name is gone.
 */
export class NamespaceView {
	readonly #fd: number
	readonly #part = new Uint8Array(PART_BYTES_MAX)
	#sequence = 0

	/** @param path namespace file */
	constructor(path: string) {
		this.#fd = inNetworkNamespace(path, () => socket(AF_NETLINK, SOCK_RAW | CLOEXEC, NETLINK_ROUTE))
	}

	/** The namespace's cookie; undefined before Linux 5.14. */
	cookie(): bigint | undefined {
		const cookie = new BigUint64Array(1)
		try {
			const option = { fd: this.#fd, level: SOL_SOCKET, name: SO_NETNS_COOKIE }
			getSocketOption(option, new Uint8Array(cookie.buffer))
			return cookie[0]
		} catch (error) {
			if (error instanceof SystemCallError && error.code === 'ENOPROTOOPT') return undefined
			throw error
		}
	}

	/** All interfaces, in the order of their index. */
	interfaces(): InterfaceFacts[] {
		const links = this.#dump(RTM_GETLINK).filter((entry) => entry.kind === 'link')
		const addresses = this.#dump(RTM_GETADDR).filter((entry) => entry.kind === 'address')
		return links
			.sort((a, b) => a.index - b.index)
			.map(({ kind: _, ...link }) => ({
				...link,
				addresses: addresses.filter(({ index }) => index === link.index).map(({ text }) => text),
			}))
	}

	close(): void {
		close(this.#fd)
	}

	#dump(type: number): (Link | LinkAddress)[] {
		for (let attempt = 1; ; attempt++) {
			this.#sequence++
			write(this.#fd, dumpRequest(type, this.#sequence))
			const { entries, isInterrupted } = this.#readDump()
			if (!isInterrupted || attempt === ATTEMPTS_MAX) return entries
		}
	}

	#readDump(): { entries: (Link | LinkAddress)[]; isInterrupted: boolean } {
		const entries: (Link | LinkAddress)[] = []
		let isInterrupted = false
		for (;;) {
			const bytes = read(this.#fd, this.#part)
			for (const message of messagesOf(new DataView(this.#part.buffer, 0, bytes))) {
				if (message.sequence !== this.#sequence) continue
				isInterrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0
				if (message.type === NLMSG_DONE) return { entries, isInterrupted }
				if (message.type === NLMSG_ERROR) throw new SystemCallError('netlink', errnoOf(message))
				const entry = readMessage(message)
				if (entry) entries.push(entry)
			}
		}
	}
}
