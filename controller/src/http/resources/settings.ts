import { createRoute } from '@hono/zod-openapi'
import {
	auditPageSchema,
	auditQuerySchema,
	settingsPatchSchema,
	settingsResourceSchema,
} from '@ringfence/shared/contract/rest'
import { listAudits } from '../../fleet/audits.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { patchSettings, readSettingsResource } from '../../fleet/settings.ts'
import { type Api, actOf, answer, body } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

/** Settings of the fleet, and who changed what. */
export function addSettings(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(getRoute, async (c) => {
		const settings = await readSettingsResource(db)
		setEtag(c, settings)
		return c.json(settings, 200)
	})

	api.openapi(patchRoute, async (c) => {
		const act = actOf(c.var.principal, fleet)
		const settings = await patchSettings(fleet, act, c.req.valid('json'), expectedRevision(c))
		setEtag(c, settings)
		return c.json(settings, 200)
	})

	api.openapi(listAuditsRoute, async (c) => c.json(await listAudits(db, c.req.valid('query')), 200))
}

const getRoute = createRoute({
	method: 'get',
	path: '/v1/settings',
	tags: ['settings'],
	summary: 'Settings of the fleet.',
	responses: { 200: answer(settingsResourceSchema, 'The settings.') },
})

const patchRoute = createRoute({
	method: 'patch',
	path: '/v1/settings',
	tags: ['settings'],
	summary: 'Changes settings.',
	request: { body: body(settingsPatchSchema) },
	responses: { 200: answer(settingsResourceSchema, 'The settings.') },
})

const listAuditsRoute = createRoute({
	method: 'get',
	path: '/v1/audits',
	tags: ['settings'],
	summary: 'Who changed what, newest first.',
	request: { query: auditQuerySchema },
	responses: { 200: answer(auditPageSchema, 'A page of audits.') },
})
