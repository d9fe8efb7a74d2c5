// Draws a dashboard that ../dashboard.mjs has read, as InfluxDB's UI shows it.

import {findFlaws, watchCanvases} from './flaws.js'
import {Legend} from './legend.js'
import {markdown} from './markdown.js'
import {chartOf} from './views.js'

const {createElement: h, Component} = window.React
const {HoverTimeProvider, Plot, fromFlux} = window.Giraffe

// The UI's grid, in pixels.
const COLUMNS = 12
const ROW_HEIGHT = 83.5
const GAP = 4

watchCanvases()

/** Draws the dashboard, and returns its flaws once everything stands: `{cell, flaw}` for each. */
window.draw = async dashboard => {
  // Text on a canvas does not wait for its font.
  await Promise.all([300, 400, 500, 700, 900].map(weight => document.fonts.load(`${weight} 12px "Proxima Nova"`)))
  const flaws = dashboard.variables
    .filter(({shown}) => shown === undefined)
    .map(({name}) => ({cell: `variable ${name}`, flaw: 'it has no value'}))
  const cells = dashboard.cells.map(cell => ({...cell, ...contentOf(cell, dashboard.range)}))
  for (const {name, flaw} of cells) {
    if (flaw) {
      flaws.push({cell: name, flaw})
    }
  }
  const broken = (cell, error) => flaws.push({cell: cell.name, flaw: `it cannot be drawn: ${error.message}`})
  window.ReactDOM.render(h(Dashboard, {dashboard, cells, broken}), document.getElementById('page'))
  // Giraffe draws once it knows its size, and legends shrink until they fit.
  for (let frame = 0; frame < 5; frame++) {
    await new Promise(requestAnimationFrame)
  }
  await document.fonts.ready
  const all = [...flaws, ...findFlaws(cells)].map(flaw => JSON.stringify(flaw))
  return [...new Set(all)].map(flaw => JSON.parse(flaw))
}

/** What a cell shows: a chart, markdown, or a message; with the flaw if it is not what its author wanted to be seen. */
function contentOf({properties, answers, error}, range) {
  if (properties.type === 'markdown') {
    return {note: properties.note}
  }
  if (error) {
    return {error, flaw: error}
  }
  const {table, fluxGroupKeyUnion, error: unreadable} = fromFlux(answers.join('\n\n'))
  if (unreadable) {
    throw unreadable
  }
  if (!table.length) {
    const note = properties.showNoteWhenEmpty ? properties.note : ''
    return {...(note ? {note} : {message: 'No Results'}), flaw: 'its queries give no rows'}
  }
  const usesRange = properties.queries.some(({text}) => /v\.timeRange(Start|Stop)/.test(text))
  const chart = chartOf(properties, {
    table,
    groupKey: [...fluxGroupKeyUnion, 'result'],
    // The UI takes queries that do not ask for the dashboard's range to be about the last hour.
    range: usesRange ? range : {start: Date.now() - 3600e3, stop: Date.now()},
  })
  return {flaw: chart.message, ...chart}
}

function Dashboard({dashboard: {name, range, variables}, cells, broken}) {
  const rows = Math.max(0, ...cells.map(({y, h}) => y + h))
  return h(
    'div',
    null,
    h('header', null, h('h1', null, name), h('div', {className: 'control'}, range.label), h('div', {className: 'control'}, 'UTC')),
    variables.length > 0 &&
      h(
        'div',
        {className: 'variables'},
        variables.map(({name, shown}) =>
          h('div', {key: name, className: 'variable'}, h('span', null, name), h('b', null, shown ?? 'No Values'))
        )
      ),
    h(
      'main',
      {style: {height: rows * (ROW_HEIGHT + GAP)}},
      cells.map(cell => h(Cell, {key: cell.id, cell, broken}))
    )
  )
}

function Cell({cell, broken}) {
  const column = `(100% + ${GAP}px) / ${COLUMNS}`
  const style = {
    left: `calc(${column} * ${cell.x})`,
    width: `calc(${column} * ${cell.w} - ${GAP}px)`,
    top: cell.y * (ROW_HEIGHT + GAP),
    height: cell.h * (ROW_HEIGHT + GAP) - GAP,
  }
  const title = cell.properties.type === 'markdown' ? 'Note' : cell.name
  return h(
    'section',
    {id: `cell-${cell.id}`, className: 'cell', style},
    h('div', {className: 'cell-header'}, h('i', {className: 'dots'}), h('span', {className: 'cell-name'}, title)),
    h(Boundary, {broken: error => broken(cell, error)}, h(Content, {cell}))
  )
}

function Content({cell: {note, error, message, config, series}}) {
  if (note !== undefined) {
    return h('div', {className: 'note', dangerouslySetInnerHTML: {__html: markdown(note)}})
  }
  if (error) {
    return h('div', {className: 'empty error'}, error)
  }
  if (message) {
    return h('div', {className: 'empty'}, message)
  }
  return h(
    'div',
    {className: 'view'},
    h('div', {className: 'plot'}, h(HoverTimeProvider, null, h(Plot, {config}))),
    series?.length > 1 && h(Legend, {series})
  )
}

/** Keeps what fails in one cell from the others. */
class Boundary extends Component {
  state = {}

  static getDerivedStateFromError(error) {
    return {error}
  }

  componentDidCatch(error) {
    this.props.broken(error)
  }

  render() {
    return this.state.error ? h('div', {className: 'empty error'}, this.state.error.message) : this.props.children
  }
}
