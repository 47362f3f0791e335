import { readFileSync } from 'node:fs'
import { arch, hostname, networkInterfaces, release, type } from 'node:os'
import type { NodeFacts } from '@ringfence/shared/contract/messages'
import type { NetworkInterface } from '@ringfence/shared/contract/workload'

/** Limits of the contract. */
const INTERFACES_MAX = 256
const ADDRESSES_MAX = 64
const NAME_MAX = 256
const PROSE_MAX = 1024

/** What this node is, for the controller. @param captureWhy why packets cannot be seen; undefined when they can */
export function nodeFacts(agentVersion: string, captureWhy: string | undefined): NodeFacts {
	return {
		hostname: hostname().slice(0, NAME_MAX) || 'localhost',
		os: operatingSystem().slice(0, NAME_MAX) || type(),
		kernel: release().slice(0, NAME_MAX),
		arch: arch(),
		agentVersion,
		interfaces: interfacesUp(),
		canCapture: captureWhy === undefined,
		...(captureWhy !== undefined && { captureWhy: captureWhy.slice(0, PROSE_MAX) }),
	}
}

/** The node's interfaces that are up and have an address, without loopback. */
function interfacesUp(): NetworkInterface[] {
	return Object.entries(networkInterfaces())
		.map(([name, list = []]) => {
			const addresses = list.filter(
				({ internal, address }) => !internal && !/^fe[89ab]/.test(address),
			)
			return {
				name,
				mac: addresses[0]?.mac ?? '',
				addresses: addresses.flatMap(({ cidr }) => cidr ?? []).slice(0, ADDRESSES_MAX),
			}
		})
		.filter(({ name, mac }) => mac !== '' && name.length <= 15)
		.slice(0, INTERFACES_MAX)
}

function operatingSystem(): string {
	try {
		const release = readFileSync('/etc/os-release', 'utf8')
		return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)?.[1] ?? type()
	} catch {
		return type()
	}
}
