import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describeIssues } from '@ringfence/shared/contract/codec'
import { type EnrolRequest, enrolRequestSchema } from '@ringfence/shared/contract/enrol'
import { Counters } from './counters.ts'
import { enrol } from './enrolment.ts'
import {
	type Identity,
	loadIdentity,
	parseIdentity,
	prepareStateDir,
	saveIdentity,
} from './identity.ts'
import type { Log } from './log.ts'
import { Losses } from './losses.ts'
import { Spool } from './spool.ts'
import type { Uplink, UplinkConfig, UplinkHandlers, UplinkTiming } from './uplink-config.ts'
import { UplinkError } from './uplink-error.ts'
import { UplinkSession } from './uplink-session.ts'

export type { Uplink, UplinkConfig, UplinkHandlers } from './uplink-config.ts'

const SPOOL_BYTES_MAX = 64 * 1024 * 1024
const SPOOL_MEMORY_BYTES_MAX = 8 * 1024 * 1024
const TIMING: UplinkTiming = {
	batchDelayMs: 150,
	workloadsDelayMs: 50,
	lossesEveryMs: 10_000,
	drainMs: 1_000,
	enrol: { firstMs: 1_000, maxMs: 60_000 },
	// So slowly growing, a broker that was away for some seconds is found again about half that time later.
	reconnect: { firstMs: 250, maxMs: 60_000, growth: 1.25 },
	resend: { firstMs: 5_000, maxMs: 60_000 },
	refetch: { firstMs: 5_000, maxMs: 60_000 },
}

/**
 * Opens the uplink: enrols if the node is not, puts documents of an earlier run in force, and then connects, and stays
 * connected, on its own. Resolves as soon as the node has an id; a missing broker delays nothing.
 */
export async function openUplink(config: UplinkConfig, handlers: UplinkHandlers): Promise<Uplink> {
	const timing = { ...TIMING, ...config.timing }
	await prepareStateDir(config.stateDir)
	const identity = await identify(config, timing, handlers.log)
	const counters = new Counters()
	const boot = randomBytes(8).toString('hex')
	const startedAt = Date.now()
	const losses = await Losses.open(join(config.stateDir, 'losses.json'))
	const spool = await Spool.open({
		dir: join(config.stateDir, 'spool'),
		boot,
		startedAt,
		bytesMax: config.spoolBytesMax ?? SPOOL_BYTES_MAX,
		memoryBytesMax: config.spoolMemoryBytesMax ?? SPOOL_MEMORY_BYTES_MAX,
		sync: config.spoolSync ?? 'events',
		counters,
		losses,
		log: handlers.log,
	})
	const documentsDir = join(config.stateDir, 'documents', identity.node)
	const session = new UplinkSession({
		identity,
		boot,
		startedAt,
		documentsDir,
		timing,
		handlers,
		counters,
		losses,
		spool,
	})
	await session.start()
	return session
}

async function identify(config: UplinkConfig, timing: UplinkTiming, log: Log): Promise<Identity> {
	const known = await loadIdentity(config.stateDir)
	if (known) return known
	const { controllerUrl, token, name } = config
	if (!controllerUrl || !token) {
		const needed = 'it needs the URL of a controller and a token'
		throw new UplinkError(`this node is not enrolled: ${needed}`, { code: 'enrol' })
	}
	const request = checkRequest({ token, name })
	const { signal } = config
	const response = await enrol({ controllerUrl, request, backoff: timing.enrol, log, signal })
	const identity = parseIdentity(response)
	await saveIdentity(config.stateDir, response)
	log('info', 'enrolled', { node: identity.node, cluster: identity.cluster })
	return identity
}

function checkRequest(request: EnrolRequest): EnrolRequest {
	const parsed = enrolRequestSchema.safeParse(request)
	if (parsed.success) return parsed.data
	throw new UplinkError(`the enrolment is not valid: ${describeIssues(parsed.error)}`, {
		code: 'enrol',
	})
}
