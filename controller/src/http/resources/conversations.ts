import { createRoute } from '@hono/zod-openapi'
import {
	conversationPageSchema,
	conversationQuerySchema,
	graphQuerySchema,
	graphSchema,
} from '@ringfence/shared/contract/rest'
import type { Fleet } from '../../fleet/fleet.ts'
import { listConversations } from '../../fleet/reports/conversation-list.ts'
import { readGraph } from '../../fleet/reports/graph.ts'
import { type Api, answer } from '../api.ts'

const tags = ['conversations']

/** Who talked to whom: endpoint by endpoint, and rolled up to groups. */
export function addConversations(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listRoute, async (c) =>
		c.json(await listConversations(db, c.req.valid('query')), 200),
	)

	api.openapi(graphRoute, async (c) => c.json(await readGraph(db, c.req.valid('query')), 200))
}

const listRoute = createRoute({
	method: 'get',
	path: '/v1/conversations',
	tags,
	summary: 'Conversations, newest first; `sort=recent`: last seen first.',
	request: { query: conversationQuerySchema },
	responses: { 200: answer(conversationPageSchema, 'A page of conversations.') },
})

const graphRoute = createRoute({
	method: 'get',
	path: '/v1/graph',
	tags,
	summary: 'Conversations rolled up to groups, the busiest edges first.',
	request: { query: graphQuerySchema },
	responses: { 200: answer(graphSchema, 'The graph.') },
})
