import type { RuleEntry } from '@ringfence/shared/contract/policy'
import { formatAddress } from '@ringfence/shared/net/address'
import type { PolicyDocuments } from '../policy/compile.ts'
import {
	type Explanation,
	groupsOfEnd,
	type Outcome,
	type Question,
	type SessionEnd,
	type Step,
	type StepResult,
} from '../policy/explain.ts'
import type { Decision } from '../policy/policy.ts'

/** A session, and what each agent on its way decides. */
export interface Explained {
	readonly documents: PolicyDocuments
	readonly question: Question
	readonly sides: readonly Explanation[]
}

/** What became of a rule, for people. */
const RESULTS: Readonly<Record<StepResult, (rule: RuleEntry) => string>> = {
	decides: ({ action }) => `matches: ${action}`,
	waits: ({ action }) => `waits for the application: ${action}`,
	from: ({ from }) => `no: the client is not in ${from}`,
	to: ({ to }) => `no: the server is not in ${to}`,
	port: () => 'no: port',
	application: () => 'no: application',
}

/** C0, DEL and C1 (ECMA-48), which a terminal would obey: names in the file may be anybody's. */
const CONTROL = /\p{Cc}/gu

/** For people. */
export function explanationText({ documents, question, sides }: Explained): string {
	const { client, server } = question
	const lines = [
		endText('from', documents, client),
		endText('to', documents, server),
		`${portText(question)}, ${applicationText(question)}`,
		...sides.flatMap(sideLines),
		...(['client', 'server'] as const)
			.filter((side) => !sides.some((one) => one.side === side))
			.map((side) => `\nat the ${side}'s port: no agent decides there`),
	]
	return lines.map((line) => `${escapeLine(line)}\n`).join('')
}

/** One object, for programs. */
export function explanationJson({ documents, question, sides }: Explained): string {
	const { client, server, protocol, port, application } = question
	return `${JSON.stringify({
		from: endJson(documents, client),
		to: endJson(documents, server),
		protocol,
		port,
		application: application ?? null,
		sides: sides.map(sideJson),
	})}\n`
}

function endJson(documents: PolicyDocuments, end: SessionEnd) {
	return {
		address: formatAddress(end.address),
		workload: end.workload ?? null,
		groups: groupsOfEnd(documents, end),
	}
}

function sideJson(side: Explanation) {
	return {
		side: side.side,
		workload: side.workload,
		mode: side.mode,
		verdict: decisionJson(side.decision),
		agrees: side.agrees,
		path: side.steps.map(({ rule, result }) => ({ rule: rule.id, result })),
		unrelated: side.unrelated,
		unread: side.unread,
		outcomes: side.outcomes.map(({ application, decision }) => ({
			application: application ?? null,
			verdict: decisionJson(decision),
		})),
	}
}

function decisionJson({ action, rule, why }: Decision) {
	return { action, rule: rule ?? null, why }
}

function endText(word: string, documents: PolicyDocuments, end: SessionEnd): string {
	const { address, workload, groups } = endJson(documents, end)
	const owner = workload === null ? 'no workload' : `workload ${workload}`
	const its = groups.length > 0 ? `groups ${groups.join(', ')}` : 'no groups'
	return `${word.padEnd(6)}${address}  ${owner}, ${its}`
}

function portText({ protocol, port }: Question): string {
	const name = protocol === 6 ? 'tcp' : protocol === 17 ? 'udp' : 'icmp'
	return `${name}/${port}`
}

function applicationText({ application }: Question): string {
	if (application === undefined) return 'application unknown'
	return application === 'pending' ? 'application not named yet' : `application ${application}`
}

function sideLines(side: Explanation): string[] {
	const { action, why } = side.decision
	const isDecided = side.steps.some(({ result }) => result === 'decides')
	const fallback = side.outcomes.at(-1)?.decision ?? side.decision
	return [
		`\nat the ${side.side}'s port (${side.workload}, ${side.mode}): ${action}, ${why}`,
		...side.steps.map(stepText),
		...(side.unrelated > 0 ? [`  ${side.unrelated} rules between other groups`] : []),
		...(isDecided ? [] : [`  no rule left: ${fallback.action}, ${fallback.why}`]),
		...(side.unread > 0 ? [`  ${side.unread} rules come after`] : []),
		...side.outcomes.map(outcomeText),
	]
}

function stepText({ rule, result }: Step): string {
	const { id, from, to, ports, applications } = rule
	const what = `${from} -> ${to}  ${ports.join(',')}  ${applications.join(',')}`
	return `  rule ${id}  ${what}  ${RESULTS[result](rule)}`
}

function outcomeText({ application, decision }: Outcome): string {
	return `  as ${(application ?? 'any other').padEnd(10)} ${decision.action}, ${decision.why}`
}

/** A leading line break is ours. */
function escapeLine(line: string): string {
	const head = line.startsWith('\n') ? '\n' : ''
	return (
		head +
		line
			.slice(head.length)
			.replace(CONTROL, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
	)
}
