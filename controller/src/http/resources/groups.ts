import { createRoute } from '@hono/zod-openapi'
import {
	groupCreateSchema,
	groupMembersSchema,
	groupPageSchema,
	groupPatchSchema,
	groupPreviewSchema,
	groupQuerySchema,
	groupResourceSchema,
} from '@ringfence/shared/contract/rest'
import { z } from 'zod'
import type { Fleet } from '../../fleet/fleet.ts'
import { previewMembers } from '../../fleet/policy/group-members.ts'
import {
	createGroup,
	deleteGroup,
	getGroup,
	listGroups,
	patchGroup,
} from '../../fleet/policy/groups.ts'
import { type Api, actOf, answer, body, noContent } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

const tags = ['groups']
const nameParams = z.object({ name: z.string().max(256) })

export function addGroups(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listRoute, async (c) => c.json(await listGroups(db, c.req.valid('query')), 200))

	api.openapi(createGroupRoute, async (c) => {
		const group = await createGroup(fleet, actOf(c.var.principal, fleet), c.req.valid('json'))
		setEtag(c, group)
		c.header('location', `/v1/groups/${encodeURIComponent(group.name)}`)
		return c.json(group, 201)
	})

	api.openapi(previewRoute, async (c) =>
		c.json(await previewMembers(db, c.req.valid('json').criteria), 200),
	)

	api.openapi(getRoute, async (c) => {
		const group = await getGroup(db, c.req.valid('param').name)
		setEtag(c, group)
		return c.json(group, 200)
	})

	api.openapi(patchRoute, async (c) => {
		const target = { name: c.req.valid('param').name, expected: expectedRevision(c) }
		const act = actOf(c.var.principal, fleet)
		const group = await patchGroup(fleet, act, target, c.req.valid('json'))
		setEtag(c, group)
		return c.json(group, 200)
	})

	api.openapi(deleteRoute, async (c) => {
		const target = { name: c.req.valid('param').name, expected: expectedRevision(c) }
		await deleteGroup(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})
}

const listRoute = createRoute({
	method: 'get',
	path: '/v1/groups',
	tags,
	summary: 'Groups by name: learned, reserved and custom.',
	request: { query: groupQuerySchema },
	responses: { 200: answer(groupPageSchema, 'A page of groups.') },
})

const createGroupRoute = createRoute({
	method: 'post',
	path: '/v1/groups',
	tags,
	summary: 'Makes a custom group.',
	request: { body: body(groupCreateSchema) },
	responses: { 201: answer(groupResourceSchema, 'The group.') },
})

const previewRoute = createRoute({
	method: 'post',
	path: '/v1/groups/preview',
	tags,
	summary: 'Who would be in a group with these criteria.',
	request: { body: body(groupPreviewSchema) },
	responses: { 200: answer(groupMembersSchema, 'Its members.') },
})

const getRoute = createRoute({
	method: 'get',
	path: '/v1/groups/{name}',
	tags,
	summary: 'One group.',
	request: { params: nameParams },
	responses: { 200: answer(groupResourceSchema, 'The group.') },
})

const patchRoute = createRoute({
	method: 'patch',
	path: '/v1/groups/{name}',
	tags,
	summary: 'Changes the mode of a learned group or of `nodes`, or the criteria of a custom group.',
	request: { params: nameParams, body: body(groupPatchSchema) },
	responses: { 200: answer(groupResourceSchema, 'The group.') },
})

const deleteRoute = createRoute({
	method: 'delete',
	path: '/v1/groups/{name}',
	tags,
	summary: 'Removes a custom group that no rule names.',
	request: { params: nameParams },
	responses: { 204: noContent },
})
