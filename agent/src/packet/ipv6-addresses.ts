import * as ipv6 from './ipv6.ts'
import type { Packet } from './packet.ts'

/** Takes both addresses of the IPv6 header at `at`, which must be valid, into the record. */
export function readIpv6Addresses(view: DataView, at: number, packet: Packet): void {
	packet.source0 = ipv6.sourceWord(view, at, 0)
	packet.source1 = ipv6.sourceWord(view, at, 1)
	packet.source2 = ipv6.sourceWord(view, at, 2)
	packet.source3 = ipv6.sourceWord(view, at, 3)
	packet.destination0 = ipv6.destinationWord(view, at, 0)
	packet.destination1 = ipv6.destinationWord(view, at, 1)
	packet.destination2 = ipv6.destinationWord(view, at, 2)
	packet.destination3 = ipv6.destinationWord(view, at, 3)
}
