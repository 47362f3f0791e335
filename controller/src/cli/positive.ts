import { InvalidArgumentError } from 'commander'

/** Reads an option that is a number above zero. */
export function positive(text: string): number {
	if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('It must be a number above 0.')
	return Number(text)
}
