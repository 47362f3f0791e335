import { createRoute } from '@hono/zod-openapi'
import {
	apiKeyCreatedSchema,
	apiKeyCreateSchema,
	apiKeyPageSchema,
	apiKeyResourceSchema,
	pageQuerySchema,
	userCreateSchema,
	userPageSchema,
	userPatchSchema,
	userResourceSchema,
} from '@ringfence/shared/contract/rest'
import { createApiKey, deleteApiKey, getApiKey, listApiKeys } from '../../fleet/access/api-keys.ts'
import { createUser, deleteUser, getUser, listUsers, patchUser } from '../../fleet/access/users.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { type Api, type ApiOptions, actOf, answer, body, idParams, noContent } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

const tags = ['access']

/** Users and API keys. */
export function addAccounts(api: Api, fleet: Fleet, options: ApiOptions): void {
	addUsers(api, fleet, options)
	addApiKeys(api, fleet)
}

function addUsers(api: Api, fleet: Fleet, { passwordIterations }: ApiOptions): void {
	const { db } = fleet.store

	api.openapi(listUsersRoute, async (c) => c.json(await listUsers(db, c.req.valid('query')), 200))

	api.openapi(createUserRoute, async (c) => {
		const fields = { ...c.req.valid('json'), passwordIterations }
		const user = await createUser(fleet, actOf(c.var.principal, fleet), fields)
		setEtag(c, user)
		c.header('location', `/v1/users/${user.id}`)
		return c.json(user, 201)
	})

	api.openapi(getUserRoute, async (c) => {
		const user = await getUser(db, c.req.valid('param').id)
		setEtag(c, user)
		return c.json(user, 200)
	})

	api.openapi(patchUserRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		const change = { ...c.req.valid('json'), passwordIterations }
		const user = await patchUser(fleet, actOf(c.var.principal, fleet), target, change)
		setEtag(c, user)
		return c.json(user, 200)
	})

	api.openapi(deleteUserRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		await deleteUser(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})
}

function addApiKeys(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listKeysRoute, async (c) => c.json(await listApiKeys(db, c.req.valid('query')), 200))

	api.openapi(createKeyRoute, async (c) => {
		const key = await createApiKey(fleet, actOf(c.var.principal, fleet), c.req.valid('json'))
		setEtag(c, key)
		c.header('location', `/v1/api-keys/${key.id}`)
		return c.json(key, 201)
	})

	api.openapi(getKeyRoute, async (c) => {
		const key = await getApiKey(db, c.req.valid('param').id)
		setEtag(c, key)
		return c.json(key, 200)
	})

	api.openapi(deleteKeyRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		await deleteApiKey(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})
}

const listUsersRoute = createRoute({
	method: 'get',
	path: '/v1/users',
	tags,
	summary: 'Users by name.',
	request: { query: pageQuerySchema },
	responses: { 200: answer(userPageSchema, 'A page of users.') },
})

const createUserRoute = createRoute({
	method: 'post',
	path: '/v1/users',
	tags,
	summary: 'Makes a user.',
	request: { body: body(userCreateSchema) },
	responses: { 201: answer(userResourceSchema, 'The user.') },
})

const getUserRoute = createRoute({
	method: 'get',
	path: '/v1/users/{id}',
	tags,
	summary: 'One user.',
	request: { params: idParams },
	responses: { 200: answer(userResourceSchema, 'The user.') },
})

const patchUserRoute = createRoute({
	method: 'patch',
	path: '/v1/users/{id}',
	tags,
	summary: 'Changes role or password; either ends all sessions of the user.',
	request: { params: idParams, body: body(userPatchSchema) },
	responses: { 200: answer(userResourceSchema, 'The user.') },
})

const deleteUserRoute = createRoute({
	method: 'delete',
	path: '/v1/users/{id}',
	tags,
	summary: 'Removes a user; not the last admin.',
	request: { params: idParams },
	responses: { 204: noContent },
})

const listKeysRoute = createRoute({
	method: 'get',
	path: '/v1/api-keys',
	tags,
	summary: 'API keys, without their secrets.',
	request: { query: pageQuerySchema },
	responses: { 200: answer(apiKeyPageSchema, 'A page of API keys.') },
})

const createKeyRoute = createRoute({
	method: 'post',
	path: '/v1/api-keys',
	tags,
	summary: 'Makes an API key for a program.',
	request: { body: body(apiKeyCreateSchema) },
	responses: { 201: answer(apiKeyCreatedSchema, 'Made; the key is shown this once.') },
})

const getKeyRoute = createRoute({
	method: 'get',
	path: '/v1/api-keys/{id}',
	tags,
	summary: 'One API key.',
	request: { params: idParams },
	responses: { 200: answer(apiKeyResourceSchema, 'The API key.') },
})

const deleteKeyRoute = createRoute({
	method: 'delete',
	path: '/v1/api-keys/{id}',
	tags,
	summary: 'Removes an API key; it stops working at once.',
	request: { params: idParams },
	responses: { 204: noContent },
})
