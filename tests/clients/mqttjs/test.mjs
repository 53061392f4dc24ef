// The broker as MQTT.js sees it, the library behind Node-RED, Zigbee2MQTT and most dashboards.
//
// Prints `ok NAME` or `FAILED NAME: why` for each test, as suite.py does. The broker is at
// MQTT_HOST and MQTT_PORT. Arguments are parts of names; only matching tests run.
//
//     tests/clients/broker.py mqttjs node tests/clients/mqttjs/test.mjs       (after `npm ci` there)

import assert from 'node:assert/strict'
import { randomBytes, createHash } from 'node:crypto'
import mqtt from 'mqtt'

const HOST = process.env.MQTT_HOST ?? '127.0.0.1'
const PORT = Number(process.env.MQTT_PORT ?? 1883)
const PATIENCE_MS = 10_000 // for what must happen
const SILENCE_MS = 250 // for what must not
const TEST_TIME_MS = 30_000
const BIG_BYTES = 1_900_000
const V311 = 4
const V5 = 5

const tests = []
const test = (name, run) => tests.push([name, run])
const forEachVersion = (name, run) => {
  for (const version of [V311, V5]) test(`${name}[v${version === V5 ? '5' : '311'}]`, () => run(version, `${name}/${version}`))
}
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// ---- a client one can wait for

let number = 0
const clients = new Set()

/** A connected client that remembers all messages and does not reconnect by itself. */
class Client {
  static async connect(options = {}) {
    const client = new Client()
    clients.add(client)
    client.mqtt = mqtt.connect({
      host: HOST, port: PORT, protocol: 'mqtt', protocolVersion: V5, reconnectPeriod: 0, connectTimeout: PATIENCE_MS,
      clientId: `mqttjs-${process.pid}-${++number}`, ...options
    })
    client.messages = []
    client.mqtt.on('message', (topic, payload, packet) => client.messages.push({ topic, payload, text: payload.toString(), packet }))
    client.mqtt.on('disconnect', (packet) => { client.disconnectPacket = packet })
    client.mqtt.on('close', () => { client.closed = true })
    client.connack = await new Promise((resolve, reject) => {
      client.mqtt.once('connect', resolve)
      client.mqtt.once('error', reject)
      client.mqtt.once('close', () => reject(new Error('the broker closed the connection')))
    })
    client.mqtt.on('error', (error) => { client.error = error })
    return client
  }

  async until(condition, what) {
    const giveUp = Date.now() + PATIENCE_MS
    while (!condition()) {
      if (Date.now() > giveUp) {
        throw new Error(`no ${what} within ${PATIENCE_MS} ms; got ${JSON.stringify(this.messages.slice(-5).map((m) => [m.topic, m.text.slice(0, 40)]))}`)
      }
      await sleep(5)
    }
  }

  /** Exactly these payloads in this order, and then silence. Gives the messages. */
  async gets(...texts) {
    await this.until(() => this.messages.length >= texts.length, `${texts.length} messages`)
    await sleep(SILENCE_MS)
    assert.deepEqual(this.messages.map((m) => m.text), texts)
    return this.messages
  }

  /** Gives the Reason Codes of the SUBACK. */
  async subscribe(filter, options = { qos: 0 }) {
    const granted = await this.mqtt.subscribeAsync(filter, options)
    return granted.map((one) => one.qos)
  }

  async publish(topic, payload, options = {}) {
    await this.mqtt.publishAsync(topic, payload, options)
  }

  /** Breaks the connection off without a DISCONNECT. */
  async cut() {
    this.mqtt.stream.destroy()
    await this.until(() => this.closed, 'end of the connection')
  }

  async leave(options = {}) {
    clients.delete(this)
    if (!this.closed) await this.mqtt.endAsync(false, options)
    else this.mqtt.end(true)
  }
}

// ---- connecting and publishing

forEachVersion('connects', async (version) => {
  const client = await Client.connect({ protocolVersion: version })
  assert.equal(client.connack.sessionPresent, false)
  assert.equal(version === V5 ? client.connack.reasonCode : client.connack.returnCode, 0)
})

test('ipv6_loopback', async () => {
  const client = await Client.connect({ host: '::1' })
  await client.subscribe('six')
  await client.publish('six', 'x')
  await client.gets('x')
})

test('assigned_client_identifier', async () => {
  const client = await Client.connect({ clientId: '' })
  assert.ok(client.connack.properties?.assignedClientIdentifier, 'no Assigned Client Identifier')
})

test('pings_keep_the_connection', async () => {
  const client = await Client.connect({ keepalive: 1 })
  let pongs = 0
  client.mqtt.on('packetreceive', (packet) => { if (packet.cmd === 'pingresp') pongs++ })
  await sleep(3500)
  assert.ok(pongs >= 2, `${pongs} PINGRESP in 3.5 s`)
  assert.ok(!client.closed, 'the connection was closed')
})

forEachVersion('every_qos_in_order', async (version, topic) => {
  const publisher = await Client.connect({ protocolVersion: version })
  const sent = Array.from({ length: 200 }, (_, index) => String(index))
  const subscribers = []
  for (const granted of [0, 1, 2]) {
    for (const qos of [0, 1, 2]) {
      const client = await Client.connect({ protocolVersion: version })
      assert.deepEqual(await client.subscribe(`${topic}/${qos}`, { qos: granted }), [granted])
      subscribers.push({ granted, qos, client })
    }
  }
  for (const qos of [0, 1, 2]) {
    // MQTT.js knows no Receive Maximum (20 by default), so it is the caller who must keep it.
    for (let start = 0; start < sent.length; start += 15) {
      await Promise.all(sent.slice(start, start + 15).map((text) => publisher.publish(`${topic}/${qos}`, text, { qos })))
    }
  }
  for (const { client } of subscribers) await client.until(() => client.messages.length >= sent.length, '200 messages')
  await sleep(SILENCE_MS)
  for (const { granted, qos, client } of subscribers) {
    assert.deepEqual(client.messages.map((m) => m.text), sent, `QoS ${qos} to ${granted}`)
    assert.deepEqual([...new Set(client.messages.map((m) => m.packet.qos))], [Math.min(granted, qos)])
  }
})

test('many_open_qos2_messages_before_mqtt_5', async () => {
  // 3.1.1 has no Receive Maximum: nothing may be refused, let alone dropped, as mosquitto 2.0 does.
  const publisher = await Client.connect({ protocolVersion: V311 })
  const client = await Client.connect({ protocolVersion: V311 })
  await client.subscribe('many/open', { qos: 2 })
  const sent = Array.from({ length: 200 }, (_, index) => String(index))
  const published = Promise.all(sent.map((text) => publisher.publish('many/open', text, { qos: 2 })))
  await client.gets(...sent)
  await published
})

for (const qos of [0, 1, 2]) {
  forEachVersion(`big_payload_qos${qos}`, async (version, topic) => {
    const content = randomBytes(BIG_BYTES)
    const publisher = await Client.connect({ protocolVersion: version })
    const client = await Client.connect({ protocolVersion: version })
    await client.subscribe(topic, { qos })
    await publisher.publish(topic, content, { qos })
    await client.until(() => client.messages.length, 'big message')
    const [expected, got] = [content, client.messages[0].payload].map((data) => createHash('sha256').update(data).digest('hex'))
    assert.equal(got, expected, `sha256 of ${client.messages[0].payload.length} bytes`)
  })
}

test('takeover', async () => {
  const older = await Client.connect({ clientId: 'mqttjs-twin' })
  const newer = await Client.connect({ clientId: 'mqttjs-twin' })
  await older.until(() => older.closed, 'end of the older connection')
  // mosquitto before 2.0.12 closes without a word.
  assert.equal(older.disconnectPacket?.reasonCode, 0x8e)
  assert.ok(!newer.closed)
})

// ---- retained messages, wills, sessions

forEachVersion('retained', async (version, topic) => {
  const publisher = await Client.connect({ protocolVersion: version })
  const live = await Client.connect({ protocolVersion: version })
  await live.subscribe(topic, { qos: 1 })
  await publisher.publish(topic, 'first', { qos: 1, retain: true })
  await publisher.publish(topic, 'second', { qos: 1, retain: true })
  const late = await Client.connect({ protocolVersion: version })
  await late.subscribe(topic, { qos: 1 })
  assert.equal((await late.gets('second'))[0].packet.retain, true)
  await publisher.publish(topic, '', { qos: 1, retain: true })
  const later = await Client.connect({ protocolVersion: version })
  await later.subscribe(topic, { qos: 1 })
  await later.gets()
  assert.ok((await live.gets('first', 'second', '')).every((m) => !m.packet.retain), 'RETAIN on an established subscription')
})

forEachVersion('will', async (version, topic) => {
  const watcher = await Client.connect({ protocolVersion: version })
  await watcher.subscribe(`${topic}/+`, { qos: 2 })
  const will = (name) => ({ topic: `${topic}/${name}`, payload: Buffer.from(name), qos: 1, retain: false })
  const victim = await Client.connect({ protocolVersion: version, will: will('killed') })
  const leaver = await Client.connect({ protocolVersion: version, will: will('left') })
  await leaver.leave()
  await victim.cut()
  assert.equal((await watcher.gets('killed'))[0].packet.qos, 1)
})

test('will_properties_and_delay', async () => {
  const watcher = await Client.connect()
  await watcher.subscribe('will/delayed')
  const victim = await Client.connect({
    clientId: 'mqttjs-delayed',
    properties: { sessionExpiryInterval: 60 },
    will: {
      topic: 'will/delayed', payload: Buffer.from('gone'), qos: 0, retain: false,
      properties: { willDelayInterval: 1, contentType: 'text/x', userProperties: { a: ['1', '2'] }, responseTopic: 'r' }
    }
  })
  await victim.cut()
  const cut = Date.now()
  const [message] = await watcher.gets('gone')
  const took = Date.now() - SILENCE_MS - cut
  assert.ok(took > 700 && took < 4000, `the Will came after ${took} ms`)
  const { contentType, responseTopic, userProperties } = message.packet.properties
  assert.deepEqual([contentType, responseTopic, userProperties.a], ['text/x', 'r', ['1', '2']])
})

forEachVersion('session', async (version, topic) => {
  const durable = {
    protocolVersion: version, clientId: `mqttjs-session-${version}`, clean: false,
    ...(version === V5 ? { properties: { sessionExpiryInterval: 600 } } : {})
  }
  const first = await Client.connect(durable)
  await first.subscribe(topic, { qos: 1 })
  await first.leave()
  const publisher = await Client.connect({ protocolVersion: version })
  const sent = Array.from({ length: 100 }, (_, index) => String(index))
  for (const text of sent) await publisher.publish(topic, text, { qos: 1 })
  const second = await Client.connect(durable)
  assert.equal(second.connack.sessionPresent, true)
  await second.gets(...sent)
  await second.leave()
  const third = await Client.connect({ ...durable, clean: true })
  assert.equal(third.connack.sessionPresent, false)
})

forEachVersion('reconnects_and_loses_nothing', async (version, topic) => {
  const durable = { protocolVersion: version, clean: false, reconnectPeriod: 50, ...(version === V5 ? { properties: { sessionExpiryInterval: 600 } } : {}) }
  const subscriber = await Client.connect({ ...durable, clientId: `mqttjs-rs-${version}`, resubscribe: false })
  const publisher = await Client.connect({ ...durable, clientId: `mqttjs-rp-${version}` })
  await subscriber.subscribe(topic, { qos: 2 })
  const sent = Array.from({ length: 300 }, (_, index) => String(index))
  for (let start = 0; start < sent.length; start += 10) {
    const batch = sent.slice(start, start + 10).map((text) => publisher.publish(topic, text, { qos: 2 }))
    if (start % 60 === 0) publisher.mqtt.stream.destroy()
    if (start % 60 === 30) subscriber.mqtt.stream.destroy()
    await Promise.all(batch)
  }
  await subscriber.gets(...sent)
})

// ---- subscriptions

forEachVersion('wildcards_and_unsubscribe', async (version, topic) => {
  const client = await Client.connect({ protocolVersion: version })
  await client.subscribe([`${topic}/+/x`, `${topic}/tree/#`], { qos: 1 })
  for (const name of ['a/x', 'a/b/x', 'tree', 'tree/a/b', 'other']) await client.publish(`${topic}/${name}`, name, { qos: 1 })
  await client.gets('a/x', 'tree', 'tree/a/b')
  await client.mqtt.unsubscribeAsync(`${topic}/tree/#`)
  for (const name of ['c/x', 'tree/c']) await client.publish(`${topic}/${name}`, name, { qos: 1 })
  await client.gets('a/x', 'tree', 'tree/a/b', 'c/x')
})

forEachVersion('shared_subscription', async (version, topic) => {
  const members = []
  for (let index = 0; index < 3; index++) {
    const member = await Client.connect({ protocolVersion: version })
    assert.deepEqual(await member.subscribe(`$share/crew/${topic}`, { qos: 1 }), [1])
    members.push(member)
  }
  const publisher = await Client.connect({ protocolVersion: version })
  const sent = Array.from({ length: 60 }, (_, index) => String(index))
  for (const text of sent) await publisher.publish(topic, text, { qos: 1 })
  await sleep(SILENCE_MS)
  const got = members.flatMap((member) => member.messages.map((m) => m.text)).sort((a, b) => a - b)
  assert.deepEqual(got, sent)
  assert.ok(members.every((member) => member.messages.length > 0), 'one member got nothing')
})

test('subscription_options_and_identifier', async () => {
  const publisher = await Client.connect()
  await publisher.publish('options/kept', 'kept', { qos: 1, retain: true })
  const client = await Client.connect()
  await client.subscribe('options/kept', { qos: 1, rh: 2, rap: true, properties: { subscriptionIdentifier: 42 } })
  await client.subscribe('options/own', { qos: 1, nl: true })
  await client.publish('options/own', 'own', { qos: 1 })
  await publisher.publish('options/own', 'other', { qos: 1 })
  await publisher.publish('options/kept', 'new', { qos: 1, retain: true })
  const [, kept] = await client.gets('other', 'new')
  assert.equal(kept.packet.retain, true)
  assert.equal([kept.packet.properties.subscriptionIdentifier].flat()[0], 42)
})

// ---- properties of MQTT 5

test('publish_properties', async () => {
  const publisher = await Client.connect()
  const client = await Client.connect()
  const older = await Client.connect({ protocolVersion: V311 })
  await client.subscribe('properties', { qos: 1 })
  await older.subscribe('properties', { qos: 1 })
  const properties = {
    payloadFormatIndicator: true, messageExpiryInterval: 100, contentType: 'text/tea', responseTopic: 'answer/to',
    correlationData: Buffer.from([0, 1, 255]), userProperties: { a: ['1', '2'], 'größe': 'µ' }
  }
  await publisher.publish('properties', 'x', { qos: 1, properties })
  const [{ packet }] = await client.gets('x')
  const { messageExpiryInterval, userProperties, ...rest } = packet.properties
  assert.ok(messageExpiryInterval >= 98 && messageExpiryInterval <= 100, `Message Expiry Interval ${messageExpiryInterval}`)
  assert.deepEqual({ ...userProperties }, { a: ['1', '2'], 'größe': 'µ' })
  assert.deepEqual({ ...rest }, { payloadFormatIndicator: true, contentType: 'text/tea', responseTopic: 'answer/to', correlationData: Buffer.from([0, 1, 255]) })
  await older.gets('x')
})

test('request_and_response', async () => {
  const responder = await Client.connect()
  await responder.subscribe('rr/question', { qos: 1 })
  responder.mqtt.on('message', (_topic, payload, packet) => {
    const { responseTopic, correlationData } = packet.properties
    responder.mqtt.publish(responseTopic, `${payload} 42`, { qos: 1, properties: { correlationData } })
  })
  const asker = await Client.connect()
  await asker.subscribe('rr/answer/me', { qos: 1 })
  await asker.publish('rr/question', 'how much?', { qos: 1, properties: { responseTopic: 'rr/answer/me', correlationData: Buffer.from('7') } })
  const [{ packet }] = await asker.gets('how much? 42')
  assert.equal(packet.properties.correlationData.toString(), '7')
})

test('topic_alias_from_the_client', async () => {
  const publisher = await Client.connect({ autoAssignTopicAlias: true })
  const packets = []
  publisher.mqtt.on('packetsend', (packet) => { if (packet.cmd === 'publish') packets.push(packet) })
  const client = await Client.connect()
  await client.subscribe('alias/+', { qos: 1 })
  const letters = [...'abcabcaabbccdefghijklmnabc']
  for (const letter of letters) await publisher.publish(`alias/${letter}`, letter, { qos: 1 })
  const got = await client.gets(...letters)
  assert.deepEqual(got.map((m) => m.topic), letters.map((letter) => `alias/${letter}`))
  assert.ok(packets.some((packet) => packet.topic === '' && packet.properties?.topicAlias), 'no packet went by its alias alone')
})

test('topic_alias_to_the_client', async () => {
  const client = await Client.connect({ properties: { topicAliasMaximum: 2 } })
  const publisher = await Client.connect()
  await client.subscribe('alias-out/+', { qos: 1 })
  const letters = [...'abcabcaabbcc']
  for (const letter of letters) await publisher.publish(`alias-out/${letter}`, letter, { qos: 1 })
  const got = await client.gets(...letters)
  assert.deepEqual(got.map((m) => m.topic), letters.map((letter) => `alias-out/${letter}`))
})

test('maximum_packet_size_of_the_client', async () => {
  const client = await Client.connect({ properties: { maximumPacketSize: 500, receiveMaximum: 5 } })
  const publisher = await Client.connect()
  await client.subscribe('small', { qos: 1 })
  for (const text of ['1', 'x'.repeat(1000), '2']) await publisher.publish('small', text, { qos: 1 })
  await client.gets('1', '2')
})

// ---- the run

const wanted = tests.filter(([name]) => process.argv.length < 3 || process.argv.slice(2).some((part) => name.includes(part)))
let failed = wanted.length ? 0 : 1
for (const [name, run] of wanted) {
  const started = Date.now()
  let timer
  try {
    await Promise.race([run(), new Promise((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`not done after ${TEST_TIME_MS} ms`)), TEST_TIME_MS)
    })])
    console.log(`ok ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failed++
    console.log(`FAILED ${name}: ${String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 2000)}`)
  } finally {
    clearTimeout(timer)
    await Promise.all([...clients].map((client) => client.leave().catch(() => {})))
  }
}
if (!wanted.length) console.log('FAILED no test has such a name')
process.exit(failed ? 1 : 0)
