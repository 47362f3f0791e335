import { createRoute } from '@hono/zod-openapi'
import {
	ruleCreateSchema,
	ruleMoveSchema,
	rulePageSchema,
	rulePatchSchema,
	ruleQuerySchema,
	ruleResourceSchema,
} from '@ringfence/shared/contract/rest'
import { z } from 'zod'
import type { Fleet } from '../../fleet/fleet.ts'
import {
	createRule,
	deleteRule,
	getRule,
	listRules,
	moveRule,
	patchRule,
} from '../../fleet/policy/rules.ts'
import { type Api, actOf, answer, body, noContent } from '../api.ts'
import { expectedRevision, setEtag } from '../preconditions.ts'

const tags = ['rules']
const ruleParams = z.object({
	id: z
		.string()
		.regex(/^\d{1,15}$/, 'not the number of a rule')
		.transform(Number),
})

export function addRules(api: Api, fleet: Fleet): void {
	const { db } = fleet.store

	api.openapi(listRoute, async (c) => c.json(await listRules(db, c.req.valid('query')), 200))

	api.openapi(createRuleRoute, async (c) => {
		const rule = await createRule(fleet, actOf(c.var.principal, fleet), c.req.valid('json'))
		setEtag(c, rule)
		c.header('location', `/v1/rules/${rule.id}`)
		return c.json(rule, 201)
	})

	api.openapi(getRoute, async (c) => {
		const rule = await getRule(db, c.req.valid('param').id)
		setEtag(c, rule)
		return c.json(rule, 200)
	})

	api.openapi(patchRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		const act = actOf(c.var.principal, fleet)
		const rule = await patchRule(fleet, act, target, c.req.valid('json'))
		setEtag(c, rule)
		return c.json(rule, 200)
	})

	api.openapi(moveRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		const act = actOf(c.var.principal, fleet)
		const rule = await moveRule(fleet, act, target, c.req.valid('json'))
		setEtag(c, rule)
		return c.json(rule, 200)
	})

	api.openapi(deleteRoute, async (c) => {
		const target = { id: c.req.valid('param').id, expected: expectedRevision(c) }
		await deleteRule(fleet, actOf(c.var.principal, fleet), target)
		return c.body(null, 204)
	})
}

const listRoute = createRoute({
	method: 'get',
	path: '/v1/rules',
	tags,
	summary: 'Rules in the order in which they are tried; those of users come before learned ones.',
	request: { query: ruleQuerySchema },
	responses: { 200: answer(rulePageSchema, 'A page of rules.') },
})

const createRuleRoute = createRoute({
	method: 'post',
	path: '/v1/rules',
	tags,
	summary: 'Makes a rule; without `before` or `after` it comes after all others of users.',
	request: { body: body(ruleCreateSchema) },
	responses: { 201: answer(ruleResourceSchema, 'The rule.') },
})

const getRoute = createRoute({
	method: 'get',
	path: '/v1/rules/{id}',
	tags,
	summary: 'One rule.',
	request: { params: ruleParams },
	responses: { 200: answer(ruleResourceSchema, 'The rule.') },
})

const patchRoute = createRoute({
	method: 'patch',
	path: '/v1/rules/{id}',
	tags,
	summary: 'Changes a rule. A learned one can only be switched on or off and commented.',
	request: { params: ruleParams, body: body(rulePatchSchema) },
	responses: { 200: answer(ruleResourceSchema, 'The rule.') },
})

const moveRoute = createRoute({
	method: 'post',
	path: '/v1/rules/{id}/move',
	tags,
	summary: 'Gives a rule another place among those of users; without `before` or `after` the last.',
	request: { params: ruleParams, body: body(ruleMoveSchema) },
	responses: { 200: answer(ruleResourceSchema, 'The rule.') },
})

const deleteRoute = createRoute({
	method: 'delete',
	path: '/v1/rules/{id}',
	tags,
	summary: 'Removes a rule. A learned one comes back when discovery sees the same again.',
	request: { params: ruleParams },
	responses: { 204: noContent },
})
