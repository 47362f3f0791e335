import {
	closeDetection,
	feed,
	feedGap,
	openDetection,
	returnDetection,
	type SessionOpening,
} from '../dpi/detection.ts'
import type { Segment } from '../dpi/parser.ts'
import { type Packet, PROTOCOL } from '../packet/packet.ts'
import { RST } from '../packet/tcp.ts'
import { Assembler, type StreamSink } from '../session/assembler.ts'
import { SESSION_STATE } from '../session/timeouts.ts'
import { advance, type Wing } from '../session/wing.ts'
import type { Counts } from './counts.ts'
import type { Flow } from './inspection.ts'

/** Brings the bytes of sessions to recognition, in order, as long as it wants any. */
export class Recognizer implements StreamSink {
	readonly #counts: Counts
	readonly #assembler = new Assembler(this)
	readonly #segment: Segment
	#flow: Flow | undefined = undefined

	constructor(counts: Counts) {
		this.#counts = counts
		this.#segment = {
			view: new DataView(new ArrayBuffer(0)),
			at: 0,
			end: 0,
			fromClient: true,
		}
	}

	/** Starts recognition where the protocol has applications. */
	open(flow: Flow, serverPort: number): void {
		const transport = transportOf(flow.protocol)
		if (transport === undefined) return
		const opening: SessionOpening = { transport, serverPort, isMidstream: flow.isMidstream }
		flow.owner.detection = openDetection(opening)
	}

	/** Takes a TCP segment. */
	segment(flow: Flow, packet: Packet, view: DataView, isFromClient: boolean): void {
		const wing = isFromClient ? flow.client : flow.server
		if ((packet.tcpFlags & RST) !== 0) return
		if (flow.owner.detection === undefined) {
			advance(wing, packet.sequence, packet.payloadBytes)
			return
		}
		const other = isFromClient ? flow.server : flow.client
		this.#flow = flow
		this.#assembler.accept(wing, other, packet, view)
		if (other.held !== undefined) this.#assembler.settle(other, wing)
	}

	/** Takes a UDP datagram. */
	datagram(flow: Flow, packet: Packet, view: DataView, isFromClient: boolean): void {
		const { detection } = flow.owner
		if (detection === undefined || packet.payloadAt === packet.payloadEnd) return
		const segment = this.#segment
		segment.view = view
		segment.at = packet.payloadAt
		segment.end = packet.payloadEnd
		segment.fromClient = isFromClient
		feed(detection, segment)
	}

	/** Nothing more will come: reads what was held, then ends recognition. */
	finish(flow: Flow): void {
		const { detection } = flow.owner
		if (detection === undefined) return
		this.#flow = flow
		if (flow.state !== SESSION_STATE.reset) {
			this.#assembler.finish(flow.client)
			this.#assembler.finish(flow.server)
		}
		closeDetection(detection)
	}

	/** Lets go of a recognition that is done: what it found was taken over. */
	release(flow: Flow): void {
		const { detection } = flow.owner
		if (detection !== undefined) returnDetection(detection)
		flow.owner.detection = undefined
		this.#assembler.release(flow.client)
		this.#assembler.release(flow.server)
	}

	data(wing: Wing, view: DataView, at: number, end: number): boolean {
		const detection = this.#flow?.owner.detection
		if (detection === undefined) return false
		const segment = this.#segment
		segment.view = view
		segment.at = at
		segment.end = end
		segment.fromClient = wing.isClient
		feed(detection, segment)
		return !detection.isDone
	}

	gap(wing: Wing, bytes: number): void {
		this.#counts.assemblyGaps++
		this.#counts.assemblyDroppedBytes += bytes
		const detection = this.#flow?.owner.detection
		if (detection !== undefined) feedGap(detection, wing.isClient)
	}

	ignored(bytes: number): void {
		this.#counts.assemblyDroppedBytes += bytes
	}
}

function transportOf(protocol: number): SessionOpening['transport'] | undefined {
	if (protocol === PROTOCOL.tcp) return 'tcp'
	return protocol === PROTOCOL.udp ? 'udp' : undefined
}
