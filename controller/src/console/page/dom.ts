/** What can be put into an element: text is always text, never markup. */
export type Child = Node | string | number | null | undefined | false

type Attributes = Readonly<Record<string, string | boolean | undefined>>

/** Makes an element. Names that workloads choose pass through here, so nothing is ever parsed as HTML. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
	tag: Tag,
	attributes: Attributes = {},
	...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
	const element = document.createElement(tag)
	for (const [name, value] of Object.entries(attributes)) {
		if (value !== undefined && value !== false) {
			element.setAttribute(name, value === true ? '' : value)
		}
	}
	for (const child of children) {
		if (child !== null && child !== undefined && child !== false) element.append(toNode(child))
	}
	return element
}

function toNode(child: Node | string | number): Node | string {
	return child instanceof Node ? child : visible(String(child))
}

/** Shows what would not be seen or would turn the text around: controls and bidirectional marks (Unicode TR 36 §2). */
function visible(text: string): string {
	return text.replace(
		/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu,
		(char) => `\\u{${char.codePointAt(0)?.toString(16) ?? ''}}`,
	)
}

/** A column of a table: its head, and what it shows of a row. */
export interface Column<Row> {
	readonly head: string
	readonly isNumber?: boolean
	readonly cell: (row: Row) => Child
}

export function table<Row>(
	label: string,
	columns: readonly Column<Row>[],
	rows: readonly Row[],
): HTMLElement {
	if (rows.length === 0) return h('p', { class: 'quiet' }, 'Nothing here yet.')
	const classOf = ({ isNumber }: Column<Row>) => (isNumber ? 'number' : undefined)
	return h(
		'table',
		{ 'aria-label': label },
		h(
			'thead',
			{},
			h(
				'tr',
				{},
				...columns.map((column) => h('th', { scope: 'col', class: classOf(column) }, column.head)),
			),
		),
		h(
			'tbody',
			{},
			...rows.map((row) =>
				h(
					'tr',
					{},
					...columns.map((column) => h('td', { class: classOf(column) }, column.cell(row))),
				),
			),
		),
	)
}

export type Tone = 'good' | 'warn' | 'bad' | 'plain'

export function pill(text: string, tone: Tone): HTMLElement {
	return h('span', { class: `pill ${tone}` }, text)
}

export function button(text: string, onPress: () => void): HTMLButtonElement {
	const made = h('button', { type: 'button' }, text)
	made.addEventListener('click', onPress)
	return made
}

export function choice(
	label: string,
	options: readonly string[],
	chosen: string,
	onChange: (value: string) => void,
): HTMLSelectElement {
	const select = h(
		'select',
		{ 'aria-label': label },
		...options.map((value) => h('option', { value, selected: value === chosen }, value)),
	)
	select.addEventListener('change', () => onChange(select.value))
	return select
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** `1.2 MB`: decimal units. */
export function bytesText(bytes: number): string {
	let [value, unit] = [bytes, 0]
	while (value >= 1000 && unit < UNITS.length - 1) {
		value /= 1000
		unit++
	}
	return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`
}

/** A time as its day and hour; the full one on hover. */
export function timeText(at: number | null): Child {
	if (at === null) return '–'
	const date = new Date(at)
	const isToday = date.toDateString() === new Date().toDateString()
	const text = isToday ? date.toLocaleTimeString() : date.toLocaleString()
	return h('time', { datetime: date.toISOString(), title: date.toISOString() }, text)
}
