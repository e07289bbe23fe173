// A driver in Node: `node node_driver.js serial` or `node node_driver.js checkout`. See docs/reference/driver.md.
// The workers are started by the pool's worker_command and speak the wire protocol.
'use strict'
const { spawn } = require('node:child_process')
const most = workers => (process.argv[2] === 'serial' ? 1 : workers) // calls that run at the same time
const LAST_WORDS_MS = 20, START_AGAIN_MS = 50
const workers = new Set(), idle = [], waiting = []
let config, closed = false, running = 0, last = 0, warm = [], whenIdle = () => {}
const count = () => [...workers].filter(worker => worker.ready).length

const send = message => process.stdout.write(JSON.stringify(message) + '\n')
const reply = (call, body) => {
  clearTimeout(call.timer)
  clearTimeout(call.patience)
  if (!call.over) send({ reply_to: call.id, ...body })
  call.over = true
}
const fail = (call, name, text, sent) => reply(call, { error: { name, text, sent } })

function startWorker () {
  const id = ++last
  const [program, ...words] = config.worker_command.map(word => word.replace('{worker_id}', id))
  const env = { ...process.env, ...config.env }
  const child = spawn(program, words, { env, stdio: ['pipe', 'pipe', 'ignore'], detached: true })
  const worker = { id, child, ready: false, dead: false, call: { id: 0, text: '{}', command: 'ping' } }
  let data = Buffer.alloc(0)
  workers.add(worker)
  child.stdin.on('error', () => {}) // its end is told by 'exit'
  child.on('error', () => lost(worker))
  child.on('exit', () => setTimeout(lost, LAST_WORDS_MS, worker)) // what it wrote before is still read
  child.stdout.on('data', chunk => {
    data = Buffer.concat([data, chunk])
    while (!worker.dead && data.length >= 4) {
      const end = 4 + data.readUInt32BE(0)
      if (end > config.max_frame_bytes || (worker.ready && data.length > end)) return broke(worker)
      if (data.length < end) return
      answered(worker, data.subarray(4, end).toString())
      data = data.subarray(end)
    }
  })
  write(worker)
}

function write ({ child, call: { id, command, text } }) {
  const body = Buffer.from(`{"id":${id},"command":${JSON.stringify(command)},"args":${text}}`)
  const size = Buffer.alloc(4)
  size.writeUInt32BE(body.length)
  child.stdin.write(Buffer.concat([size, body]))
}

function answered (worker, frame) {
  let told = {}
  try { told = JSON.parse(frame) } catch {}
  if (!worker.call || told.id !== worker.call.id) return worker.ready && broke(worker) // strays of a start are ignored
  if (worker.ready) {
    running--
    reply(worker.call, { ok: { response: frame } })
  }
  worker.ready = true
  worker.call = null
  idle.push(worker)
  next()
}

const kill = worker => { try { process.kill(-worker.child.pid, 'SIGKILL') } catch {} }
const broke = worker => { worker.dead = true; kill(worker); lost(worker) }

function lost (worker) {
  if (!workers.delete(worker)) return
  const { call, ready } = worker
  worker.dead = true
  if (idle.includes(worker)) idle.splice(idle.indexOf(worker), 1)
  kill(worker) // what it has started
  if (call && ready) {
    running--
    fail(call, closed ? 'PoolClosed' : 'WorkerCrashed', `worker ${worker.id} has ended`, 'yes')
  }
  setTimeout(() => closed || startWorker(), ready ? 0 : START_AGAIN_MS)
  next()
}

function next () {
  while (!closed && waiting.length && idle.length && running < most(config.workers)) {
    const worker = idle.shift()
    worker.call = waiting.shift()
    worker.call.worker = worker
    running++
    write(worker)
  }
  if (closed && !running) whenIdle()
  warm = warm.filter(({ id, n }) => count() < n || void send({ reply_to: id, ok: { ready: count() } }))
}

function call ({ id, command, args, timeout_s: limitS, checkout_timeout_s: waitS }) {
  const call = { id, command, text: args }
  if (closed) return fail(call, 'PoolClosed', 'the pool is closed')
  const tooLate = () => {
    const place = waiting.indexOf(call)
    if (place >= 0) {
      waiting.splice(place, 1)
      fail(call, 'CheckoutTimeout', `${command}: no worker was free in time`)
    } else {
      fail(call, 'CallTimeout', `${command}: no answer in ${limitS} s`, 'yes')
      kill(call.worker)
    }
  }
  call.patience = setTimeout(() => waiting.includes(call) && tooLate(), waitS * 1000)
  call.timer = setTimeout(tooLate, limitS * 1000)
  waiting.push(call)
  next()
}

function close ({ id, grace_s: graceS }) {
  closed = true
  for (const call of waiting.splice(0)) fail(call, 'PoolClosed', 'the pool was closed')
  const killAll = () => workers.forEach(kill)
  const grace = setTimeout(killAll, graceS * 1000)
  whenIdle = () => {
    killAll()
    clearTimeout(grace)
    if (!workers.size) { whenIdle = () => {}; send({ reply_to: id, ok: {} }) }
  }
  next()
}

const SELF = {
  protocol: 1,
  name: `node-${process.argv[2]}`,
  commands: null, // those of the workers that worker_command starts
  capabilities: ['kill', 'journal', 'warm_up'],
  request_ids: true,
  values_as_text: true // JSON.parse would round large whole numbers
}
const handlers = {
  hello: ({ id }) => send({ reply_to: id, ok: SELF }),
  open: message => {
    config = message.config
    for (let count = 0; count < config.workers; count++) startWorker()
    send({ reply_to: message.id, ok: {} })
  },
  call,
  status: ({ id }) => {
    const state = ({ ready, call }) => !ready ? 'starting' : call ? 'leased' : 'idle'
    const told = [...workers].map(worker => ({ worker: worker.id, pid: worker.child.pid, state: state(worker) }))
    send({ reply_to: id, ok: { waiting: waiting.length, workers: told } })
  },
  warm_up: message => { warm.push(message); next() },
  close
}
require('node:readline').createInterface({ input: process.stdin })
  .on('line', line => {
    const message = JSON.parse(line)
    const unknown = () => fail(message, 'InvalidRequest', `unknown type ${message.type}`)
    ;(handlers[message.type] || unknown)(message)
  })
  .on('close', () => {
    workers.forEach(kill)
    process.exit(0)
  })
