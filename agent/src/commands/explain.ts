import { APPLICATIONS } from '@ringfence/shared/contract/application'
import { formatAddress, isV4 } from '@ringfence/shared/net/address'
import { ConfigError } from '../config.ts'
import type { PolicyDocuments } from '../policy/compile.ts'
import { endsNamed, explainSide, type Question, type SessionEnd } from '../policy/explain.ts'
import type { PolicyQuery } from '../policy/policy.ts'
import { type Explained, explanationJson, explanationText } from './explain-format.ts'
import { type PolicyFile, readPolicyFile } from './replay-policy.ts'

/** The words of the command line, unread. */
export interface ExplainOptions {
	readonly policyFile: string | undefined
	readonly from: string | undefined
	readonly to: string | undefined
	/** `tcp/80`, `udp/53`, `icmp/8` */
	readonly port: string | undefined
	/** Undefined: not recognised yet. */
	readonly application: string | undefined
	readonly isJson: boolean
	write(text: string): void
	/** Takes complaints. */
	say(text: string): void
}

/** Recognition ended without a name. */
const UNKNOWN = 'unknown'

/** IP protocol numbers (IANA) and the highest port or type (RFC 792: one octet). */
const PROTOCOLS: Readonly<Record<string, { v4: number; v6: number; numberMax: number }>> = {
	tcp: { v4: 6, v6: 6, numberMax: 65_535 },
	udp: { v4: 17, v6: 17, numberMax: 65_535 },
	icmp: { v4: 1, v6: 58, numberMax: 255 },
}

/**
 * Tells what a policy says about one session at either end, and which rule decides.
 * @returns exit code: 1 when the engine's look-up and the plain walk disagree, which is a bug
 * @throws ConfigError for words that mean nothing, or a session that no agent would see
 */
export function explain(options: ExplainOptions): number {
	const policy = readPolicyFile(required(options.policyFile, '--policy'))
	return report(explainQuestion(policy, readQuestion(policy.documents, options)), options)
}

/** Writes what came out. @returns exit code */
export function report(
	explained: Explained,
	{ isJson, write, say }: Pick<ExplainOptions, 'isJson' | 'write' | 'say'>,
): number {
	write(isJson ? explanationJson(explained) : explanationText(explained))
	const wrong = explained.sides.filter(({ agrees }) => !agrees)
	for (const { side, decision, scanned } of wrong) {
		const both = `${JSON.stringify(decision)} by look-up, ${JSON.stringify(scanned)} by scan`
		say(`the look-up and the path of rules disagree at the ${side}: ${both}\n`)
	}
	return wrong.length > 0 ? 1 : 0
}

/** Both sides of a session, as far as agents decide there. */
export function explainQuestion(policy: PolicyFile, question: Question): Explained {
	const sides = (['client', 'server'] as const).flatMap(
		(side) => explainSide(policy, question, side) ?? [],
	)
	return { documents: policy.documents, question, sides }
}

function readQuestion(documents: PolicyDocuments, options: ExplainOptions): Question {
	const { client, server } = pairOf(
		namedEnds(documents, required(options.from, '--from')),
		namedEnds(documents, required(options.to, '--to')),
	)
	if (client.workload === undefined && server.workload === undefined) {
		throw new ConfigError('neither end is a workload or node of the address map: no agent decides')
	}
	const { v4, v6, port } = readPort(required(options.port, '--port'))
	return {
		client,
		server,
		protocol: isV4(client.address) ? v4 : v6,
		port,
		application: readApplication(options.application),
	}
}

function required(text: string | undefined, option: string): string {
	if (text === undefined) throw new ConfigError(`explain needs ${option}`)
	return text
}

function namedEnds(documents: PolicyDocuments, text: string): SessionEnd[] {
	const ends = endsNamed(documents, text)
	if (ends.length > 0) return ends
	throw new ConfigError(
		`${JSON.stringify(text)} is neither an address nor a workload or node of the address map`,
	)
}

/** The first addresses of one family. */
function pairOf(
	clients: readonly SessionEnd[],
	servers: readonly SessionEnd[],
): { client: SessionEnd; server: SessionEnd } {
	for (const client of clients) {
		const server = servers.find(({ address }) => isV4(address) === isV4(client.address))
		if (server) return { client, server }
	}
	const texts = [...clients, ...servers].map(({ address }) => formatAddress(address))
	throw new ConfigError(`no two addresses of one family: ${texts.join(', ')}`)
}

function readPort(text: string): { v4: number; v6: number; port: number } {
	const [, name = '', digits = ''] = /^(tcp|udp|icmp)\/(\d{1,5})$/.exec(text) ?? []
	const protocol = PROTOCOLS[name]
	const port = Number(digits)
	if (!protocol || port > protocol.numberMax) {
		throw new ConfigError(`--port ${JSON.stringify(text)} is not like tcp/80, udp/53 or icmp/8`)
	}
	return { v4: protocol.v4, v6: protocol.v6, port }
}

function readApplication(text: string | undefined): PolicyQuery['application'] {
	if (text === undefined) return 'pending'
	if (text === UNKNOWN) return undefined
	const name = APPLICATIONS.find((application) => application === text)
	if (name) return name
	const names = [...APPLICATIONS, UNKNOWN].join(', ')
	throw new ConfigError(`--app ${JSON.stringify(text)} is none of ${names}`)
}
