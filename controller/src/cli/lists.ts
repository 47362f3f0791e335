import type {
	ConversationResource,
	EventResource,
	GroupResource,
	NodeResource,
	RuleResource,
	WebhookResource,
	WorkloadResource,
} from '@ringfence/shared/contract/rest'
import { type Column, formatTime } from './output.ts'

/** A list that `ringfence get` knows: where it is, and its columns. */
export interface List {
	readonly path: string
	// biome-ignore lint/suspicious/noExplicitAny: each list has rows of its own; `list` below ties columns to them
	readonly columns: readonly Column<any>[]
}

export const LISTS: Readonly<Record<string, List>> = {
	nodes: list<NodeResource>('/v1/nodes', {
		ID: (row) => row.id,
		NAME: (row) => row.name,
		STATE: (row) => (row.isUp ? 'up' : 'down'),
		CAPTURE: (row) => captureText(row),
		POLICY: (row) => documentText(row, 'policy'),
		ADDRESSES: (row) => documentText(row, 'addresses'),
		'LAST SEEN': (row) => formatTime(row.lastSeenAt),
	}),
	workloads: list<WorkloadResource>('/v1/workloads', {
		ID: (row) => row.id,
		NAME: (row) => row.name,
		GROUP: (row) => row.group,
		NODE: (row) => row.nodeId,
		ADDRESSES: (row) => row.interfaces.flatMap((one) => one.addresses).join(','),
		STARTED: (row) => formatTime(row.startedAt),
	}),
	groups: list<GroupResource>('/v1/groups', {
		NAME: (row) => row.name,
		KIND: (row) => row.kind,
		MODE: (row) => row.mode,
		MEMBERS: (row) => row.members,
	}),
	rules: list<RuleResource>('/v1/rules', {
		ID: (row) => row.id,
		FROM: (row) => row.from,
		TO: (row) => row.to,
		APPLICATIONS: (row) => row.applications.join(','),
		PORTS: (row) => row.ports.join(','),
		ACTION: (row) => row.action,
		ORIGIN: (row) => (row.isLearned ? 'learned' : 'user'),
		ENABLED: (row) => (row.isEnabled ? 'yes' : 'no'),
	}),
	conversations: list<ConversationResource>('/v1/conversations', {
		CLIENT: (row) => row.client.name,
		SERVER: (row) => row.server.name,
		APPLICATION: (row) => row.application ?? 'unknown',
		PORT: (row) => row.serverPort,
		VERDICT: (row) => row.action,
		SESSIONS: (row) => row.sessions,
		BYTES: (row) => row.clientBytes + row.serverBytes,
		'LAST SEEN': (row) => formatTime(row.lastAt),
	}),
	events: list<EventResource>('/v1/events', {
		TIME: (row) => formatTime(row.at),
		SEVERITY: (row) => row.severity,
		KIND: (row) => row.kind,
		FROM: (row) => row.clientGroup ?? row.nodeId,
		TO: (row) => row.serverGroup,
		APPLICATION: (row) => row.application,
		COUNT: (row) => row.count,
		WHY: (row) => row.why,
	}),
	webhooks: list<WebhookResource>('/v1/webhooks', {
		ID: (row) => row.id,
		NAME: (row) => row.name,
		URL: (row) => row.url,
		KINDS: (row) => row.kinds.join(',') || 'all',
		FROM: (row) => row.severityMin,
		ENABLED: (row) => (row.isEnabled ? 'yes' : `no ${row.disabledWhy ?? ''}`),
	}),
}

function list<Row>(path: string, cells: Readonly<Record<string, Column<Row>['text']>>): List {
	return { path, columns: Object.entries(cells).map(([head, text]) => ({ head, text })) }
}

function captureText({ facts }: NodeResource): string {
	if (!facts) return '-'
	return facts.canCapture ? 'yes' : `no: ${facts.captureWhy ?? ''}`
}

function documentText({ documents }: NodeResource, name: string): string {
	const document = documents.find((one) => one.document === name)
	if (!document) return '-'
	const { generation, currentGeneration, state, isCurrent } = document
	return `${generation ?? '-'}/${currentGeneration}${isCurrent ? '' : ` ${state}`}`
}
