import { randomUUID } from 'node:crypto'
import type { BrokerAccounts, Fleet } from '../fleet/fleet.ts'
import { checkBrokerPassword } from '../fleet/nodes/enrol.ts'
import type { BusOptions } from '../mqtt/bus.ts'
import { startEmbeddedBroker } from '../mqtt/embedded-broker.ts'
import { createForeignAccounts, createMosquittoAccounts } from '../mqtt/mosquitto-accounts.ts'
import type { OutgoingMessage } from '../mqtt/outgoing.ts'
import { type BrokerOptions, reachable } from './options.ts'
import { bindError } from './start-error.ts'

/** A broker as the rest of the host sees it, be it ours or another's. */
export interface Broker {
	/** How the bus connects to it. */
	readonly connection: Pick<
		BusOptions,
		'url' | 'username' | 'password' | 'ca' | 'clientId' | 'version' | 'filters'
	>
	readonly accounts: BrokerAccounts
	/** @returns whether the message was for the accounts, and for nobody else */
	accept(message: OutgoingMessage): boolean
	close(): Promise<void>
}

/** Starts the embedded broker, or gets ready for an external one. */
export async function openBroker(
	fleet: Fleet,
	cluster: string,
	options: BrokerOptions,
): Promise<Broker> {
	const clientId = `controller-${randomUUID()}`
	if (options.kind === 'embedded') return openEmbedded(fleet, cluster, options.listen, clientId)
	const { url, user: username, password, ca } = options
	const connection = { url, username, password, ca, clientId, version: 'auto' as const }
	const close = () => Promise.resolve()
	if (options.accounts === 'none') {
		const accounts = createForeignAccounts(fleet.log)
		fleet.log('warn', 'accounts and topic rules of the broker are kept by its operator')
		return { connection, accounts, accept: () => false, close }
	}
	const ownName = username ?? ''
	const accounts = createMosquittoAccounts({ bus: () => fleet.bus, cluster, ownName })
	const { filters, accept } = accounts
	return { connection: { ...connection, filters }, accounts, accept, close }
}

async function openEmbedded(
	fleet: Fleet,
	cluster: string,
	listen: { readonly host: string; readonly port: number },
	clientId: string,
): Promise<Broker> {
	const broker = await startEmbeddedBroker({
		...listen,
		cluster,
		checkPassword: (node, password) => checkBrokerPassword(fleet, node, password),
		log: fleet.log,
		nowMs: fleet.clock.now,
	}).catch((error: unknown) => {
		throw bindError('the embedded MQTT broker', reachable(listen), error)
	})
	// A wildcard address is no destination everywhere; loopback is covered by it.
	const host = { '0.0.0.0': '127.0.0.1', '::': '::1' }[listen.host] ?? listen.host
	return {
		connection: {
			url: `mqtt://${reachable({ host, port: broker.port })}`,
			...broker.controller,
			clientId,
			version: 4,
		},
		accounts: broker.accounts,
		accept: () => false,
		close: () => broker.close(),
	}
}
