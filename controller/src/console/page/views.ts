import type {
	ConversationResource,
	EventResource,
	GroupResource,
	NodeResource,
	PolicyStatus,
	RuleResource,
	WorkloadResource,
} from '@ringfence/shared/contract/rest'
import { type Page, read, readAll, send } from './api.ts'
import {
	bytesText,
	type Child,
	type Column,
	choice,
	h,
	pill,
	type Tone,
	table,
	timeText,
} from './dom.ts'

/** What a view may ask of the page around it. */
export interface Desk {
	/** Whether the person may change things; the controller checks again. */
	readonly canWrite: boolean
	/** Newest events first, live. */
	readonly events: readonly EventResource[]
	/** Runs a change, shows what went wrong, and shows the view anew. */
	change(work: () => Promise<unknown>): void
	/** Shows the view anew. */
	refresh(): void
}

/** A page of the console: makes its content from what the controller answers. */
export type View = (desk: Desk) => Promise<Child[]>

/** Pages by the name in the address, in the order of the menu. */
export const VIEWS: Readonly<Record<string, View>> = {
	overview,
	nodes,
	workloads,
	groups,
	rules,
	conversations,
	events,
}

const MODES = ['discover', 'monitor', 'protect']
const DAY_MS = 86_400_000

async function overview(desk: Desk): Promise<Child[]> {
	const [status, workloadList, groupList, violations] = await Promise.all([
		read<PolicyStatus>('/v1/policy/status'),
		readAll<WorkloadResource>('/v1/workloads'),
		readAll<GroupResource>('/v1/groups'),
		read<Page<EventResource>>(`/v1/events?kind=violation&limit=500&since=${Date.now() - DAY_MS}`),
	])
	const inMode = (mode: string) => groupList.filter((group) => group.mode === mode).length
	const more = violations.next === null ? '' : '+'
	return [
		h('h1', {}, 'Overview'),
		h(
			'div',
			{ class: 'cards' },
			card('nodes', `${status.nodesUp} of ${status.nodes}`, 'nodes up'),
			card('workloads', workloadList.length, 'workloads'),
			card(
				'groups',
				groupList.length,
				`groups: ${MODES.map((mode) => `${inMode(mode)} ${mode}`).join(', ')}`,
			),
			card('events', `${violations.items.length}${more}`, 'violations in 24 hours'),
		),
		h(
			'section',
			{ class: 'panel' },
			h('h2', {}, 'Policy'),
			...status.documents.map(convergence(status)),
		),
		h(
			'section',
			{ class: 'panel' },
			h('h2', {}, 'Latest events'),
			eventTable(desk.events.slice(0, 8)),
		),
	]
}

function card(page: string, figure: string | number, text: string): HTMLElement {
	return h(
		'a',
		{ class: 'panel', href: `#/${page}` },
		h('div', { class: 'figure' }, figure),
		h('div', { class: 'quiet' }, text),
	)
}

function convergence({ nodes: all }: PolicyStatus) {
	return (document: PolicyStatus['documents'][number]): HTMLElement => {
		const { applied, rejected, behind } = document
		const rest = [rejected > 0 && `${rejected} rejected it`, behind > 0 && `${behind} behind`]
		const told = [`${applied} of ${all} nodes run it`, ...rest].filter(Boolean).join(', ')
		return h(
			'p',
			{},
			`${document.document}, generation ${document.currentGeneration}: ${told}`,
			h('progress', {
				value: String(applied),
				max: String(Math.max(all, 1)),
				'aria-label': `${document.document} applied`,
			}),
		)
	}
}

async function nodes(): Promise<Child[]> {
	const rows = await readAll<NodeResource>('/v1/nodes')
	return page(
		'Nodes',
		[
			{ head: 'Node', cell: (row) => row.name },
			{ head: 'State', cell: (row) => (row.isUp ? pill('up', 'good') : pill('down', 'bad')) },
			{ head: 'Capture', cell: ({ facts }) => capturePill(facts) },
			...(['policy', 'addresses'] as const).map(documentColumn),
			{ head: 'System', cell: ({ facts }) => facts && `${facts.os}, ${facts.kernel}` },
			{ head: 'Agent', cell: ({ facts }) => facts?.agentVersion },
			{ head: 'Last seen', cell: (row) => timeText(row.lastSeenAt) },
		],
		rows,
	)
}

function capturePill(facts: NodeResource['facts']): Child {
	if (!facts) return '–'
	return facts.canCapture
		? pill('yes', 'good')
		: h('span', {}, pill('no', 'warn'), ' ', facts.captureWhy)
}

function documentColumn(name: 'policy' | 'addresses'): Column<NodeResource> {
	return {
		head: name === 'policy' ? 'Policy' : 'Addresses',
		cell: ({ documents }) => {
			const document = documents.find((one) => one.document === name)
			if (!document) return '–'
			const text = `${document.generation ?? '–'} / ${document.currentGeneration}`
			const tone = document.isCurrent ? 'good' : document.state === 'rejected' ? 'bad' : 'warn'
			return h('span', { title: document.why ?? undefined }, pill(text, tone))
		},
	}
}

async function workloads(): Promise<Child[]> {
	const rows = await readAll<WorkloadResource>('/v1/workloads')
	return page(
		'Workloads',
		[
			{ head: 'Workload', cell: (row) => row.name },
			{ head: 'Service', cell: (row) => row.service },
			{ head: 'Group', cell: (row) => row.group },
			{ head: 'Node', cell: (row) => row.nodeId },
			{
				head: 'Addresses',
				cell: (row) => row.interfaces.flatMap((one) => one.addresses).join(', '),
			},
			{ head: 'Started', cell: (row) => timeText(row.startedAt) },
		],
		rows,
	)
}

async function groups(desk: Desk): Promise<Child[]> {
	const rows = await readAll<GroupResource>('/v1/groups')
	return page(
		'Groups',
		[
			{ head: 'Group', cell: (row) => row.name },
			{ head: 'Kind', cell: (row) => row.kind },
			{ head: 'Mode', cell: (row) => modeSwitch(row, desk) },
			{ head: 'Members', isNumber: true, cell: (row) => row.members ?? '–' },
		],
		rows,
	)
}

function modeSwitch({ name, mode, revision }: GroupResource, desk: Desk): Child {
	if (mode === null) return '–'
	if (!desk.canWrite) return mode
	return choice(`Mode of ${name}`, MODES, mode, (wanted) =>
		desk.change(() =>
			send('PATCH', `/v1/groups/${encodeURIComponent(name)}`, { mode: wanted }, revision),
		),
	)
}

async function rules(desk: Desk): Promise<Child[]> {
	const rows = await readAll<RuleResource>('/v1/rules')
	return page(
		'Rules',
		[
			{ head: 'Rule', isNumber: true, cell: (row) => row.id },
			{ head: 'From', cell: (row) => row.from },
			{ head: 'To', cell: (row) => row.to },
			{ head: 'Applications', cell: (row) => row.applications.join(', ') },
			{ head: 'Ports', cell: (row) => row.ports.join(', ') },
			{ head: 'Action', cell: (row) => pill(row.action, row.action === 'allow' ? 'good' : 'bad') },
			{ head: 'Origin', cell: (row) => (row.isLearned ? 'learned' : 'user') },
			{ head: 'Enabled', cell: (row) => enabledSwitch(row, desk) },
			{ head: 'Comment', cell: (row) => row.comment },
		],
		rows,
	)
}

function enabledSwitch({ id, isEnabled, revision }: RuleResource, desk: Desk): Child {
	const box = h('input', {
		type: 'checkbox',
		checked: isEnabled,
		disabled: !desk.canWrite,
		'aria-label': `Rule ${id} enabled`,
	})
	box.addEventListener('change', () =>
		desk.change(() => send('PATCH', `/v1/rules/${id}`, { isEnabled: box.checked }, revision)),
	)
	return box
}

const TONES: Readonly<Record<string, Tone>> = {
	allow: 'good',
	learn: 'good',
	violate: 'warn',
	deny: 'bad',
}

/** What the person chose to see of the conversations; kept while the console is open. */
const filter = { action: 'all' }

async function conversations(desk: Desk): Promise<Child[]> {
	const wanted = filter.action === 'all' ? '' : `&action=${filter.action}`
	const { items, next } = await read<Page<ConversationResource>>(
		`/v1/conversations?sort=recent&limit=200${wanted}`,
	)
	const options = ['all', 'allow', 'learn', 'pending', 'open', 'violate', 'deny']
	const [title, panel] = page(
		'Conversations',
		[
			{ head: 'Client', cell: (row) => endText(row.client) },
			{ head: 'Server', cell: (row) => endText(row.server) },
			{
				head: 'Application',
				cell: (row) => row.application ?? h('span', { class: 'quiet' }, 'unknown'),
			},
			{ head: 'Port', isNumber: true, cell: (row) => row.serverPort },
			{
				head: 'Verdict',
				cell: (row) =>
					h('span', { title: row.why }, pill(row.action, TONES[row.action] ?? 'plain')),
			},
			{ head: 'Sessions', isNumber: true, cell: (row) => row.sessions },
			{
				head: 'Bytes',
				isNumber: true,
				cell: (row) => bytesText(row.clientBytes + row.serverBytes),
			},
			{ head: 'Last seen', cell: (row) => timeText(row.lastAt) },
		],
		items,
	)
	const select = choice('Verdict', options, filter.action, (value) => {
		filter.action = value
		desk.refresh()
	})
	const more = next === null ? '' : 'The 200 last seen are shown.'
	return [
		title,
		h(
			'div',
			{ class: 'bar' },
			h('label', {}, 'Verdict ', select),
			h('span', { class: 'quiet' }, more),
		),
		panel,
	]
}

function endText({ name, group, kind }: ConversationResource['client']): Child {
	if (kind === 'external')
		return h('span', {}, name, ' ', h('span', { class: 'quiet' }, 'external'))
	return h('span', {}, name, ' ', h('span', { class: 'quiet' }, group))
}

async function events(desk: Desk): Promise<Child[]> {
	return [h('h1', {}, 'Events'), h('section', { class: 'panel' }, eventTable(desk.events))]
}

function eventTable(rows: readonly EventResource[]): HTMLElement {
	const tones: Readonly<Record<EventResource['severity'], Tone>> = {
		info: 'plain',
		low: 'plain',
		medium: 'warn',
		high: 'bad',
		critical: 'bad',
	}
	return table(
		'Events',
		[
			{ head: 'Time', cell: (row) => timeText(row.at) },
			{ head: 'Severity', cell: (row) => pill(row.severity, tones[row.severity]) },
			{ head: 'Kind', cell: (row) => row.kind },
			{ head: 'From', cell: (row) => row.clientGroup ?? row.nodeId },
			{ head: 'To', cell: (row) => row.serverGroup ?? '–' },
			{ head: 'Application', cell: (row) => row.application ?? '–' },
			{ head: 'Why', cell: (row) => row.why },
			{ head: 'Count', isNumber: true, cell: (row) => row.count },
		],
		rows,
	)
}

function page<Row>(title: string, columns: readonly Column<Row>[], rows: readonly Row[]): Child[] {
	return [h('h1', {}, title), h('section', { class: 'panel' }, table(title, columns, rows))]
}
