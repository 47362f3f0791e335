/**
 * Traffic whose count is known: connects to a server `total` times, one connection every `interval` ms, says PING in Redis's
 * language and reads the answer. Prints the number of exchanges done, a line each.
 * Arguments: HOST PORT TOTAL INTERVAL_MS.
 */
import { connect } from 'node:net'

const [host = '', port = '', total = '', interval = ''] = process.argv.slice(2)
let started = 0
let done = 0

const timer = setInterval(() => {
	if (started++ === Number(total)) return clearInterval(timer)
	const socket = connect(Number(port), host)
	socket.on('connect', () => socket.write('PING\r\n'))
	socket.on('data', () => socket.end())
	socket.on('close', () => process.stdout.write(`${++done}\n`))
	socket.on('error', (error) => process.stderr.write(`${error.message}\n`))
}, Number(interval))
