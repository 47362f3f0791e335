import { createRoute } from '@hono/zod-openapi'
import {
	deliveryPageSchema,
	deliveryQuerySchema,
	deliveryResourceSchema,
	pageQuerySchema,
	webhookCreatedSchema,
	webhookCreateSchema,
	webhookPageSchema,
	webhookPatchSchema,
	webhookResourceSchema,
} from '@ringfence/shared/contract/rest'
import { z } from 'zod'
import {
	createWebhook,
	deleteWebhook,
	getWebhook,
	listDeliveries,
	listWebhooks,
	patchWebhook,
	pingWebhook,
	replayDelivery,
} from '../../fleet/alerts/webhooks.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { type Api, actOf, answer, body, idParams, noContent } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

const tags = ['webhooks']

export function addWebhooks(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listRoute, async (c) => c.json(await listWebhooks(db, c.req.valid('query')), 200))

	api.openapi(createWebhookRoute, async (c) => {
		const webhook = await createWebhook(fleet, actOf(c.var.principal, fleet), c.req.valid('json'))
		setEtag(c, webhook)
		c.header('location', `/v1/webhooks/${webhook.id}`)
		return c.json(webhook, 201)
	})

	api.openapi(getRoute, async (c) => {
		const webhook = await getWebhook(db, c.req.valid('param').id)
		setEtag(c, webhook)
		return c.json(webhook, 200)
	})

	api.openapi(patchRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		const act = actOf(c.var.principal, fleet)
		const webhook = await patchWebhook(fleet, act, target, c.req.valid('json'))
		setEtag(c, webhook)
		return c.json(webhook, 200)
	})

	api.openapi(deleteRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		await deleteWebhook(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})

	addDeliveries(api, fleet)
}

function addDeliveries(api: Api, fleet: Fleet): void {
	api.openapi(pingRoute, async (c) => {
		const { id } = c.req.valid('param')
		return c.json(await pingWebhook(fleet, actOf(c.var.principal, fleet), id), 202)
	})

	api.openapi(listDeliveriesRoute, async (c) => {
		const { id } = c.req.valid('param')
		return c.json(await listDeliveries(fleet.store.db, id, c.req.valid('query')), 200)
	})

	api.openapi(replayRoute, async (c) => {
		const { id: webhookId, delivery: id } = c.req.valid('param')
		const act = actOf(c.var.principal, fleet)
		return c.json(await replayDelivery(fleet, act, { webhookId, id }), 202)
	})
}

const listRoute = createRoute({
	method: 'get',
	path: '/v1/webhooks',
	tags,
	summary: 'Webhooks.',
	request: { query: pageQuerySchema },
	responses: { 200: answer(webhookPageSchema, 'A page of webhooks.') },
})

const createWebhookRoute = createRoute({
	method: 'post',
	path: '/v1/webhooks',
	tags,
	summary: 'Makes a webhook; messages to it are signed as in Standard Webhooks 1.0.',
	request: { body: body(webhookCreateSchema) },
	responses: { 201: answer(webhookCreatedSchema, 'Made; the secret is shown this once.') },
})

const getRoute = createRoute({
	method: 'get',
	path: '/v1/webhooks/{id}',
	tags,
	summary: 'One webhook.',
	request: { params: idParams },
	responses: { 200: answer(webhookResourceSchema, 'The webhook.') },
})

const patchRoute = createRoute({
	method: 'patch',
	path: '/v1/webhooks/{id}',
	tags,
	summary: 'Changes a webhook; switching it on again forgets why it was off.',
	request: { params: idParams, body: body(webhookPatchSchema) },
	responses: { 200: answer(webhookResourceSchema, 'The webhook.') },
})

const deleteRoute = createRoute({
	method: 'delete',
	path: '/v1/webhooks/{id}',
	tags,
	summary: 'Removes a webhook with all its deliveries.',
	request: { params: idParams },
	responses: { 204: noContent },
})

const pingRoute = createRoute({
	method: 'post',
	path: '/v1/webhooks/{id}/ping',
	tags,
	summary: 'Queues a message of type `webhook.ping`.',
	request: { params: idParams },
	responses: { 202: answer(deliveryResourceSchema, 'Queued.') },
})

const listDeliveriesRoute = createRoute({
	method: 'get',
	path: '/v1/webhooks/{id}/deliveries',
	tags,
	summary: 'Deliveries of a webhook, newest first.',
	request: { params: idParams, query: deliveryQuerySchema },
	responses: { 200: answer(deliveryPageSchema, 'A page of deliveries.') },
})

const replayRoute = createRoute({
	method: 'post',
	path: '/v1/webhooks/{id}/deliveries/{delivery}/replay',
	tags,
	summary: 'Starts the attempts of a dead delivery over.',
	request: { params: idParams.extend({ delivery: z.string().max(64) }) },
	responses: { 202: answer(deliveryResourceSchema, 'Queued.') },
})
