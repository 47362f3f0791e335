import type { Command, NodeFacts } from '@ringfence/shared/contract/messages'
import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'
import { whyNoCapture } from '../capture/can-capture.ts'
import { agentVersion, type RunConfig } from '../config.ts'
import { Dataplane, type Notice } from '../dataplane/dataplane.ts'
import { agentRecord, recordOf } from '../dataplane/records.ts'
import type { EngineEvent } from '../engine/engine.ts'
import type { RuntimeDriver } from '../runtime/driver.ts'
import { nodeFacts } from '../runtime/node-facts.ts'
import { prepareStateDir } from '../uplink/identity.ts'
import { openUplink, type Uplink } from '../uplink/uplink.ts'
import { type Logger, openLogger } from './log.ts'
import { Outbox } from './outbox.ts'
import { lockState } from './state-lock.ts'
import { Workloads } from './workloads.ts'

const ENGINE_OPTIONS = {
	sessionsMax: 131_072,
	hasSessionEvents: false,
	hasConversationEvents: true,
	reportIntervalUs: 1_000_000,
}

const COUNTERS_MS = 10_000
/** A bridge or an address that comes later is known to the fleet this much later. */
const FACTS_MS = 2_000
/** A stop that takes longer has failed. */
const STOP_MS_MAX = 4500

/**
 * Watches this node until SIGTERM or SIGINT: runtime finds workloads, the data plane reads their packets, the uplink
 * carries what they tell and brings policy.
 * @returns exit code
 */
export async function run(config: RunConfig): Promise<number> {
	const logger = openLogger(config.logFormat, config.logLevel, (line) => process.stderr.write(line))
	for (const warning of config.warnings) logger.log('warn', warning)
	const stopped = signalled(logger)
	try {
		await prepareStateDir(config.stateDir)
		// An agent that was told to stop a moment ago may still be about it.
		const locked = lockState(config.stateDir, STOP_MS_MAX).then(() => true)
		const isOurs = await Promise.race([locked, stopped.then(() => false)])
		if (!isOurs) return 0
	} catch (error) {
		logger.log('error', error instanceof Error ? error.message : String(error))
		return 1
	}
	const agent = new Agent(config, logger, await whyNoCapture())
	try {
		// The first enrolment waits for its controller; a signal ends that wait too.
		await Promise.race([agent.start(), stopped])
		await stopped
	} catch (error) {
		logger.log('error', error instanceof Error ? error.message : String(error))
		await agent.stop()
		return 1
	}
	return Promise.race([agent.stop().then(() => 0), tooLate(logger)])
}

/** The parts of a running agent, and what passes between them. */
class Agent {
	readonly #config: RunConfig
	readonly #logger: Logger
	readonly #captureWhy: string | undefined
	readonly #version = agentVersion()
	readonly #dataplane: Dataplane
	readonly #outbox = new Outbox()
	readonly #workloads: Workloads
	readonly #stopping = new AbortController()
	#driver: RuntimeDriver | undefined
	#uplink: Uplink | undefined
	#counting: NodeJS.Timeout | undefined
	#watchingFacts: NodeJS.Timeout | undefined
	/** The last order to change the policy: they follow one another. */
	#policyChange: Promise<unknown> = Promise.resolve()

	constructor(config: RunConfig, logger: Logger, captureWhy: string | undefined) {
		this.#config = config
		this.#logger = logger
		this.#captureWhy = captureWhy
		this.#dataplane = new Dataplane(
			{
				workers: captureWhy === undefined ? config.workers : 0,
				ringBlocks: config.ringBlocks,
				workerUrl: new URL('./worker.js', import.meta.url),
				engine: ENGINE_OPTIONS,
			},
			{
				events: (events, shiftUs) => this.#takeEvents(events, shiftUs),
				notice: (notice) => this.#notice(notice),
			},
		)
		this.#workloads = new Workloads(this.#dataplane, (list) => this.#uplink?.reportWorkloads(list))
	}

	async start(): Promise<void> {
		const { stateDir, controllerUrl, token, name } = this.#config
		if (this.#captureWhy !== undefined) this.#complainOfCapture(this.#captureWhy)
		const uplink = await openUplink(
			{ stateDir, controllerUrl, token, name, signal: this.#stopping.signal },
			{
				facts: () => this.#facts(),
				applyDocuments: (documents) => {
					const change = this.#policyChange.then(() => this.#dataplane.applyPolicy(documents))
					this.#policyChange = change.catch(() => undefined)
					return change.then((why) => (why === undefined ? { ok: true } : { ok: false, why }))
				},
				command: async (command) => this.#obey(command),
				log: (level, message, fields) => this.#logger.log(level, message, fields),
			},
		)
		this.#uplink = uplink
		this.#outbox.open(uplink)
		if (this.#stopping.signal.aborted) return
		this.#logger.log('info', 'agent is running', { node: uplink.node, version: this.#version })
		await this.#startDriver(uplink.node)
		this.#counting = setInterval(() => this.#sendCounters(), COUNTERS_MS)
		this.#watchFacts(uplink)
	}

	/** Everything known goes to the uplink, and that to the disk or the controller. */
	async stop(): Promise<void> {
		this.#stopping.abort()
		clearInterval(this.#counting)
		clearInterval(this.#watchingFacts)
		this.#driver?.stop()
		await this.#dataplane.stop()
		this.#sendCounters()
		await this.#uplink?.stop()
	}

	async #startDriver(node: string): Promise<void> {
		if (this.#captureWhy !== undefined) {
			this.#uplink?.reportWorkloads([])
			return
		}
		const { NetnsDriver } = await import('../runtime/netns-driver.ts')
		const { netnsDir: directory, netnsPrefix: prefix, labelsDir: labelsDirectory } = this.#config
		this.#driver = new NetnsDriver({ node, directory, prefix, labelsDirectory }, (event) => {
			if (event.kind === 'problem') {
				const { name, message } = event
				this.#notice({ name, severity: 'low', message, count: 1 })
				return
			}
			const { id, name } = event.facts.workload
			this.#logger.log('info', event.kind, { workload: id, name })
			this.#workloads.take(event)
		})
		// A node without workloads says so too.
		this.#workloads.report()
	}

	#watchFacts(uplink: Uplink): void {
		let known = JSON.stringify(this.#facts())
		this.#watchingFacts = setInterval(() => {
			const facts = JSON.stringify(this.#facts())
			if (facts !== known) uplink.reportFacts()
			known = facts
		}, FACTS_MS)
	}

	#facts(): NodeFacts {
		return nodeFacts(this.#version, this.#captureWhy)
	}

	#obey(command: Command['command']): { ok: boolean; why?: string } {
		switch (command.kind) {
			case 'resync':
				this.#workloads.report()
				return { ok: true }
			case 'log-level':
				this.#logger.level = command.level
				return { ok: true }
		}
	}

	#takeEvents(events: readonly EngineEvent[], shiftUs: number): void {
		const context = {
			shiftUs,
			isOwnAddress: (workload: string, address: string) =>
				this.#workloads.hasAddress(workload, address),
		}
		const records = events.map((event) => recordOf(event, context))
		this.#outbox.send(records.filter((record) => record !== undefined))
	}

	#notice(notice: Notice): void {
		const level = notice.severity === 'info' ? 'info' : 'warn'
		this.#logger.log(level, notice.message, { event: notice.name, count: notice.count })
		this.#outbox.send([agentRecord(notice, Date.now())])
	}

	#complainOfCapture(why: string): void {
		const message = `packets cannot be captured: ${why}`
		this.#notice({ name: 'no-capture', severity: 'high', message, count: 1 })
	}

	#sendCounters(): void {
		const uplink = Object.entries(this.#uplink?.counters() ?? {})
		const counters = {
			...this.#dataplane.counters(),
			...this.#outbox.counters(),
			...Object.fromEntries(uplink.map(([name, value]) => [`uplink.${name}`.slice(0, 64), value])),
		}
		const record: TelemetryRecord = { kind: 'counters', at: Date.now(), counters }
		this.#outbox.send([record])
	}
}

/** Resolves at the first signal to end; the second one ends the process at once. */
function signalled(logger: Logger): Promise<void> {
	return new Promise((resolve) => {
		let isFirst = true
		for (const signal of ['SIGTERM', 'SIGINT'] as const) {
			process.on(signal, () => {
				if (!isFirst) process.exit(1)
				isFirst = false
				logger.log('info', 'stopping', { signal })
				resolve()
			})
		}
	})
}

function tooLate(logger: Logger): Promise<number> {
	return new Promise((resolve) => {
		setTimeout(() => {
			logger.log('error', 'stopping took too long: what was not on disk is lost')
			resolve(1)
		}, STOP_MS_MAX).unref()
	})
}
