import { createRoute } from '@hono/zod-openapi'
import { whatIfAnswerSchema, whatIfQuestionSchema } from '@ringfence/shared/contract/rest'
import type { Fleet } from '../../fleet/fleet.ts'
import { askWhatIf } from '../../fleet/policy/what-if.ts'
import { Refusal } from '../../fleet/refusal.ts'
import { type Api, answer, body } from '../api.ts'

/** Questions at work at once: each may take seconds of this process. */
const QUESTIONS_MAX = 2
const RETRY_SECONDS = 5

export function addWhatIf(api: Api, fleet: Fleet): void {
	let questions = 0

	api.openapi(askRoute, async (c) => {
		if (questions >= QUESTIONS_MAX) {
			throw new Refusal('too-many', `${QUESTIONS_MAX} such questions are at work.`, {
				retryAfterSeconds: RETRY_SECONDS,
			})
		}
		questions++
		try {
			return c.json(await askWhatIf(fleet, c.req.valid('json')), 200)
		} finally {
			questions--
		}
	})
}

const askRoute = createRoute({
	method: 'post',
	path: '/v1/what-if',
	tags: ['rules'],
	summary:
		'What a change of modes and rules would have done to recorded conversations; writes nothing.',
	request: { body: body(whatIfQuestionSchema) },
	responses: { 200: answer(whatIfAnswerSchema, 'What would be different.') },
})
