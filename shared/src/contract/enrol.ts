import { z } from 'zod'
import { idSchema, nameSchema } from './text.ts'

/** `POST /v1/enroll`: a new agent trades a one-time token for its own credentials. */
export const enrolRequestSchema = z.strictObject({
	/** `rft_<id>_<secret>` */
	token: z.string().max(200),
	/** Name of the node for people; the hostname unless configured. */
	name: nameSchema,
})
export type EnrolRequest = z.infer<typeof enrolRequestSchema>

export const enrolResponseSchema = z.strictObject({
	node: idSchema,
	cluster: idSchema,
	/** `mqtt://host:port`, `mqtts://…`, `ws://…` or `wss://…`. User name is the node's id. */
	brokerUrl: z.string().max(512),
	brokerPassword: z.string().max(200),
	/** Signs desired documents: raw Ed25519 public key, base64. Pinned: another key is refused. */
	controllerKey: z.string().max(100),
	keyId: idSchema,
})
export type EnrolResponse = z.infer<typeof enrolResponseSchema>
