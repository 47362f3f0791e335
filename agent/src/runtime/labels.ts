import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { describeIssues } from '@ringfence/shared/contract/codec'
import { type Workload, workloadSchema } from '@ringfence/shared/contract/workload'

/** Longest label file that is read. */
const LABELS_BYTES_MAX = 65_536
/** Most labels of one workload. */
const LABELS_MAX = 128

/** What a label file may say of its workload. */
const labelsSchema = workloadSchema
	.pick({ service: true, domain: true, image: true, labels: true })
	.partial()
	.refine(({ labels }) => Object.keys(labels ?? {}).length <= LABELS_MAX, 'too many labels')

export type Labels = Pick<Workload, 'service' | 'domain' | 'image' | 'labels'>

/** Text of the file; undefined when there is none. Throws what `fs` throws, and on what is no small plain file. */
export function readLabelFile(path: string): string | undefined {
	let fd: number
	try {
		// Non-blocking: opening a FIFO would wait for its writer.
		fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
	} catch (error) {
		if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
		throw error
	}
	try {
		const { size } = fstatSync(fd)
		if (!fstatSync(fd).isFile()) throw new RangeError('not a plain file')
		if (size > LABELS_BYTES_MAX) throw new RangeError(`longer than ${LABELS_BYTES_MAX} bytes`)
		const bytes = new Uint8Array(LABELS_BYTES_MAX)
		return new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes)))
	} finally {
		closeSync(fd)
	}
}

/**
 * Reads a label file's text; what it leaves out has defaults.
 * @param name of the workload: its service unless the file names one
 * @returns `why` when the text is refused as a whole; `labels` are the defaults then
 */
export function parseLabels(
	name: string,
	text: string | undefined,
): { readonly labels: Labels; readonly why?: string } {
	const defaults = { service: name, domain: 'default', labels: {} }
	if (text === undefined) return { labels: defaults }
	let json: unknown
	try {
		json = JSON.parse(text)
	} catch (error) {
		return { labels: defaults, why: error instanceof Error ? error.message : 'not JSON' }
	}
	const parsed = labelsSchema.safeParse(json)
	if (!parsed.success) return { labels: defaults, why: describeIssues(parsed.error) }
	const { service, domain, image, labels } = parsed.data
	return {
		labels: {
			service: service ?? defaults.service,
			domain: domain ?? defaults.domain,
			labels: labels ?? defaults.labels,
			...(image !== undefined && { image }),
		},
	}
}
