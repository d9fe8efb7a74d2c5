// A dashboard as the page draws it: the values of its variables, and each cell with the answers to its queries.

import {csvToTable} from '@influxdata/influxdb-client-giraffe'

import {optionV, string, variablesIn, windowPeriod} from './flux.mjs'
import {Refusal} from './refusal.mjs'
import {QueryError} from './server.mjs'

/** Runs the queries of one organization's dashboards, for one time range and one choice of variables. */
export class Reader {
  #trees = new Map()

  constructor(server, variables, {range, chosen, now}) {
    this.server = server
    this.variables = new Map(variables.map(variable => [variable.name, variable]))
    this.range = range
    this.chosen = chosen
    this.now = now
    for (const name of chosen.keys()) {
      if (!this.variables.has(name)) {
        const names = [...this.variables.keys()].join(', ') || 'none'
        throw new Refusal(`--set ${name}: the organization has no such variable; it has: ${names}`)
      }
    }
  }

  async read(dashboard) {
    const texts = dashboard.cells.flatMap(cell => queriesOf(cell.properties))
    const values = await this.#valuesFor(texts)
    const cells = []
    for (const cell of dashboard.cells) {
      cells.push({...cell, ...(await this.#answers(cell, values))})
    }
    return {
      name: dashboard.name,
      range: {
        start: this.range.start.time,
        stop: this.range.stop.time,
        label: label(this.range),
      },
      variables: [...values.values()].map(({name, shown}) => ({name, shown})),
      cells,
    }
  }

  /** What the cell's queries give: CSV for each, or the first error. */
  async #answers(cell, values) {
    try {
      const answers = []
      for (const text of queriesOf(cell.properties)) {
        answers.push(await this.#run(text, values))
      }
      return {answers}
    } catch (e) {
      if (e instanceof QueryError) {
        return {answers: [], error: e.message}
      }
      throw e
    }
  }

  async #run(text, values) {
    const tree = await this.#tree(text)
    const v = {timeRangeStart: this.range.start.tree, timeRangeStop: this.range.stop.tree}
    for (const name of variablesIn(tree)) {
      if (values.has(name)) {
        v[name] = string(values.get(name).value)
      }
    }
    v.windowPeriod = windowPeriod(tree, v, this.now)
    return this.server.query(text, optionV(v), this.now)
  }

  /**
   * The variables that the queries use, and those that these use, in the order in which they depend on each other:
   * each feeds the ones after it.
   */
  async #valuesFor(texts) {
    const values = new Map()
    for (const text of texts) {
      for (const name of await this.#namesIn(text)) {
        await this.#resolve(name, values, [])
      }
    }
    return values
  }

  async #resolve(name, values, path) {
    const variable = this.variables.get(name)
    if (!variable || values.has(name)) {
      return
    }
    if (path.includes(name)) {
      throw new Refusal(`the variables ${[...path, name].join(' -> ')} depend on each other: a server cannot tell their values`)
    }
    const {type, values: given} = variable.arguments
    if (type === 'query') {
      for (const other of await this.#namesIn(given.query)) {
        await this.#resolve(other, values, [...path, name])
      }
    }
    let choices
    try {
      choices = type === 'query' ? choicesIn(await this.#run(given.query, values)) : type === 'map' ? Object.keys(given) : given
    } catch (e) {
      throw e instanceof QueryError ? new Refusal(`the query of the variable ${name} fails: ${e.message}`) : e
    }
    const shown = this.#choose(variable, choices)
    values.set(name, {name, shown, value: (type === 'map' ? given[shown] : shown) ?? ''})
  }

  /** The UI's default: what is selected if it is there, else the first. */
  #choose({name, selected}, choices) {
    if (this.chosen.has(name)) {
      const value = this.chosen.get(name)
      if (!choices.includes(value)) {
        throw new Refusal(`--set ${name}=${value}: the variable has no such value; it has: ${choices.join(', ') || 'none'}`)
      }
      return value
    }
    return choices.includes(selected?.[0]) ? selected[0] : choices[0]
  }

  async #namesIn(text) {
    try {
      return variablesIn(await this.#tree(text))
    } catch (e) {
      if (e instanceof QueryError) {
        return [] // It cannot be parsed. Its cell will show that.
      }
      throw e
    }
  }

  #tree(text) {
    if (!this.#trees.has(text)) {
      this.#trees.set(text, this.server.tree(text))
    }
    return this.#trees.get(text)
  }
}

/** The UI runs only the first query of a view that shows one number. */
function queriesOf({type, queries = []}) {
  const texts = queries.map(query => query.text).filter(text => text.trim())
  return type === 'single-stat' || type === 'gauge' ? texts.slice(0, 1) : texts
}

function label({start, stop}) {
  if (start.tree.type === 'UnaryExpression' && stop.text === 'now()') {
    return `Past ${start.text.slice(1)}`
  }
  const show = ({time}) => new Date(time).toISOString().slice(0, 16).replace('T', ' ')
  return `${show(start)} - ${show(stop)}`
}

/** The choices that a variable's query gives: the string column `_value`, each value once, sorted as the UI does. */
function choicesIn(csv) {
  const columns = new Map()
  const table = {addColumn: (key, fluxType, type, data) => columns.set(key, {type, data}) && table}
  csvToTable(csv, () => table, {columns: ['_value'], maxTableLength: Infinity})
  const {type, data} = columns.get('_value') ?? {}
  return type === 'string' ? [...new Set(data)].sort() : []
}
