import { encodeMessage } from '@ringfence/shared/contract/codec'
import type { Head, SignedHead } from '@ringfence/shared/contract/messages'
import { agentTopics, DOCUMENTS, type DocumentName } from '@ringfence/shared/contract/topics'
import { CONTRACT_VERSION } from '@ringfence/shared/contract/version'
import { eq } from 'drizzle-orm'
import { nodes, settings } from '../../db/schema.ts'
import { type Cluster, ensureCluster, randomHex } from '../cluster.ts'
import type { Fleet } from '../fleet.ts'
import { readDocument, readGeneration } from './documents.ts'
import { makeShards, type Shard } from './shards.ts'

/** Brings desired documents to the nodes, as retained messages. */
export interface Publisher {
	/**
	 * Publishes everything to every node: after each connection to the broker, which may have lost what it retained.
	 * Resolves after the attempt; what failed is tried again by itself.
	 */
	publishAll(): Promise<void>
	/** Publishes what is new soon; calls close together are one. */
	changed(): void
	/** Waits until nothing is going on any more, but for retries. */
	settled(): Promise<void>
	/** Stops; a publication under way ends. */
	close(): Promise<void>
}

/** A change after a quiet time goes out at once, but for the writes that belong to it. */
const FIRST_MS = 5
/** Rounds are at least so far apart: a burst of writes makes a few publications. */
const JOIN_MS = 50

/** Pauses between attempts after failures. */
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 30_000

/** Nodes that are published to at the same time. */
const PARALLEL_NODES = 16

/** Who published last, in `settings`: another controller's publication makes what we remember of the broker worthless. */
const HOLDER_KEY = 'publisher'

export function createPublisher(fleet: Fleet): Publisher {
	return new RetainedPublisher(fleet)
}

interface MadeDocument {
	readonly document: DocumentName
	readonly generation: number
	readonly shards: readonly Shard[]
	/** The most shards that it ever had: brokers may retain so many. */
	readonly shardsMax: number
}

interface NodeRow {
	readonly id: string
	readonly helloAt: number | null
}

/** What the broker holds for a node, as far as we put it there. */
interface Published {
	/** Hello that it came after: a new one asks for everything. */
	readonly helloAt: number | null
	/** `<epoch>.<generation>` of the head. */
	readonly heads: Map<DocumentName, string>
	readonly digests: Map<string, string>
}

class RetainedPublisher implements Publisher {
	readonly #fleet: Fleet
	readonly #self = randomHex(8)
	#published = new Map<string, Published>()
	#epoch: number | undefined
	#made = new Map<DocumentName, MadeDocument>()
	#timer: ReturnType<typeof setTimeout> | undefined
	#retryMs = RETRY_MS_MIN
	/** When the latest round began. */
	#lastRoundAt = 0
	#running: Promise<void> | undefined
	#isWanted = false
	#isClosed = false

	constructor(fleet: Fleet) {
		this.#fleet = fleet
	}

	async publishAll(): Promise<void> {
		this.#published = new Map()
		await this.#start()
	}

	changed(): void {
		const quietMs = this.#fleet.clock.now() - this.#lastRoundAt
		this.#wakeIn(Math.min(Math.max(JOIN_MS - quietMs, FIRST_MS), JOIN_MS))
	}

	async settled(): Promise<void> {
		while (this.#running !== undefined) await this.#running
	}

	async close(): Promise<void> {
		this.#isClosed = true
		clearTimeout(this.#timer)
		await this.settled()
	}

	#wakeIn(delayMs: number): void {
		if (this.#timer !== undefined || this.#isClosed) return
		this.#timer = setTimeout(() => void this.#start(), delayMs)
	}

	/** One round at a time; a call during a round makes another follow it. */
	#start(): Promise<void> {
		clearTimeout(this.#timer)
		this.#timer = undefined
		this.#isWanted = true
		this.#running ??= this.#rounds().finally(() => {
			this.#running = undefined
		})
		return this.#running
	}

	async #rounds(): Promise<void> {
		while (this.#isWanted && !this.#isClosed) {
			this.#isWanted = false
			try {
				await this.#round()
				this.#retryMs = RETRY_MS_MIN
			} catch (error) {
				const why = error instanceof Error ? error.message : String(error)
				this.#fleet.log('warn', 'publishing desired documents failed', { why })
				this.#wakeIn(this.#retryMs)
				this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX)
			}
		}
	}

	async #round(): Promise<void> {
		const { store, clock } = this.#fleet
		this.#lastRoundAt = clock.now()
		const cluster = await ensureCluster(this.#fleet)
		this.#noteEpoch(cluster.epoch)
		await this.#takeTurn()
		const documents: MadeDocument[] = []
		for (const document of DOCUMENTS) documents.push(await this.#make(document))
		const rows = await store.db.select({ id: nodes.id, helloAt: nodes.helloAt }).from(nodes)
		const published = this.#published
		for (const id of published.keys()) if (!rows.some((row) => row.id === id)) published.delete(id)
		await forEachParallel(rows, async (node) => {
			const publication = new Publication(this.#fleet, cluster, node, before(published, node))
			published.set(node.id, publication.state)
			for (const made of documents) await publication.publish(made)
		})
	}

	#noteEpoch(epoch: number): void {
		if (this.#epoch !== undefined && epoch !== this.#epoch) {
			const before = this.#epoch
			this.#fleet.log('warn', 'a new epoch: every document is published anew', { epoch, before })
		}
		this.#epoch = epoch
	}

	async #takeTurn(): Promise<void> {
		const { store } = this.#fleet
		const [holder] = await store.db.select().from(settings).where(eq(settings.key, HOLDER_KEY))
		if (holder?.value === this.#self) return
		this.#published = new Map()
		await store.write(async (tx) => {
			await tx
				.insert(settings)
				.values({ key: HOLDER_KEY, value: this.#self })
				.onConflictDoUpdate({ target: settings.key, set: { value: this.#self } })
		})
	}

	/** Writes down how many shards there will be before the first is published. @returns the most there ever were */
	async #noteShards(document: DocumentName, shards: number): Promise<number> {
		const { store } = this.#fleet
		const key = shardsKey(document)
		const [row] = await store.db.select().from(settings).where(eq(settings.key, key))
		const most = Number(row?.value ?? 0)
		if (shards <= most) return most
		await store.write(async (tx) => {
			await tx
				.insert(settings)
				.values({ key, value: shards })
				.onConflictDoUpdate({ target: settings.key, set: { value: shards } })
		})
		return shards
	}

	/** The same bytes for every node, made once for each generation. */
	async #make(document: DocumentName): Promise<MadeDocument> {
		const { db } = this.#fleet.store
		const last = this.#made.get(document)
		if (last && last.generation === (await readGeneration(db, document))) return last
		const { generation, entries, truncated } = await readDocument(db, document)
		if (truncated !== undefined) this.#fleet.log('error', truncated, { document })
		const shards = await makeShards(entries)
		const shardsMax = await this.#noteShards(document, shards.length)
		const made = { document, generation, shards, shardsMax }
		this.#made.set(document, made)
		return made
	}
}

/** Where the number of shards is kept that brokers may retain of a document, in `settings`. */
function shardsKey(document: DocumentName): string {
	return `shards.${document}`
}

function before(published: ReadonlyMap<string, Published>, node: NodeRow): Published {
	const known = published.get(node.id)
	if (known && known.helloAt === node.helloAt) return known
	return { helloAt: node.helloAt, heads: new Map(), digests: new Map() }
}

/** In place of a digest: the broker retains nothing there. */
const CLEARED = ''

/** Documents of one node on their way. */
class Publication {
	readonly state: Published
	readonly #fleet: Fleet
	readonly #cluster: Cluster
	readonly #node: string

	constructor(fleet: Fleet, cluster: Cluster, node: NodeRow, state: Published) {
		this.#fleet = fleet
		this.#cluster = cluster
		this.#node = node.id
		this.state = state
	}

	/** Shards first, then the head that names them: nobody sees a head whose shards are not there. */
	async publish(made: MadeDocument): Promise<void> {
		const { document, generation, shards } = made
		const topics = agentTopics(this.#cluster.id, this.#node)
		const changed = shards
			.map(({ bytes, sha256 }, index) => ({ bytes, sha256, topic: topics.shard(document, index) }))
			.filter(({ topic, sha256 }) => this.state.digests.get(topic) !== sha256)
		const version = `${this.#cluster.epoch}.${generation}`
		if (changed.length === 0 && this.state.heads.get(document) === version) return
		// Until it is known what the broker has, nothing is taken to be there.
		this.state.heads.delete(document)
		await Promise.all(changed.map((shard) => this.#retain(shard)))
		const head = await encodeMessage(await this.#sign(made))
		await this.#fleet.bus.publish(topics.head(document), head, { isRetained: true })
		await this.#clearBeyond(made)
		this.state.heads.set(document, version)
	}

	async #retain({ topic, bytes, sha256 }: Shard & { readonly topic: string }): Promise<void> {
		this.state.digests.delete(topic)
		await this.#fleet.bus.publish(topic, bytes, { isRetained: true })
		this.state.digests.set(topic, sha256)
	}

	/** Clears what a broker retains of a time with more shards: an empty message does (MQTT 3.1.1 §3.3.1.3). */
	async #clearBeyond({ document, shards, shardsMax }: MadeDocument): Promise<void> {
		const topics = agentTopics(this.#cluster.id, this.#node)
		for (let index = shards.length; index < shardsMax; index++) {
			const topic = topics.shard(document, index)
			if (this.state.digests.get(topic) !== CLEARED) {
				await this.#retain({ topic, bytes: new Uint8Array(), sha256: CLEARED })
			}
		}
	}

	async #sign({ document, generation, shards }: MadeDocument): Promise<SignedHead> {
		const { id: cluster, epoch, keyId, sign } = this.#cluster
		const head: Head = {
			v: CONTRACT_VERSION,
			cluster,
			node: this.#node,
			document,
			epoch,
			generation,
			at: this.#fleet.clock.now(),
			shards: shards.map(({ sha256 }) => sha256),
		}
		const body = JSON.stringify(head)
		return { v: CONTRACT_VERSION, body, signature: await sign(body), keyId }
	}
}

/**
 * Works on some items at a time. What the broker refuses concerns one item, and the others go on; any other failure concerns
 * all, and stops when those under way have ended. Either is thrown at the end.
 */
async function forEachParallel<Item>(
	items: readonly Item[],
	work: (item: Item) => Promise<void>,
): Promise<void> {
	const queue = [...items]
	let failure: unknown
	const worker = async () => {
		for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
			try {
				await work(item)
			} catch (error) {
				failure = error
				if (!isRefusal(error)) queue.length = 0
			}
		}
	}
	await Promise.all(Array.from({ length: PARALLEL_NODES }, worker))
	if (failure !== undefined) throw failure
}

function isRefusal(error: unknown): boolean {
	return error instanceof Error && 'code' in error && error.code === 'refused'
}
