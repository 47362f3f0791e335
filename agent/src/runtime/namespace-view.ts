import {
	bind,
	CLOEXEC,
	close,
	getSocketOption,
	NONBLOCK,
	read,
	SystemCallError,
	socket,
	write,
} from '../capture/libc.ts'
import { inNetworkNamespace } from '../capture/namespace.ts'
import {
	CHANGE_GROUPS,
	dumpRequest,
	errnoOf,
	type Link,
	type LinkAddress,
	type LinkForwarding,
	messagesOf,
	NLM_F_DUMP_INTR,
	NLMSG_DONE,
	NLMSG_ERROR,
	RTM_GETADDR,
	RTM_GETLINK,
	RTM_GETNETCONF,
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
	/** Packets that come in by it may leave by another one, of either family. */
	readonly isForwarding: boolean
}

/** Notices read at one look; a namespace that makes more has changed all the same. */
const NOTICES_MAX = 64

/**
 * Looks into a namespace from outside: its netlink socket stays there when the thread has left. The namespace,
 * with all that is in it, lives on until the view is closed, even when its name is gone.
 */
export class NamespaceView {
	readonly #fd: number
	/** Hears of changes. */
	readonly #noticeFd: number
	readonly #part = new Uint8Array(PART_BYTES_MAX)
	#sequence = 0

	/** @param path namespace file */
	constructor(path: string) {
		const [fd, noticeFd] = inNetworkNamespace(path, openSockets)
		this.#fd = fd
		this.#noticeFd = noticeFd
	}

	/**
	 * Whether interfaces, addresses or settings may be others since the last call. Costs a system call (1 us); a look at
	 * them costs two hundred, and there may be thousands of namespaces.
	 */
	hasChanged(): boolean {
		try {
			for (let i = 0; i < NOTICES_MAX; i++) {
				if (read(this.#noticeFd, this.#part) === 0) return i > 0
			}
			return true
		} catch (error) {
			// More notices than the socket holds.
			if (error instanceof SystemCallError && error.code === 'ENOBUFS') return true
			throw error
		}
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
		const settings = this.#dump(RTM_GETNETCONF).filter((entry) => entry.kind === 'forwarding')
		return links
			.sort((a, b) => a.index - b.index)
			.map(({ kind: _, ...link }) => ({
				...link,
				addresses: addresses.filter(({ index }) => index === link.index).map(({ text }) => text),
				isForwarding: settings.some(({ index, isOn }) => index === link.index && isOn),
			}))
	}

	close(): void {
		close(this.#fd)
		close(this.#noticeFd)
	}

	#dump(type: number): Entry[] {
		for (let attempt = 1; ; attempt++) {
			this.#sequence++
			write(this.#fd, dumpRequest(type, this.#sequence))
			const { entries, isInterrupted } = this.#readDump()
			if (!isInterrupted || attempt === ATTEMPTS_MAX) return entries
		}
	}

	#readDump(): { entries: Entry[]; isInterrupted: boolean } {
		const entries: Entry[] = []
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

type Entry = Link | LinkAddress | LinkForwarding

/** In the namespace: a socket to ask by, and one that hears of changes from here on. */
function openSockets(): [number, number] {
	const fd = socket(AF_NETLINK, SOCK_RAW | CLOEXEC, NETLINK_ROUTE)
	try {
		const noticeFd = socket(AF_NETLINK, SOCK_RAW | CLOEXEC | NONBLOCK, NETLINK_ROUTE)
		try {
			bind(noticeFd, changeAddress())
			return [fd, noticeFd]
		} catch (error) {
			close(noticeFd)
			throw error
		}
	} catch (error) {
		close(fd)
		throw error
	}
}

/** `struct sockaddr_nl`: 0 family(u16)  4 port  8 groups */
function changeAddress(): Uint8Array {
	const address = new Uint32Array(3)
	new Uint16Array(address.buffer)[0] = AF_NETLINK
	address[2] = CHANGE_GROUPS
	return new Uint8Array(address.buffer)
}
