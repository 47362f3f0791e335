import type { WhatIfAnswer, WhatIfConversation } from '@ringfence/shared/contract/rest'
import { Argument, type Command, Option } from 'commander'
import { send } from './client.ts'
import type { Connection } from './connection.ts'
import { type Column, formatJson, formatTable } from './output.ts'
import { positive } from './positive.ts'
import { addRuleWords, type RuleWords, ruleOfWords } from './rule-words.ts'

interface Surroundings {
	connect(): Promise<Connection>
	write(text: string): void
}

interface AskWords {
	readonly hours: number
	readonly output: string
}

/** `what-if …`: the changing commands, asked instead of done. */
export function addWhatIf(program: Command, around: Surroundings): void {
	const whatIf = program
		.command('what-if')
		.description('Tells what a change would have done to recorded conversations; changes nothing.')
	addAskWords(whatIf.command('mode'))
		.description('If a group had that mode.')
		.argument('<group>')
		.addArgument(new Argument('<mode>').choices(['discover', 'monitor', 'protect']))
		.action((group: string, mode: string, words: AskWords) =>
			ask(around, words, { modes: { [group]: mode } }),
		)
	const rule = whatIf.command('rule').description('If rules were others.')
	addAskWords(addRuleWords(rule.command('add')))
		.description('If there were that rule.')
		.action(({ hours, output, ...words }: RuleWords & AskWords) =>
			ask(around, { hours, output }, { rules: { add: [ruleOfWords(words)] } }),
		)
	addAskWords(rule.command('delete'))
		.description('If that rule were gone.')
		.argument('<id>', '', positive)
		.action((id: number, words: AskWords) => ask(around, words, { rules: { remove: [id] } }))
}

function addAskWords(command: Command): Command {
	return command
		.option('--hours <count>', 'conversations active in the last hours', positive, 24)
		.addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
}

async function ask(around: Surroundings, words: AskWords, change: object): Promise<void> {
	const since = Math.max(Math.floor(Date.now() - words.hours * 3_600_000), 0)
	const answer = await send<WhatIfAnswer>(await around.connect(), 'POST /v1/what-if', {
		body: { since, ...change },
	})
	around.write(words.output === 'json' ? formatJson(answer) : textOf(answer))
}

const LISTS = [
	['newlyDenied', 'newly denied'],
	['newlyViolating', 'newly a violation'],
	['newlyAllowed', 'newly allowed'],
] as const

const WHY_TRUNCATED = {
	conversations: 'Only the newest conversations were looked at.',
	work: 'The rules are too many for all conversations: only the newest were looked at.',
} as const

function textOf(answer: WhatIfAnswer): string {
	const { all, changed, gone, truncated } = answer
	const lists = LISTS.map(([key, name]) => {
		const { conversations, sessions, bytes, items, isTruncated } = answer[key]
		const head = `\n${name}: ${conversations} conversations, ${sessions} sessions, ${bytes} bytes\n`
		const more = isTruncated ? `and ${conversations - items.length} more\n` : ''
		return head + (items.length > 0 ? formatTable(COLUMNS, items) : '') + more
	})
	return [
		`${changed.conversations} of ${all.conversations} conversations would be judged otherwise.\n`,
		gone > 0 ? `${gone} have an end that is gone.\n` : '',
		truncated === null ? '' : `${WHY_TRUNCATED[truncated]}\n`,
		...lists,
	].join('')
}

const COLUMNS: readonly Column<WhatIfConversation>[] = [
	{ head: 'FROM', text: (row) => row.clientGroup },
	{ head: 'CLIENT', text: (row) => row.client },
	{ head: 'TO', text: (row) => row.serverGroup },
	{ head: 'SERVER', text: (row) => row.server },
	{ head: 'PROTOCOL', text: (row) => row.protocol },
	{ head: 'PORT', text: (row) => row.serverPort },
	{ head: 'APPLICATION', text: (row) => row.application },
	{ head: 'SESSIONS', text: (row) => row.sessions },
	{ head: 'AT CLIENT', text: (row) => verdictText(row.atClient) },
	{ head: 'AT SERVER', text: (row) => verdictText(row.atServer) },
]

function verdictText(verdict: WhatIfConversation['atClient']): string | null {
	return verdict && `${verdict.after.action}, ${verdict.after.why}`
}
