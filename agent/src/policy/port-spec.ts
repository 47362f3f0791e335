import { PolicyRejected } from './rejected.ts'

/** Protocols that a rule can tell apart; `other` has neither ports nor types. */
export const TRANSPORTS = ['tcp', 'udp', 'icmp', 'other'] as const
export type RuleTransport = (typeof TRANSPORTS)[number]

/** Ports (TCP, UDP) or types (ICMP) from `first` to `last`, both included. */
export interface PortSpan {
	readonly first: number
	readonly last: number
}

/** The `ports` of a rule, by transport. */
export type PortSpec = Readonly<Record<RuleTransport, readonly PortSpan[]>>

export const PORT_MAX = 65_535

const EVERY: PortSpan = { first: 0, last: PORT_MAX }

/** Reads the port ranges of a rule: `any`, `tcp`, `tcp/80`, `udp/1000-2000`, `icmp`, `icmp/8`. */
export function parsePortSpec(ports: readonly string[]): PortSpec {
	const spec: Record<RuleTransport, PortSpan[]> = { tcp: [], udp: [], icmp: [], other: [] }
	for (const text of ports) {
		const [name = '', numbers] = text.split('/')
		const span = numbers === undefined ? EVERY : parseSpan(numbers)
		if (text === 'any') for (const transport of TRANSPORTS) spec[transport].push(EVERY)
		else if (span && (name === 'tcp' || name === 'udp' || name === 'icmp')) spec[name].push(span)
		else throw new PolicyRejected(`${text} is not a port range`)
	}
	return spec
}

/** The transport of an IP protocol number (IANA). ICMP and ICMPv6 are one: a rule's type is meant in either. */
export function transportOf(protocol: number): RuleTransport {
	switch (protocol) {
		case 6:
			return 'tcp'
		case 17:
			return 'udp'
		case 1:
		case 58:
			return 'icmp'
		default:
			return 'other'
	}
}

function parseSpan(text: string): PortSpan | undefined {
	const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text)
	if (!match) return undefined
	const first = Number(match[1])
	const last = Number(match[2] ?? match[1])
	return first <= last && last <= PORT_MAX ? { first, last } : undefined
}
