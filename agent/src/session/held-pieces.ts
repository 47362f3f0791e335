/** Copied bytes of one direction that wait for a hole before them to fill. */
export interface Piece {
	readonly sequence: number
	readonly view: DataView
	readonly bytes: number
}

/** Most bytes and pieces held for one direction. Two of the 64 KiB segments that offload makes fit. */
export const HELD_BYTES_MAX = 128 * 1024
export const HELD_PIECES_MAX = 64

/** Pieces of one direction: in order of sequence, never overlapping. */
export class HeldPieces {
	readonly pieces: Piece[] = []
	bytes = 0

	hasRoom(bytes: number): boolean {
		return this.pieces.length < HELD_PIECES_MAX && this.bytes + bytes <= HELD_BYTES_MAX
	}

	/** Puts a piece at `index`: the caller keeps the order. */
	insert(index: number, piece: Piece): void {
		this.pieces.splice(index, 0, piece)
		this.bytes += piece.bytes
	}

	/** Takes the first piece away. */
	shift(): Piece | undefined {
		const piece = this.pieces.shift()
		if (piece) this.bytes -= piece.bytes
		return piece
	}
}

/** Copies bytes out of a borrowed view. */
export function copyPiece(
	sequence: number,
	{ view, at, end }: { view: DataView; at: number; end: number },
): Piece {
	const copy = new Uint8Array(end - at)
	copy.set(new Uint8Array(view.buffer, view.byteOffset + at, end - at))
	return { sequence, view: new DataView(copy.buffer), bytes: end - at }
}
