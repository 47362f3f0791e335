import { randomUUID } from 'node:crypto'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { eq } from 'drizzle-orm'
import { createApp } from '../app.ts'
import { migrate } from '../db/migrate.ts'
import { type OpenedStore, openStore } from '../db/open-store.ts'
import { nodes } from '../db/schema.ts'
import { ageOut } from '../fleet/aging.ts'
import { deliverDue } from '../fleet/alerts/outbox.ts'
import { ensureCluster } from '../fleet/cluster.ts'
import { createPublisher, type Publisher } from '../fleet/desired/publisher.ts'
import type { Bus, Clock, Fleet, Log } from '../fleet/fleet.ts'
import { createIntake } from '../fleet/intake/create-intake.ts'
import type { Intake } from '../fleet/intake/intake.ts'
import { type RunningBus, startBus } from '../mqtt/bus.ts'
import { forgetNode } from '../mqtt/forget-node.ts'
import { createRouter } from '../mqtt/router.ts'
import { type Broker, openBroker } from './broker.ts'
import { clientAddress, startHttpServer } from './http-server.ts'
import { createLiveFeed } from './live-feed.ts'
import { type DueLoop, startDueLoop, startPeriodicLoop } from './loops.ts'
import type { HostOptions } from './options.ts'
import { makePrivateDirectory } from './private-files.ts'
import { StartError } from './start-error.ts'

const AGING_EVERY_MS = 60_000

export interface Controller {
	readonly fleet: Fleet
	/** Of the HTTP server, as it was bound. */
	readonly port: number
	/** Resolves at the first connection to the broker. */
	readonly connected: Promise<void>
	/** Ends everything in order. */
	stop(): Promise<void>
}

interface Ending {
	readonly part: string
	readonly end: () => Promise<unknown>
}

/** Parts that know each other in a circle: the fleet reaches them when they are there. */
interface Late {
	bus?: RunningBus
	broker?: Broker
	publisher?: Publisher
	outbox?: DueLoop
}

/**
 * Starts a whole controller on Node: database, broker, bus, domain, HTTP. When something cannot start, what has started ends
 * again, and the error says why.
 */
export async function startController(
	options: HostOptions,
	{ log, migrations }: { readonly log: Log; readonly migrations: string },
): Promise<Controller> {
	const endings: Ending[] = []
	const stop = async () => {
		for (const { part, end } of endings.splice(0).reverse()) {
			const since = performance.now()
			await end().catch((error: unknown) =>
				log('error', 'a part did not end well', { part, error: String(error) }),
			)
			log('debug', 'ended', { part, ms: Math.round(performance.now() - since) })
		}
	}
	try {
		return { ...(await startParts(options, { log, migrations, endings })), stop }
	} catch (error) {
		await stop()
		throw error
	}
}

async function startParts(
	options: HostOptions,
	{
		log,
		migrations,
		endings,
	}: {
		readonly log: Log
		readonly migrations: string
		/** Each part adds how it ends; they are called last first. */
		readonly endings: Ending[]
	},
): Promise<Omit<Controller, 'stop'>> {
	const clock: Clock = { now: Date.now }
	const store = await openDatabase(options, migrations)
	endings.push({ part: 'database', end: () => store.close() })
	const cluster = (await ensureCluster({ store, clock })).id
	const late: Late = {}
	const fleet = createFleet({ store, clock, log, late, cluster }, options)

	const intake = createIntake(fleet)
	if (options.broker.kind === 'embedded') await forgetConnections(fleet, intake)
	late.broker = await openBroker(fleet, cluster, options.broker)
	endings.push({ part: 'broker', end: late.broker.close })
	late.publisher = createPublisher(fleet)
	endings.push({ part: 'publisher', end: late.publisher.close.bind(late.publisher) })
	const connected = startMessaging({ fleet, cluster, late, intake, endings })

	late.outbox = startDueLoop(() => deliverDue(fleet), { clock, log, name: 'webhook delivery' })
	late.outbox.poke()
	endings.push({ part: 'deliveries', end: late.outbox.stop })
	const aging = startPeriodicLoop(() => ageOut(fleet), {
		everyMs: AGING_EVERY_MS,
		log,
		name: 'aging',
	})
	endings.push({ part: 'aging', end: aging.stop })

	const notReadyWhy = async () =>
		late.bus?.isConnected() === true ? undefined : 'There is no connection to the MQTT broker.'
	const app = createApp(fleet, { publicUrl: options.publicUrl, clientAddress, notReadyWhy })
	const http = await startHttpServer(app, options.listen)
	endings.push({ part: 'http', end: http.close })
	return { fleet, port: http.port, connected }
}

async function openDatabase(options: HostOptions, migrations: string): Promise<OpenedStore> {
	makePrivateDirectory(options.dataDirectory)
	const { databaseUrl: url, databaseToken: authToken } = options
	try {
		const store = await openStore({ url, ...(authToken === undefined ? {} : { authToken }) })
		await migrate(store, migrations)
		return store
	} catch (error) {
		throw new StartError(`the database ${url} cannot be used: ${(error as Error).message}`, {
			cause: error,
		})
	}
}

interface FleetParts extends Pick<Fleet, 'store' | 'clock' | 'log'> {
	readonly late: Late
	readonly cluster: string
}

function createFleet({ late, cluster, ...parts }: FleetParts, options: HostOptions): Fleet {
	const bus: Bus = {
		publish: (topic, payload, how) =>
			late.bus?.publish(topic, payload, how) ?? Promise.reject(new Error('there is no bus yet')),
	}
	const accounts = () => {
		if (late.broker === undefined) throw new Error('there is no broker yet')
		return late.broker.accounts
	}
	return {
		...parts,
		bus,
		live: createLiveFeed(parts.log),
		changes: {
			documentsChanged: () => late.publisher?.changed(),
			outboxChanged: () => late.outbox?.poke(),
		},
		brokerUrl: () => options.broker.publicUrl,
		brokerAccounts: {
			provision: async (node, password) => accounts().provision(node, password),
			async revoke(node) {
				await accounts().revoke(node)
				await forgetNode(bus, cluster, node)
			},
		},
	}
}

/** Before an embedded broker listens nobody is connected, and it has no memory of wills: whoever is alive comes again. */
async function forgetConnections(fleet: Fleet, intake: Intake): Promise<void> {
	const rows = await fleet.store.db
		.select({ id: nodes.id, boot: nodes.boot })
		.from(nodes)
		.where(eq(nodes.isUp, true))
	for (const { id, boot } of rows) {
		if (boot === null) continue
		await intake.presence(id, { v: CONTRACT_VERSION, boot, isUp: false, at: fleet.clock.now() })
	}
}

interface Messaging {
	readonly fleet: Fleet
	readonly cluster: string
	readonly late: Late
	readonly intake: Intake
	readonly endings: Ending[]
}

/** Joins bus and domain. @returns when the bus is connected for the first time */
function startMessaging({ fleet, cluster, late, intake, endings }: Messaging): Promise<void> {
	const { clock, log } = fleet
	const router = createRouter({
		cluster,
		clock,
		log,
		bus: fleet.bus,
		intake,
		isKnownNode: async (node) => {
			const rows = await fleet.store.db
				.select({ id: nodes.id })
				.from(nodes)
				.where(eq(nodes.id, node))
			return rows.length > 0
		},
	})
	const { broker } = late
	if (broker === undefined) throw new Error('there is no broker yet')
	return new Promise((resolve) => {
		const bus = startBus({
			...broker.connection,
			cluster,
			clock,
			log,
			newBoot: randomUUID,
			onMessage: (message) => {
				if (!broker.accept(message)) router.accept(message)
			},
			onConnected() {
				resolve()
				void late.publisher?.publishAll()
			},
		})
		late.bus = bus
		// Last first: no more messages, then no more bus; the publisher after it ends as its publications are rejected.
		endings.push(
			{ part: 'bus', end: () => bus.stop() },
			{ part: 'router', end: () => router.stop() },
		)
	})
}
