import { type Command, Option } from 'commander'
import { positive } from './positive.ts'

/** The words that make a rule. */
export interface RuleWords {
	readonly from: string
	readonly to: string
	readonly app: string[]
	readonly port: string[]
	readonly action: string
	readonly comment: string
	readonly before?: number
	readonly after?: number
}

export function addRuleWords(command: Command): Command {
	const collect = (value: string, all: string[]) => [...all, value]
	return command
		.requiredOption('--from <group>')
		.requiredOption('--to <group>')
		.option('--app <application>', 'again for more; any unless given', collect, [])
		.option('--port <port>', 'tcp/80, udp/1000-2000; again for more', collect, [])
		.addOption(new Option('--action <action>').choices(['allow', 'deny']).default('allow'))
		.option('--comment <text>', '', '')
		.option('--before <rule>', 'right before that one', positive)
		.option('--after <rule>', 'right after that one', positive)
}

/** The rule as the controller takes it. */
export function ruleOfWords({ app, port, before, after, ...fields }: RuleWords) {
	return {
		...fields,
		...(app.length > 0 && { applications: app }),
		...(port.length > 0 && { ports: port }),
		...(before !== undefined && { before }),
		...(after !== undefined && { after }),
	}
}
