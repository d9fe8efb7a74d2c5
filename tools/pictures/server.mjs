// The part of InfluxDB's HTTP API that a dashboard needs: dashboards, variables, and queries.

import {Refusal} from './refusal.mjs'

const PAGE = 100

/** What the server says of a query that it cannot parse or run. */
export class QueryError extends Error {}

export class Server {
  constructor({url, token, org}) {
    this.url = url.replace(/\/+$/, '')
    this.token = token
    this.org = org
  }

  /** All dashboards of the organization, each with its cells, and each cell with its view's properties. */
  async dashboards() {
    const dashboards = []
    for (const {id} of await this.#list('dashboards')) {
      dashboards.push(await this.#json(`/api/v2/dashboards/${id}?include=properties`))
    }
    return dashboards
  }

  variables() {
    return this.#list('variables')
  }

  /** The syntax tree of a Flux query, as the server parses it. */
  async tree(query) {
    const {ast} = await this.#json('/api/v2/query/ast', {query})
    return ast.files[0]
  }

  /** The query's answer as annotated CSV. `now` is what `now()` gives in it. */
  async query(query, extern, now) {
    const dialect = {annotations: ['group', 'datatype', 'default']}
    const path = `/api/v2/query?org=${encodeURIComponent(this.org)}`
    const response = await this.#fetch(path, {query, extern, dialect, now: now.toISOString()})
    const csv = await response.text()
    // What fails after the first row was sent comes as a table of its own, with the status 200.
    const failed = csv.match(/^,error,reference\r?\n,([^]*),\d*\s*$/m)
    if (failed) {
      throw new QueryError(failed[1].replace(/^"|"$/g, '').replaceAll('""', '"'))
    }
    return csv
  }

  async #list(kind) {
    const all = []
    for (;;) {
      const path = `/api/v2/${kind}?org=${encodeURIComponent(this.org)}&limit=${PAGE}&offset=${all.length}`
      const page = (await this.#json(path))[kind]
      all.push(...page)
      if (page.length < PAGE) {
        return all
      }
    }
  }

  async #json(path, body) {
    return (await this.#fetch(path, body)).json()
  }

  async #fetch(path, body) {
    const request = {headers: {Authorization: `Token ${this.token}`}}
    if (body) {
      request.method = 'POST'
      request.headers['Content-Type'] = 'application/json'
      request.body = JSON.stringify(body)
    }
    let response
    try {
      response = await fetch(this.url + path, request)
    } catch (e) {
      const reason = e.cause?.message || e.cause?.code || e.message
      throw new Refusal(`cannot reach InfluxDB at ${this.url} (${reason}): start it, or correct --url`)
    }
    if (response.status === 401) {
      throw new Refusal('InfluxDB does not know the token: --token takes one that may read dashboards, variables and buckets')
    }
    if (!response.ok) {
      const text = await response.text()
      const reason = message(text) || `status ${response.status}`
      throw body ? new QueryError(reason) : new Refusal(`InfluxDB refuses ${path}: ${reason}`)
    }
    return response
  }
}

function message(text) {
  try {
    return JSON.parse(text).message
  } catch {
    return text
  }
}
