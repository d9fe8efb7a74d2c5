// What InfluxDB's UI hands to a query beside its text: `option v = {timeRangeStart, timeRangeStop, windowPeriod, ...}`,
// as a Flux syntax tree. The rules are those of the UI (influxdata/ui at OSS-v2.9.0: src/variables).

import {Refusal} from './refusal.mjs'

const MILLISECONDS = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
  d: 86400e3,
  w: 7 * 86400e3,
  mo: 30 * 86400e3,
  y: 365 * 86400e3,
}

const DURATION = /^-(?:\d+(?:ns|us|µs|ms|mo|s|m|h|d|w|y))+$/

// v.windowPeriod for the time ranges that the UI offers, in minutes and seconds. All others have 360 windows.
const WINDOWS = new Map([
  [1, 1],
  [5, 10],
  [15, 10],
  [60, 10],
  [180, 60],
  [360, 60],
  [720, 120],
  [1440, 240],
  [2880, 600],
  [10080, 1800],
  [43200, 3600],
])
const WINDOWS_IN_RANGE = 360
const WINDOW_IF_UNKNOWN = 15000

/** A point in time as the command line has it: `now()`, a negative duration, or an RFC 3339 time. */
export function pointInTime(text, now, option) {
  if (text === 'now()') {
    return {text, time: now.getTime(), tree: {type: 'CallExpression', callee: identifier('now')}}
  }
  if (DURATION.test(text)) {
    const values = [...text.matchAll(/(\d+)([a-zµ]+)/g)].map(([, magnitude, unit]) => ({
      magnitude: Number(magnitude),
      unit,
    }))
    const argument = {type: 'DurationLiteral', values}
    return {
      text,
      time: now.getTime() - milliseconds(values),
      tree: {type: 'UnaryExpression', operator: '-', argument},
    }
  }
  const time = Date.parse(text)
  if (Number.isNaN(time)) {
    throw new Refusal(`--${option} ${text}: give now(), a duration back from now such as -1h, or a time such as 2021-02-20T00:00:00Z`)
  }
  return {text, time, tree: {type: 'DateTimeLiteral', value: new Date(time).toISOString()}}
}

/** The names of all `v.NAME` in a syntax tree. */
export function variablesIn(tree) {
  const names = new Set()
  visit(tree, node => {
    if (node.type === 'MemberExpression' && node.object.name === 'v') {
      names.add(node.property.name ?? node.property.value)
    }
  })
  return names
}

/** The syntax tree of `option v = {...}`, from the trees of its values. */
export function optionV(values) {
  const properties = Object.entries(values).map(([name, value]) => ({type: 'Property', key: identifier(name), value}))
  const assignment = {type: 'VariableAssignment', id: identifier('v'), init: {type: 'ObjectExpression', properties}}
  return {type: 'File', package: null, imports: null, body: [{type: 'OptionStatement', assignment}]}
}

export function string(value) {
  return {type: 'StringLiteral', value}
}

/** v.windowPeriod of a query, which depends on the shortest `range` in it. `v` holds the trees of its values. */
export function windowPeriod(tree, v, now) {
  const duration = shortestRange(tree, v, now)
  const magnitude = Number.isFinite(duration)
    ? (WINDOWS.get(duration / 60e3) ?? 0) * 1000 || Math.max(1, Math.round(duration / WINDOWS_IN_RANGE))
    : WINDOW_IF_UNKNOWN
  return {type: 'DurationLiteral', values: [{magnitude, unit: 'ms'}]}
}

function shortestRange(tree, v, now) {
  const starts = []
  const stops = []
  visit(tree, node => {
    if (node.type === 'CallExpression' && node.callee.name === 'range') {
      const argument = name => node.arguments?.[0]?.properties.find(p => p.key.name === name)?.value
      starts.push(timeOf(argument('start'), tree, v, now))
      stops.push(argument('stop') ? timeOf(argument('stop'), tree, v, now) : now.getTime())
    }
  })
  const durations = starts.flatMap(start => stops.map(stop => stop - start))
  // A bound that cannot be told makes every duration unknown.
  return durations.some(Number.isNaN) ? NaN : Math.min(...durations.filter(d => d > 0))
}

function timeOf(node, tree, v, now) {
  switch (node?.type) {
    case 'UnaryExpression':
      return now.getTime() - milliseconds(node.argument.values)
    case 'DurationLiteral':
      return now.getTime() + milliseconds(node.values)
    case 'DateTimeLiteral':
      return Date.parse(node.value)
    case 'CallExpression':
      return node.callee.name === 'now' ? now.getTime() : NaN
    case 'MemberExpression':
      return node.object.name === 'v' ? timeOf(v[node.property.name], tree, v, now) : NaN
    case 'Identifier': {
      let value
      visit(tree, other => {
        if (other.type === 'VariableAssignment' && other.id.name === node.name) {
          value = other.init
        }
      })
      return timeOf(value, tree, v, now)
    }
    default:
      return NaN
  }
}

function milliseconds(values) {
  return (values ?? []).reduce((sum, {magnitude, unit}) => sum + magnitude * MILLISECONDS[unit], 0)
}

function identifier(name) {
  return {type: 'Identifier', name}
}

function visit(node, see) {
  if (Array.isArray(node)) {
    node.forEach(child => visit(child, see))
  } else if (node && typeof node === 'object') {
    if (node.type) {
      see(node)
    }
    Object.values(node).forEach(child => visit(child, see))
  }
}
