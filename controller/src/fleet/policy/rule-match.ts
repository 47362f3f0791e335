/** The part of a rule that a session is compared with. */
export interface Conditions {
	/** `any`, `tcp/80`, `udp/1000-2000`, `icmp`, `icmp/8` */
	readonly ports: readonly string[]
	/** `any` or names. */
	readonly applications: readonly string[]
}

export interface SessionTraits {
	/** IP protocol number (IANA). */
	readonly protocol: number
	/** Server port; ICMP type. */
	readonly port: number
	/** Empty: unknown, which only `any` covers. */
	readonly application: string
}

/** IP protocol numbers (IANA) that rules can name; both families' ICMP are one. */
const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map([
	[1, 'icmp'],
	[6, 'tcp'],
	[17, 'udp'],
	[58, 'icmp'],
])

/** Whether a rule between the right groups covers a session. */
export function coversSession(rule: Conditions, session: SessionTraits): boolean {
	const { applications, ports } = rule
	const isApplication =
		applications.includes('any') ||
		(session.application !== '' && applications.includes(session.application))
	return isApplication && ports.some((range) => coversPort(range, session))
}

/** How a rule names exactly this port: `tcp/5432`, `icmp`; undefined for a protocol that rules cannot name. */
export function portName({ protocol, port }: SessionTraits): string | undefined {
	const name = PROTOCOL_NAMES.get(protocol)
	return name === undefined || name === 'icmp' ? name : `${name}/${port}`
}

function coversPort(range: string, { protocol, port }: SessionTraits): boolean {
	if (range === 'any') return true
	const [name, numbers] = range.split('/')
	if (name !== PROTOCOL_NAMES.get(protocol)) return false
	if (numbers === undefined) return true
	const [first, last = first] = numbers.split('-').map(Number)
	return first !== undefined && last !== undefined && first <= port && port <= last
}
