import {
	decodeMessage,
	describeIssues,
	encodeMessage,
	MESSAGE_BYTES_MAX,
} from '@ringfence/shared/contract/codec'
import {
	type Command,
	commandSchema,
	controllerStateSchema,
	type Hello,
	helloSchema,
	telemetryAckSchema,
	type WorkloadsReport,
} from '@ringfence/shared/contract/messages'
import type { TelemetryRecord } from '@ringfence/shared/contract/telemetry'
import {
	type AgentTopics,
	agentTopics,
	controllerTopics,
	DOCUMENTS,
	parseTopic,
} from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { type Workload, workloadSchema } from '@ringfence/shared/contract/workload'
import { Batcher } from './batcher.ts'
import { Commands } from './commands.ts'
import { Connection } from './connection.ts'
import { ControllerWatch } from './controller-watch.ts'
import type { Counters } from './counters.ts'
import { DocumentCache } from './document-cache.ts'
import { Documents } from './documents.ts'
import type { Identity } from './identity.ts'
import { Inbox, type IncomingMessage } from './inbox.ts'
import type { Losses } from './losses.ts'
import { Rejections } from './rejections.ts'
import type { Spool } from './spool.ts'
import { TelemetryWindow } from './telemetry-window.ts'
import type { Uplink, UplinkHandlers, UplinkTiming } from './uplink-config.ts'
import { messageOf } from './uplink-error.ts'

export interface UplinkSessionOptions {
	readonly identity: Identity
	readonly boot: string
	readonly startedAt: number
	readonly documentsDir: string
	readonly timing: UplinkTiming
	readonly handlers: UplinkHandlers
	readonly counters: Counters
	readonly losses: Losses
	readonly spool: Spool
}

/** Of `workloadsReportSchema`. */
const WORKLOADS_MAX = 4096
/** Of `headSchema`. */
const SHARDS_MAX = 16
const DRAIN_POLL_MS = 20

/** One run of an enrolled agent: joins connection, telemetry, documents and commands. */
export class UplinkSession implements Uplink {
	readonly node: string
	readonly #options: UplinkSessionOptions
	readonly #topics: AgentTopics
	readonly #stateTopic: string
	readonly #rejections: Rejections
	readonly #connection: Connection
	readonly #inbox: Inbox
	readonly #batcher: Batcher
	readonly #window: TelemetryWindow
	readonly #documents: Documents
	readonly #commands: Commands
	readonly #watch = new ControllerWatch()
	/** Messages leave in the order they were said, however long each takes to encode. */
	#outgoing: Promise<void> = Promise.resolve()
	#workloads: readonly Workload[] | undefined
	#revision = 0
	#workloadsTimer: NodeJS.Timeout | undefined
	#lossesAnnouncedAt = 0
	#isStopped = false

	constructor(options: UplinkSessionOptions) {
		const { identity, handlers, counters, spool, losses, boot, timing } = options
		const { log } = handlers
		this.#options = options
		this.node = identity.node
		this.#topics = agentTopics(identity.cluster, identity.node)
		this.#stateTopic = controllerTopics(identity.cluster).state
		const rejections = new Rejections(counters, log)
		this.#rejections = rejections
		this.#inbox = new Inbox((message) => this.#receive(message), rejections)
		this.#connection = new Connection({
			identity,
			boot,
			backoff: timing.reconnect,
			counters,
			rejections,
			log,
			onUp: () => this.#connected(),
			onDown: () => this.#disconnected(),
			onMessage: (topic, payload, isRetained) => {
				counters.add('messagesReceived')
				this.#inbox.push({ topic, payload, isRetained })
			},
		})
		this.#window = new TelemetryWindow({
			spool,
			counters,
			losses,
			rejections,
			log,
			resend: timing.resend,
			publish: (message) => this.#connection.publish(this.#topics.telemetry, message),
			onProgress: () => this.#announceLosses(),
		})
		this.#batcher = new Batcher({
			spool,
			counters,
			losses,
			delayMs: timing.batchDelayMs,
			onBatch: () => this.#window.pump(),
		})
		this.#documents = new Documents({
			identity,
			boot,
			cache: new DocumentCache(options.documentsDir),
			counters,
			rejections,
			log,
			refetch: timing.refetch,
			apply: (documents) => handlers.applyDocuments(documents),
			fetchAgain: () => this.#connection.refetch(),
			publishStatus: (status) => this.#say(this.#topics.status(status.document), status, true),
		})
		this.#commands = new Commands({
			counters,
			run: (command) => this.#command(command),
			publishResult: (result) => this.#say(this.#topics.result, result),
		})
	}

	/** Puts documents of an earlier run in force, then begins to connect. */
	async start(): Promise<void> {
		await this.#documents.loadCache()
		this.#connection.start()
	}

	reportFacts(): void {
		if (!this.#isStopped && this.#connection.isUp) this.#sayHello()
	}

	reportWorkloads(workloads: readonly Workload[]): void {
		if (this.#isStopped) return
		this.#workloads = workloads
		this.#workloadsTimer ??= setTimeout(() => {
			this.#workloadsTimer = undefined
			this.#sayWorkloads()
		}, this.#options.timing.workloadsDelayMs)
	}

	send(records: readonly TelemetryRecord[]): void {
		if (!this.#isStopped) this.#batcher.add(records)
	}

	counters(): Readonly<Record<string, number>> {
		return this.#options.counters.snapshot()
	}

	async stop(): Promise<void> {
		if (this.#isStopped) return
		this.#isStopped = true
		clearTimeout(this.#workloadsTimer)
		await this.#batcher.flush()
		await this.#drain()
		this.#window.stop()
		await this.#documents.stop()
		await this.#outgoing
		await this.#connection.stop()
		await this.#options.spool.close()
		await this.#options.losses.close()
	}

	#connected(): void {
		this.#watch.connected()
		this.#greet()
	}

	#disconnected(): void {
		this.#inbox.clear()
		this.#window.pause()
	}

	/** Says everything that a controller without memory needs. */
	#greet(): void {
		this.#sayHello()
		this.#sayWorkloads()
		this.#documents.announce()
		this.#outgoing = this.#outgoing.then(() => {
			if (this.#connection.isUp) this.#window.restart()
		})
	}

	#sayHello(): void {
		const { boot, startedAt, handlers, counters } = this.#options
		try {
			const hello: Hello = {
				v: CONTRACT_VERSION,
				boot,
				startedAt,
				facts: handlers.facts(),
				applied: this.#documents.applied(),
			}
			const parsed = helloSchema.safeParse(hello)
			if (!parsed.success) throw new Error(describeIssues(parsed.error))
			this.#say(this.#topics.hello, hello)
		} catch (error) {
			counters.add('helloInvalid')
			handlers.log('error', 'no hello: the facts about this node are not valid', {
				why: messageOf(error),
			})
		}
	}

	/** Silent until workloads are known: an empty report would say that there are none. */
	#sayWorkloads(): void {
		if (!this.#workloads || !this.#connection.isUp) return
		const workloads = this.#validWorkloads(this.#workloads)
		this.#revision += 1
		const report: WorkloadsReport = {
			v: CONTRACT_VERSION,
			boot: this.#options.boot,
			revision: this.#revision,
			at: Date.now(),
			workloads,
		}
		this.#say(this.#topics.workloads, report)
	}

	/** One workload that does not fit the contract must not hide the others. */
	#validWorkloads(workloads: readonly Workload[]): Workload[] {
		const valid: Workload[] = []
		for (const workload of workloads) {
			const parsed = workloadSchema.safeParse(workload)
			if (parsed.success && valid.length < WORKLOADS_MAX) {
				valid.push(workload)
				continue
			}
			const why = parsed.success ? `more than ${WORKLOADS_MAX}` : describeIssues(parsed.error)
			this.#options.counters.add('workloadsInvalid')
			this.#options.handlers.log('warn', 'a workload is not reported', { id: workload.id, why })
		}
		return valid
	}

	#say(topic: string, message: unknown, isRetained = false): void {
		this.#outgoing = this.#outgoing.then(async () => {
			const bytes = await encodeMessage(message)
			if (bytes.length <= MESSAGE_BYTES_MAX) this.#connection.publish(topic, bytes, isRetained)
			else {
				const fields = { topic, bytes: bytes.length }
				this.#options.handlers.log('error', 'a message is too large to be sent', fields)
			}
		})
	}

	async #receive(message: IncomingMessage): Promise<void> {
		const { topic } = message
		if (topic === this.#stateTopic) {
			await this.#receiveState(message)
			return
		}
		const address = parseTopic(this.#options.identity.cluster, topic)
		if (address?.direction !== 'down' || address.node !== this.node) {
			this.#rejections.add('unexpectedTopic', topic, 'not one of this node')
		} else if (address.channel === 'ack') await this.#receiveAck(message)
		else if (address.channel === 'command') await this.#receiveCommand(message)
		else await this.#receiveDocument(address.channel, message)
	}

	async #receiveState({ topic, payload, isRetained }: IncomingMessage): Promise<void> {
		const state = await decodeMessage(controllerStateSchema, payload)
		if (!state.ok) this.#rejections.addUndecoded(topic, state.why)
		else if (this.#watch.observe(state.value, isRetained)) this.#greet()
	}

	async #receiveAck({ topic, payload }: IncomingMessage): Promise<void> {
		const ack = await decodeMessage(telemetryAckSchema, payload)
		if (!ack.ok) {
			this.#rejections.addUndecoded(topic, ack.why)
			return
		}
		this.#watch.answered()
		this.#window.ack(ack.value, topic)
	}

	async #receiveCommand({ topic, payload }: IncomingMessage): Promise<void> {
		const command = await decodeMessage(commandSchema, payload)
		if (!command.ok) {
			this.#rejections.addUndecoded(topic, command.why)
			return
		}
		this.#watch.answered()
		// Not waited for: a slow command holds up neither acknowledgements nor policy.
		void this.#commands.take(command.value)
	}

	async #receiveDocument(channel: string, message: IncomingMessage): Promise<void> {
		const [name, part, ...rest] = channel.split('/')
		const document = DOCUMENTS.find((known) => known === name)
		const isShard = part !== undefined && /^\d{1,2}$/.test(part) && Number(part) < SHARDS_MAX
		if (!document || rest.length > 0 || (part !== 'head' && !isShard)) {
			this.#rejections.add('unexpectedTopic', message.topic, 'nothing is expected there')
		} else if (isShard) this.#documents.onShard(document, message.payload)
		else await this.#documents.onHead(document, message.topic, message.payload)
	}

	async #command(command: Command['command']): Promise<{ ok: boolean; why?: string }> {
		if (command.kind !== 'resync') return this.#options.handlers.command(command)
		this.#greet()
		return { ok: true }
	}

	#announceLosses(): void {
		if (this.#isStopped) return
		const now = Date.now()
		if (now - this.#lossesAnnouncedAt < this.#options.timing.lossesEveryMs) return
		const records = this.#options.losses.take()
		if (records.length === 0) return
		this.#lossesAnnouncedAt = now
		this.#batcher.add(records)
	}

	/** Waits for the last acknowledgements; what they do not reach is sent at the next start. */
	async #drain(): Promise<void> {
		const { spool, timing } = this.#options
		const until = Date.now() + timing.drainMs
		while (this.#connection.isUp && !spool.isEmpty && Date.now() < until) {
			await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS))
		}
	}
}
