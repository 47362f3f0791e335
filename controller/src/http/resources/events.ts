import { createRoute } from '@hono/zod-openapi'
import {
	eventPageSchema,
	eventQuerySchema,
	eventResourceSchema,
} from '@ringfence/shared/contract/rest'
import { z } from 'zod'
import type { Fleet } from '../../fleet/fleet.ts'
import { getEvent, listEvents } from '../../fleet/reports/event-list.ts'
import { type Api, type ApiOptions, answer, idParams } from '../api.ts'
import { createEventStreams } from '../event-stream.ts'

const tags = ['events']

export function addEvents(api: Api, fleet: Fleet, options: ApiOptions): void {
	const { db } = fleet.store
	const streams = createEventStreams(fleet, options)

	api.openapi(listRoute, async (c) => c.json(await listEvents(db, c.req.valid('query')), 200))

	api.openapi(streamRoute, (c) => streams.open(c))

	api.openapi(getRoute, async (c) => c.json(await getEvent(db, c.req.valid('param').id), 200))
}

const listRoute = createRoute({
	method: 'get',
	path: '/v1/events',
	tags,
	summary: 'Events, newest first.',
	request: { query: eventQuerySchema },
	responses: { 200: answer(eventPageSchema, 'A page of events.') },
})

const streamRoute = createRoute({
	method: 'get',
	path: '/v1/events/stream',
	tags,
	summary: 'Events as they arrive (server-sent events). `Last-Event-ID` goes on after that event.',
	responses: {
		200: {
			description: 'One message of type `event` for each event, its data a JSON `Event`.',
			content: { 'text/event-stream': { schema: z.string() } },
		},
	},
})

const getRoute = createRoute({
	method: 'get',
	path: '/v1/events/{id}',
	tags,
	summary: 'One event.',
	request: { params: idParams },
	responses: { 200: answer(eventResourceSchema, 'The event.') },
})
