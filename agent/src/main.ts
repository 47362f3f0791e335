import { Command } from 'commander'
import { agentVersion, ConfigError, DEFAULTS, readConfig, SETTINGS } from './config.ts'

/** Each command loads what it needs and no more: `replay` starts without MQTT and the C library. */
const program = new Command('ringfence-agent')
	.description(
		'The agent of a Ringfence node: captures packets, recognises applications, enforces policy',
	)
	.version(agentVersion(), '--version')

const runCommand = program
	.command('run')
	.description('watch this node and report to the controller')
	.option('--config <FILE>', 'JSON file of settings, named as the options are')
for (const { name, argument, about } of SETTINGS) {
	const fallback = DEFAULTS[name]
	runCommand.option(`--${name} <${argument}>`, fallback ? `${about} (default: ${fallback})` : about)
}
runCommand
	.addHelpText('after', '\nEvery option is also a variable: --netns-dir is RINGFENCE_NETNS_DIR.')
	.action(async () => {
		const given = runCommand.opts<Record<string, string>>()
		const options = Object.fromEntries(
			SETTINGS.map(({ name }) => [name, given[camelCase(name)]]).filter(([, text]) => text),
		)
		const file = given['config'] ?? process.env['RINGFENCE_CONFIG']
		const config = readConfig({ options, env: process.env, file })
		const { run } = await import('./commands/run.ts')
		process.exit(await run(config))
	})

program
	.command('replay')
	.description('run the engine over capture files: one row a session')
	.argument('<FILE|DIR...>', 'pcap or pcapng files, or folders of them')
	.option('--csv', 'sessions as CSV')
	.option('--json', 'sessions as JSON, one a line; totals last')
	.option('--policy <FILE>', 'judge sessions by this policy and address map (JSON)')
	.option('--out <DIR>', 'write one file a capture there')
	.action(async (paths: string[], options: Record<string, string | true>) => {
		const { replay } = await import('./commands/replay.ts')
		process.exitCode = await replay(paths, {
			format: options['json'] ? 'json' : options['csv'] || options['out'] ? 'csv' : 'table',
			policyFile: textOf(options['policy']),
			outDirectory: textOf(options['out']),
			say: (text) => process.stderr.write(text),
		})
	})

program
	.command('explain')
	.description('say what a policy decides about one session at either end, and by which rule')
	.option('--policy <FILE>', 'policy and address map, as for replay (JSON)')
	.option('--from <END>', 'the client: an address, or the id of a workload or node')
	.option('--to <END>', 'the server')
	.option('--port <PORT>', 'tcp/80, udp/53, icmp/8')
	.option('--app <NAME>', 'application; "unknown": not recognised; not recognised yet if left out')
	.option('--json', 'one JSON object')
	.action(async (options: Record<string, string | true>) => {
		const { explain } = await import('./commands/explain.ts')
		process.exitCode = explain({
			policyFile: textOf(options['policy']),
			from: textOf(options['from']),
			to: textOf(options['to']),
			port: textOf(options['port']),
			application: textOf(options['app']),
			isJson: options['json'] === true,
			write: (text) => process.stdout.write(text),
			say: (text) => process.stderr.write(text),
		})
	})

try {
	await program.parseAsync()
} catch (error) {
	const isExpected = error instanceof ConfigError
	process.stderr.write(`ringfence-agent: ${isExpected ? error.message : describe(error)}\n`)
	process.exitCode = isExpected ? 2 : 1
}

function camelCase(name: string): string {
	return name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
}

function textOf(option: string | true | undefined): string | undefined {
	return typeof option === 'string' ? option : undefined
}

function describe(error: unknown): string {
	return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
