import { bytesOf, type SampleFrame, sampleFrame } from '../packet/sample-frame.ts'
import type {
	ConversationEvent,
	Engine,
	EngineEvent,
	SessionEvent,
	Verdict,
	ViolationEvent,
} from './engine.ts'

export const START_US = 1_700_000_000_000_000
export const SECOND_US = 1_000_000
export const WORKLOAD_MAC = '02:42:ac:11:00:02'
export const OTHER_MAC = '02:42:ac:11:00:03'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH_ACK = 0x18
export const ACK = 0x10

/** Feeds made-up traffic to an engine, and sorts its events by kind: for tests and benches. */
export class Traffic {
	readonly engine: Engine
	nowUs = START_US
	#events: readonly EngineEvent[] = []

	constructor(engine: Engine) {
		this.engine = engine
	}

	/** Gives one frame to port 1. */
	send(sample: SampleFrame): Verdict {
		return this.sendBytes(sampleFrame(sample))
	}

	sendBytes(bytes: Uint8Array, port = 1, linkType = 1): Verdict {
		const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
		const size = bytes.length
		const frame = { view, at: 0, end: size, wireBytes: size, linkType, port }
		return this.engine.inspect(frame, this.nowUs)
	}

	/** Lets time pass, with every time-out handled when it is due. */
	wait(us: number): void {
		const endUs = this.nowUs + us
		for (let due = this.engine.nextTimeoutUs(); due !== undefined && due <= endUs; ) {
			this.nowUs = Math.max(this.nowUs, due)
			this.engine.handleTimeout(this.nowUs)
			due = this.engine.nextTimeoutUs()
		}
		this.nowUs = endUs
	}

	sessions(): SessionEvent[] {
		return this.#take('session')
	}

	violations(): ViolationEvent[] {
		return this.#take('violation')
	}

	conversations(): ConversationEvent[] {
		return this.#take('conversation')
	}

	#take<Kind extends EngineEvent['kind']>(kind: Kind): Extract<EngineEvent, { kind: Kind }>[] {
		const events = this.#events.concat(this.engine.takeEvents())
		const isKind = (event: EngineEvent): event is Extract<EngineEvent, { kind: Kind }> =>
			event.kind === kind
		const taken = events.filter(isKind)
		this.#events = events.filter((event) => event.kind !== kind)
		return taken
	}
}

export interface ConnectionEnds {
	readonly client: string
	readonly server: string
	readonly clientPort: number
	readonly serverPort: number
	/** The workload whose port sees it is the server. */
	readonly isWorkloadServer?: boolean
}

/** A TCP connection that is played packet by packet, with right sequence numbers on both sides. */
export class Connection {
	readonly #traffic: Traffic
	readonly #ends: ConnectionEnds
	clientSequence: number
	serverSequence: number
	/** Frames and bytes sent so far, as an independent count. */
	readonly sent = { clientPackets: 0, clientBytes: 0, serverPackets: 0, serverBytes: 0 }

	constructor(traffic: Traffic, ends: ConnectionEnds, sequence = 0xfffffff0) {
		this.#traffic = traffic
		this.#ends = ends
		this.clientSequence = sequence
		this.serverSequence = (sequence + 0x1000) >>> 0
	}

	client(tcpFlags: number, text = '', extra: Partial<SampleFrame> = {}): Verdict {
		const { client, server, clientPort, serverPort, isWorkloadServer } = this.#ends
		const bytes = sampleFrame({
			source: client,
			destination: server,
			sourcePort: clientPort,
			destinationPort: serverPort,
			sourceMac: isWorkloadServer ? OTHER_MAC : WORKLOAD_MAC,
			destinationMac: isWorkloadServer ? WORKLOAD_MAC : OTHER_MAC,
			tcpFlags,
			sequence: this.clientSequence,
			acknowledgment: this.serverSequence,
			payload: bytesOf(text),
			...extra,
		})
		this.clientSequence = (this.clientSequence + text.length + taken(tcpFlags)) >>> 0
		this.sent.clientPackets++
		this.sent.clientBytes += bytes.length
		return this.#traffic.sendBytes(bytes)
	}

	server(tcpFlags: number, text = '', extra: Partial<SampleFrame> = {}): Verdict {
		const { client, server, clientPort, serverPort, isWorkloadServer } = this.#ends
		const bytes = sampleFrame({
			source: server,
			destination: client,
			sourcePort: serverPort,
			destinationPort: clientPort,
			sourceMac: isWorkloadServer ? WORKLOAD_MAC : OTHER_MAC,
			destinationMac: isWorkloadServer ? OTHER_MAC : WORKLOAD_MAC,
			tcpFlags,
			sequence: this.serverSequence,
			acknowledgment: this.clientSequence,
			payload: bytesOf(text),
			...extra,
		})
		this.serverSequence = (this.serverSequence + text.length + taken(tcpFlags)) >>> 0
		this.sent.serverPackets++
		this.sent.serverBytes += bytes.length
		return this.#traffic.sendBytes(bytes)
	}

	open(): void {
		this.client(SYN)
		this.server(SYN | ACK)
		this.client(ACK)
	}

	close(): void {
		this.client(FIN | ACK)
		this.server(FIN | ACK)
		this.client(ACK)
	}
}

/** SYN and FIN take a sequence number each. */
function taken(tcpFlags: number): number {
	return (tcpFlags & (SYN | FIN)) === 0 ? 0 : 1
}
