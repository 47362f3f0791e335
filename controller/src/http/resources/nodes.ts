import { createRoute } from '@hono/zod-openapi'
import {
	nodePageSchema,
	nodeQuerySchema,
	nodeResourceSchema,
	policyStatusSchema,
	workloadPageSchema,
	workloadQuerySchema,
	workloadResourceSchema,
} from '@ringfence/shared/contract/rest'
import type { Fleet } from '../../fleet/fleet.ts'
import { getNode, listNodes, readPolicyStatus } from '../../fleet/nodes/node-list.ts'
import { removeNode } from '../../fleet/nodes/nodes.ts'
import { getWorkload, listWorkloads } from '../../fleet/nodes/workload-list.ts'
import { type Api, actOf, answer, idParams, noContent } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

/** Nodes, what they run of the desired documents, and their workloads. */
export function addNodes(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listNodesRoute, async (c) =>
		c.json(await listNodes(fleet, c.req.valid('query')), 200),
	)

	api.openapi(getNodeRoute, async (c) => {
		const node = await getNode(fleet, c.req.valid('param').id)
		setEtag(c, node)
		return c.json(node, 200)
	})

	api.openapi(deleteNodeRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		await removeNode(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})

	api.openapi(policyStatusRoute, async (c) => c.json(await readPolicyStatus(fleet), 200))

	api.openapi(listWorkloadsRoute, async (c) =>
		c.json(await listWorkloads(db, c.req.valid('query')), 200),
	)

	api.openapi(getWorkloadRoute, async (c) => {
		const workload = await getWorkload(db, c.req.valid('param').id)
		setEtag(c, workload)
		return c.json(workload, 200)
	})
}

const listNodesRoute = createRoute({
	method: 'get',
	path: '/v1/nodes',
	tags: ['nodes'],
	summary: 'Nodes by name, with the generation of each document that they run.',
	request: { query: nodeQuerySchema },
	responses: { 200: answer(nodePageSchema, 'A page of nodes.') },
})

const getNodeRoute = createRoute({
	method: 'get',
	path: '/v1/nodes/{id}',
	tags: ['nodes'],
	summary: 'One node.',
	request: { params: idParams },
	responses: { 200: answer(nodeResourceSchema, 'The node.') },
})

const deleteNodeRoute = createRoute({
	method: 'delete',
	path: '/v1/nodes/{id}',
	tags: ['nodes'],
	summary: 'Removes a node with its account at the broker; its agent has to enrol anew.',
	request: { params: idParams },
	responses: { 204: noContent },
})

const policyStatusRoute = createRoute({
	method: 'get',
	path: '/v1/policy/status',
	tags: ['nodes'],
	summary: 'How many nodes run which generation of the desired documents.',
	responses: { 200: answer(policyStatusSchema, 'The convergence of the fleet.') },
})

const listWorkloadsRoute = createRoute({
	method: 'get',
	path: '/v1/workloads',
	tags: ['workloads'],
	summary: 'Workloads by name; running ones unless asked otherwise.',
	request: { query: workloadQuerySchema },
	responses: { 200: answer(workloadPageSchema, 'A page of workloads.') },
})

const getWorkloadRoute = createRoute({
	method: 'get',
	path: '/v1/workloads/{id}',
	tags: ['workloads'],
	summary: 'One workload.',
	request: { params: idParams },
	responses: { 200: answer(workloadResourceSchema, 'The workload.') },
})
