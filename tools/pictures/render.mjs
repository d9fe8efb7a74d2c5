#!/usr/bin/env node
// Draws every dashboard of an InfluxDB 2 server into a PNG file, with the answers to its own queries.

import {mkdir, stat} from 'node:fs/promises'
import path from 'node:path'
import {parseArgs} from 'node:util'

import {pointInTime} from './flux.mjs'
import {Refusal} from './refusal.mjs'
import {Server} from './server.mjs'

const USAGE = `Draws every dashboard of an InfluxDB 2 server into a PNG file, with the answers to its own queries.

node tools/pictures/render.mjs --out DIR [options]

  --url URL          address of the server [INFLUX_HOST, else http://localhost:8086]
  --token TOKEN      token that may read dashboards, variables and buckets [INFLUX_TOKEN]
  --org ORG          name of the organization [INFLUX_ORG]
  --out DIR          folder for the pictures
  --start TIME       -1h, or a time such as 2021-02-20T00:00:00Z [-1h]
  --stop TIME        now(), -5m, or a time [now()]
  --dashboard NAME   only this dashboard; may be repeated
  --set NAME=VALUE   value of a variable, else its default; may be repeated
  --cells            also a picture of each cell
  --width PIXELS     width of the page [1280]
  --scale FACTOR     pixels of the picture for each of the page [1.25]
  --check            fail if a cell has an error or no rows, or if text is cut off or covered
  --help             this text`

const OPTIONS = {
  url: {type: 'string', default: process.env.INFLUX_HOST ?? 'http://localhost:8086'},
  token: {type: 'string', default: process.env.INFLUX_TOKEN},
  org: {type: 'string', default: process.env.INFLUX_ORG},
  out: {type: 'string'},
  start: {type: 'string', default: '-1h'},
  stop: {type: 'string', default: 'now()'},
  dashboard: {type: 'string', multiple: true, default: []},
  set: {type: 'string', multiple: true, default: []},
  cells: {type: 'boolean', default: false},
  width: {type: 'string', default: '1280'},
  scale: {type: 'string', default: '1.25'},
  check: {type: 'boolean', default: false},
  help: {type: 'boolean', default: false},
}

async function run() {
  const options = parse()
  if (options.help) {
    console.log(USAGE)
    return true
  }
  const now = new Date()
  const range = {
    start: pointInTime(options.start, now, 'start'),
    stop: pointInTime(options.stop, now, 'stop'),
  }
  if (range.start.time >= range.stop.time) {
    throw new Refusal(`--start ${options.start} is not before --stop ${options.stop}`)
  }
  const {Painter, Reader} = await libraries()
  const server = new Server(options)
  const dashboards = chosen(await server.dashboards(), options)
  const files = fileNames(dashboards)
  const reader = new Reader(server, await server.variables(), {range, chosen: settings(options), now})
  await mkdir(options.out, {recursive: true}).catch(e => {
    throw new Refusal(`--out ${options.out}: the folder cannot be made (${e.message})`)
  })

  const painter = await Painter.start(options)
  let flawless = true
  try {
    for (const dashboard of dashboards) {
      const flaws = await painter.draw(await reader.read(dashboard))
      const file = path.join(options.out, `${files.get(dashboard)}.png`)
      await painter.picture(file)
      console.log(`${file}  ${Math.ceil((await stat(file)).size / 1024)} KB`)
      if (options.cells) {
        for (const [i, {id, name}] of dashboard.cells.entries()) {
          const number = String(i + 1).padStart(2, '0')
          await painter.cellPicture(id, path.join(options.out, `${files.get(dashboard)}-${number}-${kebab(name)}.png`))
        }
      }
      for (const {cell, flaw} of flaws) {
        flawless = false
        console.error(`${dashboard.name}: ${cell}: ${flaw}`)
      }
    }
  } finally {
    await painter.stop()
  }
  return flawless || !options.check
}

function parse() {
  let values
  try {
    values = parseArgs({args: commandLine(), options: OPTIONS}).values
  } catch (e) {
    throw new Refusal(`${e.message}\n\n${USAGE}`)
  }
  if (values.help) {
    return values
  }
  for (const name of ['token', 'org', 'out']) {
    if (!values[name]) {
      throw new Refusal(`--${name} is missing\n\n${USAGE}`)
    }
  }
  const number = (name, min, max) => {
    const value = Number(values[name])
    if (!(value >= min && value <= max)) {
      throw new Refusal(`--${name} ${values[name]}: give a number from ${min} to ${max}`)
    }
    return value
  }
  return {...values, width: number('width', 400, 4000), scale: number('scale', 0.5, 4)}
}

/** parseArgs takes the -1h in `--start -1h` for an option: it gets `--start=-1h`. */
function commandLine() {
  const args = []
  for (const arg of process.argv.slice(2)) {
    if (/^-\d/.test(arg) && args.length) {
      args[args.length - 1] += `=${arg}`
    } else {
      args.push(arg)
    }
  }
  return args
}

/** The parts that need what npm installs. */
async function libraries() {
  try {
    const [{Painter}, {Reader}] = await Promise.all([import('./chromium.mjs'), import('./dashboard.mjs')])
    return {Painter, Reader}
  } catch (e) {
    if (e.code === 'ERR_MODULE_NOT_FOUND') {
      throw new Refusal(`npm packages are missing: run npm ci --prefix ${path.relative('.', import.meta.dirname) || '.'}`)
    }
    throw e
  }
}

function chosen(dashboards, {dashboard: names, org}) {
  if (!dashboards.length) {
    throw new Refusal(`the organization ${org} has no dashboards: apply a template first`)
  }
  const missing = names.find(name => !dashboards.some(d => d.name === name))
  if (missing !== undefined) {
    throw new Refusal(`there is no dashboard "${missing}"; there are: ${dashboards.map(d => d.name).join(', ')}`)
  }
  return names.length ? dashboards.filter(d => names.includes(d.name)) : dashboards
}

function settings({set}) {
  return new Map(
    set.map(text => {
      const at = text.indexOf('=')
      if (at < 1) {
        throw new Refusal(`--set ${text}: give NAME=VALUE`)
      }
      return [text.slice(0, at), text.slice(at + 1)]
    })
  )
}

/** A file name for each dashboard. Names need not differ on the server. */
function fileNames(dashboards) {
  const names = new Map()
  const times = new Map()
  for (const dashboard of dashboards) {
    const name = kebab(dashboard.name)
    times.set(name, (times.get(name) ?? 0) + 1)
    names.set(dashboard, times.get(name) > 1 ? `${name}-${times.get(name)}` : name)
  }
  return names
}

function kebab(name) {
  return (
    name
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, '-')
      .replace(/^-|-$/g, '') || 'unnamed'
  )
}

try {
  process.exitCode = (await run()) ? 0 : 1
} catch (e) {
  console.error(e instanceof Refusal ? e.message : e)
  process.exitCode = 1
}
