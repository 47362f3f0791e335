import { encodeMessage } from '@ringfence/shared/contract/codec'
import { agentTopics, parseTopic } from '@ringfence/shared/contract/topics'
import type { Bus, Clock, Log } from '../fleet/fleet.ts'
import type { Intake } from '../fleet/intake/intake.ts'
import { Refusal } from '../fleet/refusal.ts'
import { CHANNELS, type Channel, type Outcome } from './channels.ts'
import { createInbox } from './inbox.ts'
import type { OutgoingMessage } from './outgoing.ts'
import { createResync } from './resync.ts'
import { createTally } from './tally.ts'

/** A message that nobody sends again gets as many tries as there are pauses, and one more. */
const RETRY_AFTER_MS = [250, 1000]

export interface RouterOptions {
	readonly cluster: string
	readonly intake: Intake
	readonly bus: Bus
	readonly isKnownNode: (node: string) => Promise<boolean>
	readonly clock: Clock
	readonly log: Log
}

export interface Router {
	/** Takes what the bus received. Returns at once. */
	accept(message: OutgoingMessage): void
	/** Messages that were refused, dropped or failed, by reason. */
	counters(): Readonly<Record<string, number>>
	idle(): Promise<void>
	/** Drops what waits, and lets what has begun end. */
	stop(): Promise<void>
}

interface Letter extends OutgoingMessage {
	readonly name: string
	readonly channel: Channel
}

/** From topics to the domain: finds out whose and what a message is, reads it, hands it over and answers. */
export function createRouter(options: RouterOptions): Router {
	const tally = createTally('message refused', options.log, () => options.clock.now())
	const resync = createResync(options)
	const lose = (node: string, { name, channel }: Letter) => {
		// A result would be that of the last such command: nothing is missed, and it must not go on for ever.
		if (!channel.isAcknowledged && name !== 'result') resync.ask(node)
	}
	const inbox = createInbox<Letter>(
		(node, letter) =>
			handle(options, node, letter).then(
				(outcome) => {
					if (outcome !== undefined) tally.count(outcome, `${node} ${letter.name}`)
				},
				(error: unknown) => {
					if (isUnknownNode(error)) return tally.count('unknown-node', `${node} ${letter.name}`)
					tally.count('failed', `${node} ${letter.name}`)
					lose(node, letter)
					options.log('error', 'message not taken', {
						node,
						channel: letter.name,
						error: String(error),
					})
				},
			),
		(node, letter) => {
			tally.count('dropped', node)
			lose(node, letter)
		},
	)
	return {
		accept(message) {
			const address = parseTopic(options.cluster, message.topic)
			const name = address?.direction === 'presence' ? 'presence' : (address?.channel ?? '')
			const channel = CHANNELS.get(name)
			if (address === undefined || address.direction === 'down' || channel === undefined) {
				return tally.count('unknown-topic', message.topic)
			}
			// What clears a retained message, be it us, is no message.
			if (message.payload.length === 0) return
			inbox.put(address.node, { ...message, name, channel })
		},
		counters: tally.counters,
		idle: inbox.idle,
		stop() {
			resync.stop()
			return inbox.stop()
		},
	}
}

/** @returns why it is to be counted */
async function handle(
	options: RouterOptions,
	node: string,
	letter: Letter,
): Promise<string | undefined> {
	const { bus, intake, isKnownNode, log } = options
	// The will of a removed node arrives after the node is gone, and what it left retained whenever we connect.
	if (letter.isRetained || letter.name === 'presence') {
		if (!(await isKnownNode(node))) {
			await bus.publish(letter.topic, new Uint8Array(), { isRetained: true })
			return 'removed-node'
		}
	}
	const outcome = await handOver(letter.channel, () =>
		letter.channel.handle(intake, node, letter.payload),
	)
	if (outcome.ack !== undefined) {
		const topic = agentTopics(options.cluster, node).ack
		const payload = await encodeMessage(outcome.ack)
		bus.publish(topic, payload, { isRetained: false }).catch((error: unknown) => {
			// The agent sends the batch again, and hears then that it is taken.
			log('debug', 'acknowledgement not published', { node, error: String(error) })
		})
	}
	if (outcome.kind === 'taken') return undefined
	await intake.rejected(node, letter.name, outcome.why)
	return 'unreadable'
}

/** Once more, and again, when the domain fails: except for what the agent itself sends again. */
async function handOver(channel: Channel, attempt: () => Promise<Outcome>): Promise<Outcome> {
	for (const afterMs of channel.isAcknowledged ? [] : RETRY_AFTER_MS) {
		try {
			return await attempt()
		} catch (error) {
			if (isUnknownNode(error)) throw error
			await new Promise((resolve) => setTimeout(resolve, afterMs))
		}
	}
	return attempt()
}

/** What a removed node still says. */
function isUnknownNode(error: unknown): boolean {
	return error instanceof Refusal && error.code === 'not-found'
}
