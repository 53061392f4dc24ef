// MQTT.js over the address of the first argument (mqtts://, ws://, wss://): publishes to itself, and
// prints what has come back. MQTT_CA names the file of the authority to trust.

import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

const [url] = process.argv.slice(2)
const ca = process.env.MQTT_CA && readFileSync(process.env.MQTT_CA)
const payload = 'x'.repeat(300_000)
const client = mqtt.connect(url, { ca, protocolVersion: 5, reconnectPeriod: 0, connectTimeout: 10_000 })
const fail = (why) => { console.log(`no: ${why}`); process.exit(1) }
setTimeout(() => fail('nothing within 20 s'), 20_000)
client.on('error', (error) => fail(error.message))
client.on('close', () => fail('closed'))
client.on('message', (topic, found) => {
  console.log(found.toString() === payload ? `ok ${topic}` : `no: ${found.length} bytes`)
  client.removeAllListeners('close')
  client.end(false, {}, () => process.exit(0))
})
client.on('connect', () => client.subscribe('carriers/js', { qos: 1 }, () => {
  client.publish('carriers/js', payload, { qos: 1 })
}))
