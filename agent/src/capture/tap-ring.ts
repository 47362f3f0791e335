/**
 * A receive ring shared with the kernel: AF_PACKET, TPACKET_V3 (`linux/if_packet.h`, Documentation/networking/packet_mmap.rst).
 *
 * ```
 * block:  0 version  4 offset_to_priv  8 block_status  12 num_pkts  16 offset_to_first_pkt  20 blk_len  24 seq_num …
 * packet: 0 tp_next_offset  4 tp_sec  8 tp_nsec  12 tp_snaplen  16 tp_len  20 tp_status  24 tp_mac(u16)  26 tp_net(u16) …
 *         48 sockaddr_ll, of it 58 sll_pkttype(u8)
 * ```
 * The kernel fills a block, sets `TP_STATUS_USER` in its status, and takes it again when that is cleared. It retires a
 * block that is not full after a time-out, so a packet is seen that much later at most. A VLAN tag that the kernel took
 * out of the frame stays out.
 */
import { endianness } from 'node:os'
import type { Frame } from '../engine/engine.ts'
import {
	bind,
	CLOEXEC,
	close,
	getSocketName,
	getSocketOption,
	interfaceIndex,
	type Mapping,
	map,
	setSocketOption,
	socket,
	unmap,
} from './libc.ts'
import { inNetworkNamespace } from './namespace.ts'
import type { CaptureSource } from './source.ts'

const AF_PACKET = 17
const SOCK_RAW = 3
const SOL_SOCKET = 1
const SO_ERROR = 4
const SOL_PACKET = 263
const PACKET_RX_RING = 5
const PACKET_STATISTICS = 6
const PACKET_VERSION = 10
const TPACKET_V3 = 2
const ETH_P_ALL = 3
/** `linux/if_arp.h`: the frames begin with an Ethernet header. */
const ARPHRD_ETHER = 1
/** https://www.tcpdump.org/linktypes.html */
const LINKTYPE_ETHERNET = 1

const BLOCK_STATUS = 8
const NUM_PKTS = 12
const OFFSET_TO_FIRST_PKT = 16
const TP_STATUS_KERNEL = 0
const TP_STATUS_USER = 1

/**
 * Offloads hand segments of 64 KiB over whole, and each full block wakes the reader: blocks four times as big as 256 KiB
 * halve its CPU time at 10 Gb/s (iperf3 over veth). On the other hand a block that retires holds its whole size however few
 * packets came: the number of blocks times `RETIRE_MS` is how long a reader may be held up at any rate.
 */
const BLOCK_BYTES = 512 * 1024
/** Required by the call and unused by V3; divides a block. */
const FRAME_BYTES = 2048
/** Longest time a packet waits in a block that does not fill. */
const RETIRE_MS = 20

const isLittle = endianness() === 'LE'

/** The interface has no Ethernet frames (`wg`, `tun`): the engine's tap cannot read it. */
export class LinkTypeError extends Error {
	readonly code = 'LINK_TYPE'

	constructor(interfaceName: string, hardwareType: number) {
		super(`${interfaceName}: hardware type ${hardwareType} is not Ethernet`)
		this.name = 'LinkTypeError'
	}
}

export interface TapOptions {
	/** Namespace file; undefined for the thread's own. */
	readonly namespace: string | undefined
	readonly interfaceName: string
	/** Engine port that the frames are seen at. */
	readonly port: number
	/** Size of the ring, in blocks of 512 KiB. */
	readonly blocks: number
}

/** Opens a ring on one interface. Frames before the call are not seen; throws `SystemCallError` or `LinkTypeError`. */
export function openTapRing(options: TapOptions): TapRing {
	const { namespace } = options
	// Entered once: its name may stand for another namespace a moment later.
	return namespace === undefined
		? openHere(options)
		: inNetworkNamespace(namespace, () => openHere(options))
}

function openHere(options: TapOptions): TapRing {
	const fd = openSocket(options)
	let mapping: Mapping | undefined
	try {
		mapping = map(fd, options.blocks * BLOCK_BYTES)
		start(fd, options)
		return new TapRing(fd, mapping, options)
	} catch (error) {
		if (mapping) unmap(mapping)
		close(fd)
		throw error
	}
}

/** Makes a ring that no interface is bound to, and gives it back: throws where a tap would. */
export function probeTap(): void {
	close(openSocket({ blocks: 1 }))
}

/** Reads all frames of one interface, sent and received, in the order the kernel saw them. */
export class TapRing implements CaptureSource {
	readonly frame: Required<Frame>
	timeUs = 0
	/** Frames read. */
	packets = 0
	/** Ready to read (`poll`) when a block is. */
	readonly fd: number
	readonly mapping: Omit<Mapping, 'buffer'>
	readonly #blocks: number
	#status: Int32Array
	#view: DataView
	#block = 0
	/** Packets of the current block that are not read, and where the next one is. */
	#left = 0
	#at = 0
	#isBlockHeld = false
	#losses = 0
	#isClosed = false

	/** Takes over descriptor and mapping; made by `openTapRing`. */
	constructor(fd: number, { buffer, ...mapping }: Mapping, { blocks, port }: TapOptions) {
		this.fd = fd
		this.mapping = mapping
		this.#blocks = blocks
		this.#status = new Int32Array(buffer)
		this.#view = new DataView(buffer)
		const linkType = LINKTYPE_ETHERNET
		const none = { at: 0, end: 0, wireBytes: 0, packetType: 0 }
		this.frame = { view: this.#view, ...none, linkType, port }
	}

	next(): boolean {
		if (this.#left === 0 && !this.#takeBlock()) return false
		const { frame } = this
		const view = this.#view
		const at = this.#at
		this.#left--
		this.#at = at + view.getUint32(at, isLittle)
		this.timeUs =
			view.getUint32(at + 4, isLittle) * 1_000_000 +
			Math.floor(view.getUint32(at + 8, isLittle) / 1000)
		frame.at = at + view.getUint16(at + 24, isLittle)
		frame.end = frame.at + view.getUint32(at + 12, isLittle)
		frame.wireBytes = view.getUint32(at + 16, isLittle)
		frame.packetType = view.getUint8(at + 58)
		this.packets++
		return true
	}

	losses(): number {
		if (this.#isClosed) return this.#losses
		// struct tpacket_stats_v3 { tp_packets; tp_drops; tp_freeze_q_cnt }: reading sets them to zero.
		const stats = new Uint32Array(3)
		const option = { fd: this.fd, level: SOL_PACKET, name: PACKET_STATISTICS }
		getSocketOption(option, new Uint8Array(stats.buffer))
		this.#losses += stats[1] ?? 0
		return this.#losses
	}

	/** Takes the error that `poll` reports when the interface goes down or away; a ring whose interface comes up goes on by itself. */
	clearError(): void {
		getSocketOption({ fd: this.fd, level: SOL_SOCKET, name: SO_ERROR }, new Uint8Array(4))
	}

	close(): void {
		if (this.#isClosed) return
		this.losses()
		this.#isClosed = true
		this.#left = 0
		this.#isBlockHeld = false
		this.#status = new Int32Array(BLOCK_STATUS)
		this.#view = new DataView(new ArrayBuffer(0))
		this.frame.view = this.#view
		this.frame.at = 0
		this.frame.end = 0
		unmap(this.mapping)
		close(this.fd)
	}

	/** Gives the block that is read to the kernel and turns to the next one; false when the kernel still has that. */
	#takeBlock(): boolean {
		if (this.#isClosed) return false
		if (this.#isBlockHeld) this.#releaseBlock()
		const base = this.#block * BLOCK_BYTES
		const status = Atomics.load(this.#status, (base + BLOCK_STATUS) >> 2)
		if ((status & TP_STATUS_USER) === 0) return false
		this.#isBlockHeld = true
		this.#left = this.#view.getUint32(base + NUM_PKTS, isLittle)
		this.#at = base + this.#view.getUint32(base + OFFSET_TO_FIRST_PKT, isLittle)
		return this.#left > 0 || this.#takeBlock()
	}

	#releaseBlock(): void {
		const word = (this.#block * BLOCK_BYTES + BLOCK_STATUS) >> 2
		Atomics.store(this.#status, word, TP_STATUS_KERNEL)
		this.#isBlockHeld = false
		this.#block = (this.#block + 1) % this.#blocks
	}
}

/** A socket with its ring that sees nothing yet: protocol 0 until `start`. */
function openSocket({ blocks }: Pick<TapOptions, 'blocks'>): number {
	const fd = socket(AF_PACKET, SOCK_RAW | CLOEXEC, 0)
	try {
		const level = SOL_PACKET
		setSocketOption({ fd, level, name: PACKET_VERSION }, bytesOf(new Int32Array([TPACKET_V3])))
		// struct tpacket_req3: block_size, block_nr, frame_size, frame_nr, retire_blk_tov, sizeof_priv, feature_req_word
		const frames = (BLOCK_BYTES / FRAME_BYTES) * blocks
		const request = [BLOCK_BYTES, blocks, FRAME_BYTES, frames, RETIRE_MS, 0, 0]
		setSocketOption({ fd, level, name: PACKET_RX_RING }, bytesOf(new Uint32Array(request)))
		return fd
	} catch (error) {
		close(fd)
		throw error
	}
}

/** Binds to the interface: frames arrive from here on. */
function start(fd: number, { interfaceName }: TapOptions): void {
	const index = interfaceIndex(interfaceName)
	// struct sockaddr_ll: 0 sll_family(u16)  2 sll_protocol(be16)  4 sll_ifindex(int)  8 sll_hatype(u16) …
	const address = new DataView(new ArrayBuffer(20))
	address.setUint16(0, AF_PACKET, isLittle)
	address.setUint16(2, ETH_P_ALL)
	address.setInt32(4, index, isLittle)
	bind(fd, new Uint8Array(address.buffer))
	getSocketName(fd, new Uint8Array(address.buffer))
	const hardwareType = address.getUint16(8, isLittle)
	if (hardwareType !== ARPHRD_ETHER) throw new LinkTypeError(interfaceName, hardwareType)
}

function bytesOf(words: Int32Array | Uint32Array): Uint8Array {
	return new Uint8Array(words.buffer)
}
