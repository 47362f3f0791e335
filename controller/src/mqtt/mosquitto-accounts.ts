import { idSchema } from '@ringfence/shared/contract/text'
import { agentTopics, controllerTopics } from '@ringfence/shared/contract/topics'
import { z } from 'zod'
import type { BrokerAccounts, Bus, Log } from '../fleet/fleet.ts'
import type { OutgoingMessage } from './outgoing.ts'

/** Requests and answers of Mosquitto's dynamic security plugin (mosquitto 2.0, plugins/dynamic-security/README.md). */
const REQUEST_TOPIC = '$CONTROL/dynamic-security/v1'
const RESPONSE_TOPIC = '$CONTROL/dynamic-security/v1/response'
/** From the broker's acknowledgement of the request to the plugin's answer. */
const ANSWER_MS = 10_000
/** What deleting says of something that isn't there. */
const NOT_FOUND = /not found/i

/** The broker did not make or remove an account. */
class BrokerAccountError extends Error {
	readonly code = 'broker-account'
}

export interface MosquittoAccounts extends BrokerAccounts {
	/** The bus must subscribe to these and hand over what arrives. */
	readonly filters: readonly string[]
	/** @returns whether the message was an answer of the plugin */
	accept(message: OutgoingMessage): boolean
}

interface Command {
	readonly command: string
	readonly [parameter: string]: unknown
}

const responsesSchema = z.object({
	responses: z
		.array(
			z.object({
				command: z.string().optional(),
				correlationData: z.string().optional(),
				error: z.string().optional(),
			}),
		)
		.max(16),
})

/**
 * Accounts of nodes at an external Mosquitto: for each node one client and one role with exactly its topics. Version 2.0 of
 * the plugin knows no user names in topics of roles, hence a role for each.
 */
export function createMosquittoAccounts(options: {
	/** Late, because the bus in turn hands answers to this. */
	readonly bus: () => Bus
	readonly cluster: string
	/** The account that the controller itself uses. */
	readonly ownName: string
}): MosquittoAccounts {
	const requests = new Map<string, (errors: readonly (string | undefined)[]) => void>()
	let counter = 0

	async function request(commands: readonly Command[]): Promise<readonly (string | undefined)[]> {
		counter += 1
		const correlationData = `rf-${counter}`
		const body = { commands: commands.map((command) => ({ ...command, correlationData })) }
		const answered = new Promise<readonly (string | undefined)[]>((resolve) => {
			requests.set(correlationData, resolve)
		})
		let timer: NodeJS.Timeout | undefined
		try {
			const payload = new TextEncoder().encode(JSON.stringify(body))
			await options.bus().publish(REQUEST_TOPIC, payload, { isRetained: false })
			const late = new Promise<never>((_, reject) => {
				const error = new BrokerAccountError('the dynamic security plugin does not answer')
				timer = setTimeout(() => reject(error), ANSWER_MS)
			})
			return await Promise.race([answered, late])
		} finally {
			clearTimeout(timer)
			requests.delete(correlationData)
		}
	}

	/** A wildcard in an id would open the topics of others: the plugin takes any. */
	function checkId(node: string): void {
		if (!idSchema.safeParse(node).success || node === options.ownName) {
			throw new BrokerAccountError('this id cannot be a node')
		}
	}

	/** Deleting first makes a second enrolment of a node exact, and ends connections with the old password. */
	async function run(removals: readonly Command[], additions: readonly Command[]): Promise<void> {
		const commands = [...removals, ...additions]
		const errors = await request(commands)
		for (const [i, { command }] of commands.entries()) {
			const error = i < errors.length ? errors[i] : 'no answer'
			if (error === undefined || (i < removals.length && NOT_FOUND.test(error))) continue
			throw new BrokerAccountError(`broker: ${command}: ${error}`)
		}
	}

	return {
		filters: [RESPONSE_TOPIC],
		accept({ topic, payload }) {
			if (topic !== RESPONSE_TOPIC) return false
			const responses = parseResponses(payload)
			const answer = requests.get(responses[0]?.correlationData ?? '')
			answer?.(responses.map(({ error }) => error))
			return true
		},
		async provision(node, password) {
			checkId(node)
			await run(deletions(node), creations(options.cluster, node, password))
		},
		async revoke(node) {
			checkId(node)
			await run(deletions(node), [])
		},
	}
}

/** For a broker whose accounts somebody else keeps: says what is to be done, and does nothing. */
export function createForeignAccounts(log: Log): BrokerAccounts {
	const tell = (what: string) => async (node: string) =>
		log('warn', `accounts of this broker are kept by its operator: ${what}`, { node })
	return {
		provision: tell('the node needs one, with its id as user name and client id'),
		revoke: tell('remove the account of the removed node'),
	}
}

function parseResponses(payload: Uint8Array) {
	try {
		return responsesSchema.parse(JSON.parse(new TextDecoder().decode(payload))).responses
	} catch {
		return []
	}
}

function deletions(node: string): Command[] {
	return [
		{ command: 'deleteClient', username: node },
		{ command: 'deleteRole', rolename: roleOf(node) },
	]
}

function creations(cluster: string, node: string, password: string): Command[] {
	return [
		{
			command: 'createRole',
			rolename: roleOf(node),
			textname: `Ringfence agent of node ${node}`,
			acls: aclsOf(cluster, node),
		},
		{
			command: 'createClient',
			username: node,
			password,
			// Otherwise a node could push another client out by taking its client id.
			clientid: node,
			roles: [{ rolename: roleOf(node) }],
		},
	]
}

function aclsOf(cluster: string, node: string) {
	const topics = agentTopics(cluster, node)
	const { state } = controllerTopics(cluster)
	const allow = (acltype: string, topic: string) => ({ acltype, topic, priority: 0, allow: true })
	return [
		allow('publishClientSend', topics.downFilter.replace(/down\/#$/, 'up/#')),
		allow('publishClientSend', topics.presence),
		allow('publishClientReceive', topics.downFilter),
		allow('publishClientReceive', state),
		allow('subscribePattern', topics.downFilter),
		allow('subscribeLiteral', state),
	]
}

function roleOf(node: string): string {
	return `node-${node}`
}
