import { formatAddress, parseAddress } from '@ringfence/shared/net/address'
import * as ethernet from '../packet/ethernet.ts'
import { type Packet, WAY } from '../packet/packet.ts'
import { PORT_ID_MAX } from '../session/session-table.ts'
import type { EnginePort, Frame } from './engine.ts'

const LINKTYPE_ETHERNET = 1

/** A port as the packet path needs it: the Ethernet address as words. */
export interface OpenPort {
	readonly workload: string | undefined
	readonly hasMac: boolean
	readonly macHigh: number
	readonly macLow: number
	/** Canonical texts; undefined where nothing is forwarded. */
	readonly own: ReadonlySet<string> | undefined
}

/** Checks and prepares a port. A wrong id or address is a bug of the caller. */
export function preparePort({ id, workload, mac, ownAddresses }: EnginePort): OpenPort {
	if (!Number.isInteger(id) || id < 0 || id > PORT_ID_MAX) throw new RangeError(`port id ${id}`)
	const own = ownAddresses && addressSet(ownAddresses)
	if (mac === undefined) return { workload, hasMac: false, macHigh: 0, macLow: 0, own }
	if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw new RangeError(`Ethernet address ${mac}`)
	const octets = mac.replaceAll(':', '')
	return {
		workload,
		hasMac: true,
		macHigh: Number.parseInt(octets.slice(0, 4), 16),
		macLow: Number.parseInt(octets.slice(4), 16) | 0,
		own,
	}
}

/** Addresses as the engine writes them. */
export function addressSet(texts: readonly string[]): ReadonlySet<string> {
	const words = texts.map((text) => parseAddress(text)).filter((parsed) => parsed !== undefined)
	return new Set(words.map(formatAddress))
}

/**
 * Whether the frame leaves the port's workload: the kernel or the link says so (cooked headers), or its source is the
 * workload's address. Undefined where none is known (raw IP, BSD loopback).
 */
export function isLeaving(port: OpenPort, frame: Frame, packet: Packet): boolean | undefined {
	if (packet.way !== WAY.unknown) return packet.way === WAY.leaving
	if (!port.hasMac || frame.linkType !== LINKTYPE_ETHERNET) return undefined
	return (
		ethernet.sourceLow(frame.view, frame.at) === port.macLow &&
		ethernet.sourceHigh(frame.view, frame.at) === port.macHigh
	)
}
