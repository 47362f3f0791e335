import { createRoute } from '@hono/zod-openapi'
import { enrolRequestSchema, enrolResponseSchema } from '@ringfence/shared/contract/enrol'
import { enrolTokenCreatedSchema, enrolTokenCreateSchema } from '@ringfence/shared/contract/rest'
import { recordAudit } from '../../fleet/audits.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { createEnrolToken, enrol } from '../../fleet/nodes/enrol.ts'
import { type Api, type ApiOptions, actOf, answer, body } from '../api.ts'
import { clientOf } from '../client-address.ts'
import { createRateLimit } from '../rate-limit.ts'

const tags = ['nodes']

/** A site behind one address may bring up many nodes at once; guessing a token stays hopeless. */
const ENROL_LIMIT = { burst: 100, everyMs: 1000 }

/** How agents join the fleet. */
export function addEnroll(api: Api, fleet: Fleet, options: ApiOptions): void {
	const limit = createRateLimit(ENROL_LIMIT)

	api.openapi(enrollRoute, async (c) => {
		limit.take(clientOf(c, options), fleet.clock.now())
		return c.json(await enrol(fleet, c.req.valid('json')), 201)
	})

	api.openapi(createTokenRoute, async (c) => {
		const { ttlSeconds, uses } = c.req.valid('json')
		const act = actOf(c.var.principal, fleet)
		const made = await createEnrolToken(fleet, { ttlMs: ttlSeconds * 1000, uses })
		const target = `enroll-token:${made.token.split('_')[1]}`
		const after = { expiresAt: made.expiresAt, uses }
		await fleet.store.write((tx) =>
			recordAudit(tx, act, { action: 'enroll-token.create', target, after }),
		)
		return c.json(made, 201)
	})
}

const enrollRoute = createRoute({
	method: 'post',
	path: '/v1/enroll',
	tags,
	summary: 'A new agent trades a one-time token for credentials of its own.',
	request: { body: body(enrolRequestSchema.meta({ id: 'EnrolRequest' })) },
	responses: { 201: answer(enrolResponseSchema.meta({ id: 'EnrolResponse' }), 'Enrolled.') },
})

const createTokenRoute = createRoute({
	method: 'post',
	path: '/v1/enroll-tokens',
	tags,
	summary: 'Makes a token with which agents enrol.',
	request: { body: body(enrolTokenCreateSchema) },
	responses: { 201: answer(enrolTokenCreatedSchema, 'Made; the token is shown this once.') },
})
