import { join } from 'node:path'
import type { Controller } from './controller.ts'
import { type Program, ROOT, type Sandbox } from './sandbox.ts'

export interface AgentOptions {
	readonly controller: Controller
	/** Name of the node, and of its state folder. */
	readonly name: string
	/** Namespace that plays the host; this machine when absent. */
	readonly namespace?: string
	/** Workloads are the namespaces whose names start so; the sandbox's own when absent. */
	readonly netnsPrefix?: string
}

export interface Agent {
	program(): Program
	start(): void
	restart(signal: NodeJS.Signals): Promise<void>
	stop(signal: NodeJS.Signals): Promise<void>
}

/** Starts the agent as its users do: from the bundle, with an enrolment token. */
export function startAgent(sandbox: Sandbox, options: AgentOptions): Agent {
	const command = [
		...[process.execPath, join(ROOT, 'agent/dist/main.js'), 'run'],
		...['--state', join(sandbox.directory, `agent-${options.name}`)],
		...['--controller', options.controller.url],
		...['--token-file', options.controller.tokenFile],
		...['--name', options.name],
		...['--netns-prefix', options.netnsPrefix ?? sandbox.prefix],
		...['--labels-dir', sandbox.labelsDirectory],
	]
	let program: Program
	const start = () => {
		program = sandbox.run(command, { namespace: options.namespace })
	}
	start()
	return {
		program: () => program,
		start,
		stop: (signal) => program.stop(signal),
		async restart(signal) {
			await program.stop(signal)
			start()
		},
	}
}
