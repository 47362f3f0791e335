import { formatAddress } from '@ringfence/shared/net/address'
import type { SessionStore } from '../session/session-store.ts'
import type { Flow, Inspection } from './inspection.ts'

/** Texts kept; a power of two. */
const SLOTS = 1024

/**
 * Writes addresses as text, and keeps the last texts: most sessions are between the same few addresses.
 * Measured: 20 ns for one that is kept; writing takes 54 ns (IPv4) or 1300 ns (IPv6).
 */
export class AddressTexts {
	readonly #words = new Int32Array(SLOTS * 4)
	readonly #scratch = new Int32Array(4)
	readonly #texts: (string | undefined)[] = Array.from({ length: SLOTS })

	/** Address of a session's client. */
	ofClient(store: SessionStore<Inspection>, flow: Flow): string {
		store.readClientAddress(flow, this.#scratch)
		return this.of(this.#scratch)
	}

	/** Address of a session's server. */
	ofServer(store: SessionStore<Inspection>, flow: Flow): string {
		store.readServerAddress(flow, this.#scratch)
		return this.of(this.#scratch)
	}

	/** Text of an address given as the four words of `shared/net/address`, signed. */
	of(words: Int32Array): string {
		const first = words[0] ?? 0
		const second = words[1] ?? 0
		const third = words[2] ?? 0
		const last = words[3] ?? 0
		const slot = Math.imul(Math.imul(first ^ second ^ third, 0x85ebca6b) ^ last, 0x9e3779b1) >>> 22
		const kept = this.#texts[slot]
		if (kept !== undefined && this.#isAt(slot * 4, words)) return kept
		const text = formatAddress([first >>> 0, second >>> 0, third >>> 0, last >>> 0])
		this.#texts[slot] = text
		this.#words.set(words, slot * 4)
		return text
	}

	#isAt(at: number, words: Int32Array): boolean {
		const kept = this.#words
		return (
			kept[at + 3] === words[3] &&
			kept[at + 2] === words[2] &&
			kept[at + 1] === words[1] &&
			kept[at] === words[0]
		)
	}
}
