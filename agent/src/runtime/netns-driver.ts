import { createHash } from 'node:crypto'
import { type FSWatcher, readdirSync, readFileSync, statfsSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { Workload } from '@ringfence/shared/contract/workload'
import { parseAddress } from '@ringfence/shared/net/address'
import type { RuntimeDriver, RuntimeEvent, WorkloadFacts } from './driver.ts'
import { type Labels, parseLabels, readLabelFile } from './labels.ts'
import { type InterfaceFacts, NamespaceView } from './namespace-view.ts'
import { tappedLinks } from './tapped-links.ts'

export interface NetnsOptions {
	/** Identity of the node, part of every workload's. */
	readonly node: string
	/** Where named namespaces are: `ip netns` keeps them in `/run/netns`. */
	readonly directory: string
	/** Only names that begin so are workloads. */
	readonly prefix: string
	/** Where `<name>.json` tells service, domain, image and labels. */
	readonly labelsDirectory: string
}

/** Limits of the contract. */
const WORKLOADS_MAX = 4096
const INTERFACES_MAX = 64
const ADDRESSES_MAX = 64

const RESCAN_MS = 1000
/** `ip netns add` makes the file first and mounts the namespace on it after: looks that follow a change. */
const LOOK_AFTER_MS = [5, 50, 250]
/** `linux/magic.h` */
const NSFS_MAGIC = 0x6e736673

/** Named network namespaces as workloads: looks at once and every second, and when their directories change. */
export class NetnsDriver implements RuntimeDriver {
	readonly #options: NetnsOptions
	readonly #emit: (event: RuntimeEvent) => void
	readonly #bootId = bootId()
	readonly #known = new Map<string, Known>()
	/** What was complained of, by subject. */
	readonly #problems = new Map<string, string>()
	readonly #watchers = new Map<string, FSWatcher>()
	readonly #rescan: NodeJS.Timeout
	#looks: NodeJS.Timeout[] = []

	constructor(options: NetnsOptions, emit: (event: RuntimeEvent) => void) {
		this.#options = options
		this.#emit = emit
		this.#rescan = setInterval(() => this.#look(), RESCAN_MS)
		this.#look()
	}

	workloads(): readonly WorkloadFacts[] {
		return [...this.#known.values()].map(({ facts }) => facts)
	}

	stop(): void {
		clearInterval(this.#rescan)
		for (const timer of this.#looks) clearTimeout(timer)
		for (const watcher of this.#watchers.values()) watcher.close()
		for (const { view } of this.#known.values()) view.close()
		this.#known.clear()
	}

	#look(): void {
		const { directory, labelsDirectory } = this.#options
		this.#watch(directory)
		this.#watch(labelsDirectory)
		const found = this.#find()
		for (const [name, known] of this.#known) {
			if (found.get(name) !== known.file) this.#forget(name, known)
		}
		for (const [name, file] of found) this.#follow(name, file)
	}

	/** Names of namespaces with what tells their files apart. */
	#find(): Map<string, string> {
		const { directory, prefix } = this.#options
		const own = fileOf('/proc/thread-self/ns/net')
		const found = new Map<string, string>()
		/** One namespace is one workload, however many names it has: its sessions would count twice. */
		const files = new Map<string, string>()
		const names = this.#attempt('directory', () => namesIn(directory)) ?? []
		for (const name of names.sort()) {
			if (!name.startsWith(prefix)) continue
			const file = fileOf(join(directory, name))
			const other = file === undefined ? undefined : files.get(file)
			const twice = `namespace ${name} is ${other} under a second name, which is left out`
			this.#complain(`name ${name}`, other === undefined ? undefined : twice)
			if (file === undefined || file === own || other !== undefined) continue
			found.set(name, file)
			files.set(file, name)
			if (found.size === WORKLOADS_MAX) break
		}
		const message = `only the first ${WORKLOADS_MAX} namespaces are workloads`
		this.#complain('count', found.size === WORKLOADS_MAX ? message : undefined)
		return found
	}

	#follow(name: string, file: string): void {
		const known = this.#known.get(name)
		this.#attempt(`namespace ${name}`, () => {
			if (known) this.#update(name, known)
			else this.#discover(name, file)
		})
	}

	#discover(name: string, file: string): void {
		const namespace = join(this.#options.directory, name)
		const view = new NamespaceView(namespace)
		try {
			// The file may have become another namespace since it was found.
			if (fileOf(namespace) !== file) throw new Error('it changed while it was opened')
			const identity = {
				id: this.#idOf(name, file, view.cookie()),
				name,
				startedAt: Math.max(Math.floor(statSync(namespace).mtimeMs), 0),
			}
			const labels = stampOf(this.#labelsPath(name))
			const facts = this.#factsOf(identity, view)
			const text = JSON.stringify(facts)
			this.#known.set(name, { file, view, facts, text, labels, isStale: false })
			this.#emit({ kind: 'workload-up', facts })
		} catch (error) {
			view.close()
			throw error
		}
	}

	#update(name: string, known: Known): void {
		const labels = stampOf(this.#labelsPath(name))
		known.isStale ||= labels !== known.labels || known.view.hasChanged()
		if (!known.isStale) return
		const facts = this.#factsOf(known.facts.workload, known.view)
		const text = JSON.stringify(facts)
		this.#known.set(name, { ...known, facts, text, labels, isStale: false })
		if (text !== known.text) this.#emit({ kind: 'workload-changed', facts })
	}

	#forget(name: string, { view, facts }: Known): void {
		this.#known.delete(name)
		view.close()
		this.#emit({ kind: 'workload-gone', facts })
	}

	#factsOf(
		identity: Pick<Workload, 'id' | 'name' | 'startedAt'>,
		view: NamespaceView,
	): WorkloadFacts {
		const { id, name, startedAt } = identity
		const all = view.interfaces()
		const interfaces = all
			.filter(({ isLoopback, isEthernet }) => isEthernet && !isLoopback)
			.slice(0, INTERFACES_MAX)
		const workload: Workload = {
			id,
			name,
			runtime: 'netns',
			...this.#labelsOf(name),
			interfaces: interfaces.map(interfaceOf),
			startedAt,
		}
		const namespace = join(this.#options.directory, name)
		const taps = tappedLinks(all).slice(0, INTERFACES_MAX)
		return {
			workload,
			namespace,
			interfaces: taps.map(({ name: its, index, mac }) => ({ name: its, index, mac })),
			ownAddresses: ownAddresses(all),
		}
	}

	#labelsOf(name: string): Labels {
		const path = this.#labelsPath(name)
		const text = this.#attempt(`label file ${path}`, () => readLabelFile(path))
		const { labels, why } = parseLabels(name, text)
		this.#complain(`labels ${name}`, why === undefined ? undefined : `label file ${path}: ${why}`)
		return labels
	}

	#labelsPath(name: string): string {
		return join(this.#options.labelsDirectory, `${name}.json`)
	}

	/** Stable while the namespace lives, also over restarts of the agent. */
	#idOf(name: string, file: string, cookie: bigint | undefined): string {
		const parts = [this.#options.node, 'netns', name, file, this.#bootId, String(cookie)]
		return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 32)
	}

	/** Does one thing that the world may refuse; the refusal is told once. */
	#attempt<Result>(subject: string, work: () => Result): Result | undefined {
		try {
			const result = work()
			this.#complain(subject, undefined)
			return result
		} catch (error) {
			const why = error instanceof Error ? error.message : String(error)
			this.#complain(subject, `${subject}: ${why}`)
			return undefined
		}
	}

	#complain(subject: string, message: string | undefined): void {
		if (message === this.#problems.get(subject)) return
		if (message === undefined) this.#problems.delete(subject)
		else {
			this.#problems.set(subject, message)
			this.#emit({ kind: 'problem', name: 'runtime-problem', message })
		}
	}

	/** Looks soon after changes; a directory that is not there yet is tried at the next look. */
	#watch(directory: string): void {
		if (this.#watchers.has(directory)) return
		try {
			const watcher = watch(directory, () => this.#lookSoon())
			watcher.on('error', () => this.#unwatch(directory))
			this.#watchers.set(directory, watcher)
		} catch {
			// The rescan finds what a watcher would have told.
		}
	}

	#unwatch(directory: string): void {
		this.#watchers.get(directory)?.close()
		this.#watchers.delete(directory)
	}

	#lookSoon(): void {
		for (const timer of this.#looks) clearTimeout(timer)
		this.#looks = LOOK_AFTER_MS.map((ms) => setTimeout(() => this.#look(), ms))
	}
}

interface Known {
	/** Device, inode and age of the namespace's file. */
	readonly file: string
	readonly view: NamespaceView
	readonly facts: WorkloadFacts
	readonly text: string
	/** What tells the label file from an earlier one. */
	readonly labels: string
	/** It changed, and could not be looked at since. */
	isStale: boolean
}

/** A file written so shortly before may be written again without its time telling. */
const SETTLED_MS = 1000

/** Differs when the file does; of one that was just written, every time. */
function stampOf(path: string): string {
	const file = statSync(path, { throwIfNoEntry: false })
	if (!file) return ''
	const now = Date.now()
	const isSettled = Math.abs(now - file.ctimeMs) > SETTLED_MS
	return `${file.ino} ${file.size} ${file.ctimeMs} ${isSettled ? '' : now}`
}

/** What tells a namespace from others: no two that exist share it. Undefined for what is no namespace, or not yet. */
function fileOf(path: string): string | undefined {
	try {
		if (statfsSync(path).type !== NSFS_MAGIC) return undefined
		const { dev, ino } = statSync(path)
		return `${dev}:${ino}`
	} catch {
		return undefined
	}
}

function namesIn(directory: string): string[] {
	try {
		return readdirSync(directory)
	} catch (error) {
		// Made by the first `ip netns add`.
		if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
		throw error
	}
}

function interfaceOf({ name, mac, addresses }: InterfaceFacts): Workload['interfaces'][number] {
	const kept = addresses.filter((text) => !isLinkLocal(text)).slice(0, ADDRESSES_MAX)
	return { name, mac, addresses: kept }
}

/** Also those of loopback and tunnels. Undefined where nothing is forwarded. */
function ownAddresses(all: readonly InterfaceFacts[]): readonly string[] | undefined {
	if (!all.some(({ isForwarding, isLoopback }) => isForwarding && !isLoopback)) return undefined
	return all.flatMap(({ addresses }) => addresses.map((text) => text.split('/')[0] ?? ''))
}

/** fe80::/10 (RFC 4291 §2.5.6): every link has its own, so it names nobody. */
function isLinkLocal(text: string): boolean {
	const first = parseAddress(text.split('/')[0] ?? '')?.[0] ?? 0
	return (first & 0xffc0_0000) >>> 0 === 0xfe80_0000
}

/** Another one after each start of the machine: namespace numbers begin anew then. */
function bootId(): string {
	return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}
