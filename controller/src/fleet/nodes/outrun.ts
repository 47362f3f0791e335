import type { Hello } from '@ringfence/shared/contract/messages'
import type { DocumentName } from '@ringfence/shared/contract/topics'
import { raiseEvents } from '../alerts/raise-events.ts'
import { raiseEpoch, readVersion } from '../cluster.ts'
import { readGeneration } from '../desired/documents.ts'
import type { NodeName } from '../intake/directory.ts'
import type { Work } from '../work.ts'

type Version = Hello['applied'][number]

/** An epoch is a moment: one further ahead than clocks go wrong is a lie, and would use up the numbers. */
const CLOCKS_MS = 24 * 3_600_000

/** A node that lies about what it runs makes us publish everything anew at most so often. */
const EVERY_MS = 60_000

/**
 * A node runs a document that this database never made: somebody has restored an older one. Agents take nothing older than
 * what they know, so a higher epoch begins, under which they take everything again.
 */
export async function outrun(
	work: Work,
	node: NodeName,
	applied: readonly Version[],
): Promise<void> {
	const { tx, now, after } = work
	const { epoch, raisedAt } = await readVersion(tx)
	const ahead: Version[] = []
	for (const version of applied) {
		if (version.epoch > now + CLOCKS_MS) continue
		const generation = await readGeneration(tx, version.document)
		const isAhead = version.epoch === epoch && version.generation > generation
		if (version.epoch > epoch || isAhead) ahead.push(version)
	}
	if (ahead.length === 0 || now - raisedAt < EVERY_MS) return
	const raised = Math.max(now, epoch + 1, ...ahead.map((version) => version.epoch + 1))
	await raiseEpoch(tx, raised, now)
	after.documentsChanged = true
	const what = ahead.map(({ document, ...version }) => describe(document, version)).join(', ')
	await raiseEvents(work, [
		{
			kind: 'agent',
			name: 'database older than the fleet',
			severity: 'high',
			at: now,
			count: 1,
			node,
			why: `the node runs ${what}, which this database never made: it was restored; epoch ${raised} begins`,
		},
	])
}

function describe(document: DocumentName, version: Omit<Version, 'document'>): string {
	return `${document} ${version.generation} of epoch ${version.epoch}`
}
