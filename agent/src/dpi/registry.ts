import type { Parser, Transport } from './parser.ts'
import { DNS } from './proto/dns.ts'
import { HTTP } from './proto/http.ts'
import { REDIS } from './proto/redis.ts'
import { SSH } from './proto/ssh.ts'
import { TLS } from './proto/tls.ts'

/** Every application protocol that can be recognised, in the order in which they are asked. */
export const PARSERS: readonly Parser[] = [HTTP, TLS, DNS, REDIS, SSH]

const BY_TRANSPORT: Readonly<Record<Transport, readonly Parser[]>> = {
	tcp: PARSERS.filter((parser) => parser.transports.includes('tcp')),
	udp: PARSERS.filter((parser) => parser.transports.includes('udp')),
}

const BY_PORT: Readonly<Record<Transport, ReadonlyMap<number, readonly Parser[]>>> = {
	tcp: orderByPort(BY_TRANSPORT.tcp),
	udp: orderByPort(BY_TRANSPORT.udp),
}

/** The parsers of a transport, those that usually live at `serverPort` first. */
export function candidatesOf(transport: Transport, serverPort: number): readonly Parser[] {
	return BY_PORT[transport].get(serverPort) ?? BY_TRANSPORT[transport]
}

function orderByPort(parsers: readonly Parser[]): ReadonlyMap<number, readonly Parser[]> {
	const ports = new Set(parsers.flatMap((parser) => parser.ports))
	const isAt = (port: number) => (parser: Parser) => parser.ports.includes(port)
	return new Map(
		[...ports].map((port) => [
			port,
			[...parsers.filter(isAt(port)), ...parsers.filter((parser) => !isAt(port)(parser))],
		]),
	)
}
