import { z } from 'zod'
import { parseAddress } from '../net/address.ts'
import { networkOfInterface } from '../net/cidr.ts'
import { boundedRecordSchema, idSchema, nameSchema, timestampSchema } from './text.ts'

/** One IP address. */
export const addressSchema = z
	.string()
	.max(45)
	.refine((text) => parseAddress(text) !== undefined, 'not an IP address')

/** An interface's address with its prefix length: `10.0.0.5/24`. */
export const interfaceAddressSchema = z
	.string()
	.max(49)
	.refine(
		(text) => text.includes('/') && networkOfInterface(text) !== undefined,
		'not an interface address',
	)

export const interfaceSchema = z.strictObject({
	name: z.string().min(1).max(15),
	/** Lower case, colons. */
	mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
	addresses: z.array(interfaceAddressSchema).max(64),
})

export type NetworkInterface = z.infer<typeof interfaceSchema>

export const RUNTIMES = ['netns'] as const

const LABELS_MAX = 256

/** A workload as its node knows it. */
export const workloadSchema = z.strictObject({
	/** Stable over restarts of the agent; a workload that is made anew has another. */
	id: idSchema,
	name: nameSchema,
	runtime: z.enum(RUNTIMES),
	service: nameSchema,
	domain: nameSchema,
	image: nameSchema.optional(),
	labels: boundedRecordSchema(z.string().min(1).max(128), z.string().max(256), LABELS_MAX),
	interfaces: z.array(interfaceSchema).max(64),
	startedAt: timestampSchema,
})

export type Workload = z.infer<typeof workloadSchema>
