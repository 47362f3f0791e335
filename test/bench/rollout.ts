import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openUplink, type Uplink } from '../../agent/src/uplink/uplink.ts'
import { type Api, startController } from '../harness/controller.ts'
import type { Sandbox } from '../harness/sandbox.ts'
import { pause, waitFor } from '../harness/wait.ts'
import { quantile, type Row } from './report.ts'

const FLEETS = [1, 10, 100]
const CHANGES = 20
/** Between changes: each is measured alone. */
const QUIET_MS = 250

interface SimulatedAgent {
	readonly uplink: Uplink
	/** When it had each policy generation in force, in milliseconds of the clock. */
	readonly appliedAt: Map<number, number>
}

/** From the REST request that changes one rule to the moment when each of the agents has it in force. */
export async function benchRollout(sandbox: Sandbox): Promise<Row[]> {
	const controller = await startController(sandbox)
	const token = readFileSync(controller.tokenFile, 'utf8').trim()
	const agents: SimulatedAgent[] = []
	const rows: Row[] = []
	for (const size of FLEETS) {
		while (agents.length < size) {
			const stateDir = join(sandbox.directory, `agent-${agents.length}`)
			agents.push(await openAgent(stateDir, { url: controller.url, token }))
		}
		const delays: number[] = []
		for (let change = 0; change < CHANGES; change++) {
			await pause(QUIET_MS)
			delays.push(...(await changeOneRule(controller.api, agents)))
		}
		rows.push(
			{ name: `rollout.${size}.p50_ms`, value: quantile(delays, 0.5), unit: 'ms' },
			{ name: `rollout.${size}.p99_ms`, value: quantile(delays, 0.99), unit: 'ms' },
		)
	}
	await Promise.all(agents.map(({ uplink }) => uplink.stop()))
	await controller.stop('SIGTERM')
	return rows
}

async function changeOneRule(api: Api, agents: readonly SimulatedAgent[]): Promise<number[]> {
	const start = Date.now()
	const known = newestGeneration(agents)
	await api.post('rules', { from: 'nodes', to: 'external', applications: ['dns'], action: 'allow' })
	await waitFor('every agent', () =>
		agents.every(({ appliedAt }) => Math.max(0, ...appliedAt.keys()) > known),
	)
	return agents.map(({ appliedAt }) => (appliedAt.get(Math.max(...appliedAt.keys())) ?? 0) - start)
}

function newestGeneration(agents: readonly SimulatedAgent[]): number {
	return Math.max(0, ...agents.flatMap(({ appliedAt }) => [...appliedAt.keys()]))
}

async function openAgent(
	stateDir: string,
	{ url, token }: { url: string; token: string },
): Promise<SimulatedAgent> {
	const appliedAt = new Map<number, number>()
	const uplink = await openUplink(
		{ stateDir, controllerUrl: url, token, name: stateDir.split('/').at(-1) ?? 'agent' },
		{
			facts: () => ({
				hostname: 'simulated',
				os: 'linux',
				kernel: 'none',
				arch: 'x64',
				agentVersion: '0',
				interfaces: [],
				canCapture: false,
			}),
			async applyDocuments({ policy }) {
				if (!appliedAt.has(policy.generation)) appliedAt.set(policy.generation, Date.now())
				return { ok: true }
			},
			command: async () => ({ ok: true }),
			log() {},
		},
	)
	uplink.reportWorkloads([])
	return { uplink, appliedAt }
}
