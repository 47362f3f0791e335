import { enrolRequestSchema, enrolResponseSchema } from '@ringfence/shared/contract/enrol'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { enrolTokens, nodes } from '../../db/schema.ts'
import { ensureCluster } from '../cluster.ts'
import { fromBase64 } from '../secrets.ts'
import { openTestFleet, type TestFleet } from '../test-fleet.ts'
import { checkBrokerPassword, createEnrolToken, enrol } from './enrol.ts'

let fleet: TestFleet

beforeEach(async () => {
	fleet = await openTestFleet()
})

afterEach(() => fleet.store.close())

const denied = { code: 'denied' }
const join = (token: string) => enrol(fleet, enrolRequestSchema.parse({ token, name: 'host-1' }))

test('a token becomes a node with a broker account and the controller’s key', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
	const answer = enrolResponseSchema.parse(await join(token))
	const cluster = await ensureCluster(fleet)
	expect(answer).toMatchObject({ cluster: cluster.id, controllerKey: cluster.controllerKey })
	expect(answer.node).toMatch(/^n-[0-9a-f]{12}$/)
	expect(fromBase64(answer.controllerKey)).toHaveLength(32)
	expect(answer.brokerPassword).toMatch(/^[\w-]{43}$/)
	expect(fleet.accounts.get(answer.node)).toBe(answer.brokerPassword)
	expect(await checkBrokerPassword(fleet, answer.node, answer.brokerPassword)).toBe(true)
	expect(fleet.counts.documents).toBe(1)
})

test('neither the token’s secret nor the broker password is kept readable', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
	const { brokerPassword } = await join(token)
	const kept = JSON.stringify([
		await fleet.store.db.select().from(enrolTokens),
		await fleet.store.db.select().from(nodes),
	])
	expect(kept).not.toContain(token.split('_').slice(2).join('_'))
	expect(kept).not.toContain(brokerPassword)
})

test('the broker’s question is answered no for wrong passwords, strangers and empty words', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
	const { node, brokerPassword } = await join(token)
	expect(await checkBrokerPassword(fleet, node, `${brokerPassword}x`)).toBe(false)
	expect(await checkBrokerPassword(fleet, node, '')).toBe(false)
	expect(await checkBrokerPassword(fleet, 'n-000000000000', brokerPassword)).toBe(false)
})

test('a token holds for its number of uses, also when all come at once', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 3 })
	const answers = await Promise.allSettled(Array.from({ length: 5 }, () => join(token)))
	expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
	expect(await fleet.store.db.$count(nodes)).toBe(3)
})

test('a token that is expired, unknown or none is refused, always the same', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
	const [, id] = token.split('_')
	fleet.time.now += 60_000
	for (const bad of [token, `rft_${id}_${'A'.repeat(43)}`, `rft_none_${'A'.repeat(43)}`, '', 'x'])
		await expect(join(bad)).rejects.toMatchObject(denied)
	expect(await fleet.store.db.$count(nodes)).toBe(0)
})

test('when the broker refuses the account there is no node, and the token may be used again', async () => {
	const { token } = await createEnrolToken(fleet, { ttlMs: 60_000, uses: 1 })
	fleet.broker.refuses = true
	await expect(join(token)).rejects.toThrow('refuses')
	expect(await fleet.store.db.$count(nodes)).toBe(0)
	fleet.broker.refuses = false
	await expect(join(token)).resolves.toBeDefined()
})

test('the cluster is made once, whoever asks, and its signatures verify', async () => {
	const again = await Promise.all([ensureCluster(fleet), ensureCluster(fleet)])
	const [first] = again
	expect(new Set(again.map(({ id, epoch, keyId }) => `${id} ${epoch} ${keyId}`)).size).toBe(1)
	expect(first.id).toMatch(/^c-[0-9a-f]{8}$/)
	const raw = fromBase64(first.controllerKey)
	const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify'])
	const signature = fromBase64(await first.sign('body'))
	const bytes = new TextEncoder().encode('body')
	expect(await crypto.subtle.verify('Ed25519', key, signature, bytes)).toBe(true)
})
