/** The demo's HTTP service: counts its visits in Redis, over one connection that it makes again when it breaks. */
import { createServer } from 'node:http'
import { connect } from 'node:net'

const REDIS = { host: '10.77.0.4', port: 6379 }
const INCR = '*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n'

let redis
const waiting = []

function redisConnection() {
	if (redis && !redis.destroyed) return redis
	redis = connect(REDIS)
	let text = ''
	redis.on('data', (bytes) => {
		text += bytes
		const lines = text.split('\r\n')
		text = lines.pop() ?? ''
		for (const line of lines) waiting.shift()?.(line.slice(1))
	})
	const fail = () => {
		for (const answer of waiting.splice(0)) answer('?')
	}
	return redis.on('error', fail).on('close', fail)
}

createServer((_request, response) => {
	waiting.push((visits) => response.end(`hello, visitor ${visits}\n`))
	redisConnection().write(INCR)
}).listen(8000, '::')
