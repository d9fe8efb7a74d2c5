// From a view's properties to the configuration of InfluxDB's chart library, by the UI's rules (influxdata/ui at
// OSS-v2.9.0: src/visualization/types). Where the UI ignores a property, so does this.

import {csvOf} from './csv.js'
import {seriesOf} from './legend.js'
import {thresholdColors} from './thresholds.js'

const {
  LINE_COUNT,
  SINGLE_STAT_SVG_NO_USER_SELECT,
  STACKED_LINE_CUMULATIVE,
  binaryPrefixFormatter,
  createGroupIDColumn,
  getLatestValues,
  getNominalColorScale,
  lineTransform,
  siPrefixFormatter,
  timeFormatter,
} = window.Giraffe

const UNFIT = {message: "The data returned from the query can't be visualized with this graph type."}

const ignore = () => {}

// The look of a chart; and Giraffe keeps to the domains that it is given only if it may also tell of changes in them.
const THEME = {
  onSetXDomain: ignore,
  onResetXDomain: ignore,
  onSetYDomain: ignore,
  onResetYDomain: ignore,
  axisColor: '#4d4d60',
  gridColor: '#4d4d60',
  gridOpacity: 1,
  tickFont: '700 12px Proxima Nova',
  tickFontColor: '#b9b9c5',
  legendFont: '12px Proxima Nova',
  legendFontColor: '#828294',
  legendFontBrightColor: '#b9b9c5',
  legendBackgroundColor: '#07070e',
  legendBorder: '1px solid #1a1a2a',
  legendCrosshairColor: '#4d4d60',
}

const STACKED = [`_${STACKED_LINE_CUMULATIVE}`, `_${LINE_COUNT}`]
const DEFAULT_COLORS = ['#31C0F6', '#A500A5', '#FF7E27']
const CURVES = {step: 'step', stepBefore: 'stepBefore', stepAfter: 'stepAfter', monotoneX: 'monotoneX'}
const BAND = {lineWidth: 3, lineOpacity: 0.7, shadeOpacity: 0.3}
const GAUGE = {gaugeSize: 1.5 * Math.PI, gaugeTheme: {valuePositionXOffset: 0, valuePositionYOffset: 1.5}}

const DEFAULT_TIME_FORMAT = 'YYYY-MM-DD HH:mm:ss'
const TIME_FORMATS = new Set([
  DEFAULT_TIME_FORMAT,
  'YYYY-MM-DD hh:mm:ss a ZZ',
  'DD/MM/YYYY HH:mm:ss.sss',
  'DD/MM/YYYY hh:mm:ss.sss a',
  'MM/DD/YYYY HH:mm:ss.sss',
  'MM/DD/YYYY hh:mm:ss.sss a',
  'YYYY/MM/DD HH:mm:ss',
  'YYYY/MM/DD hh:mm:ss a',
  'HH:mm',
  'hh:mm a',
  'HH:mm:ss',
  'hh:mm:ss a',
  'HH:mm:ss ZZ',
  'hh:mm:ss a ZZ',
  'HH:mm:ss.sss',
  'hh:mm:ss.sss a',
  'MMMM D, YYYY HH:mm:ss',
  'MMMM D, YYYY hh:mm:ss a',
  'dddd, MMMM D, YYYY HH:mm:ss',
  'dddd, MMMM D, YYYY hh:mm:ss a',
])

const VIEWS = {
  band,
  gauge,
  heatmap,
  histogram,
  'line-plus-single-stat': lineAndStat,
  mosaic,
  scatter,
  'single-stat': stat,
  table,
  xy: line,
}

/** `{config, series}` for the chart and its legend, or `{message}` if there is none. */
export function chartOf(properties, data) {
  const view = VIEWS[properties.type]
  return view ? view(properties, data) : {message: `Views of type ${properties.type} are not drawn here.`}
}

function line(p, data, colors = hexes(p.colors)) {
  const {groupKey, range} = data
  const x = p.xColumn || defaultX(data.table)
  const y = has(data.table, p.yColumn) ? p.yColumn : defaultY(data.table)
  if (!has(data.table, x) || !has(data.table, y)) {
    return UNFIT
  }
  const stacked = p.position === 'stacked'
  const values = stacked
    ? lineTransform(data.table, x, y, groupKey, colors, 'stacked').stackedDomainValueColumn
    : data.table.getColumn(y, 'number')
  const config = {
    ...axes(p, data.table, x, y),
    ...staticLegend(p, data.table, [...groupKey, x, y]),
    xDomain: bounds(p.axes.x, true) ?? including(range, extent(data.table.getColumn(x, 'number'))),
    yDomain: yDomain(bounds(p.axes.y), values),
    layers: [
      {
        type: 'line',
        x,
        y,
        fill: groupKey,
        interpolation: CURVES[p.geom] ?? 'linear',
        position: p.position,
        colors,
        shadeBelow: Boolean(p.shadeBelow),
        shadeBelowOpacity: 0.08,
        hoverDimension: p.hoverDimension,
      },
    ],
  }
  return {config, series: p.staticLegend?.show ? [] : series(p, data.table, groupKey, colors)}
}

function lineAndStat(p, data) {
  const scale = p.colors.filter(({type}) => type === 'scale')
  const chart = line({...p, geom: 'line'}, data, hexes(scale))
  if (chart.config) {
    chart.config.layers.push(statLayer(p, data.table))
  }
  return chart
}

function stat(p, {table}) {
  return {config: {table, showAxes: false, layers: [statLayer(p, table)]}}
}

function statLayer({prefix, suffix, decimalPlaces, colors}, table) {
  const {text, background} = thresholdColors(colors, getLatestValues(table)[0])
  return {
    type: 'single stat',
    prefix,
    suffix,
    decimalPlaces,
    textColor: text,
    textOpacity: 100,
    backgroundColor: background ?? '',
    svgTextStyle: {
      fontSize: '100',
      fontWeight: 'lighter',
      dominantBaseline: 'middle',
      textAnchor: 'middle',
      letterSpacing: '-0.05em',
    },
    svgStyle: SINGLE_STAT_SVG_NO_USER_SELECT,
  }
}

function gauge({prefix, suffix, tickPrefix, tickSuffix, decimalPlaces, colors}, {table}) {
  const layer = {type: 'gauge', prefix, suffix, tickPrefix, tickSuffix, decimalPlaces, gaugeColors: colors, ...GAUGE}
  return {config: {table, layers: [layer]}}
}

function band(p, data) {
  const {table, groupKey, range} = data
  const x = p.xColumn || defaultX(table)
  const y = has(table, p.yColumn) ? p.yColumn : defaultY(table)
  if (!has(table, x) || !has(table, y)) {
    return UNFIT
  }
  const colors = hexes(p.colors)
  const main = p.mainColumn || table.getColumn('result')[0]
  const config = {
    ...axes(p, table, x, y),
    ...staticLegend(p, table, [...groupKey, x, y]),
    xDomain: bounds(p.axes.x, true) ?? including(range, extent(table.getColumn(x, 'number'))),
    yDomain: yDomain(bounds(p.axes.y), table.getColumn(y, 'number')),
    layers: [
      {
        type: 'band',
        x,
        y,
        fill: groupKey,
        interpolation: CURVES[p.geom] ?? 'linear',
        colors,
        ...BAND,
        hoverDimension: p.hoverDimension,
        upperColumnName: p.upperColumn,
        mainColumnName: main,
        lowerColumnName: p.lowerColumn,
      },
    ],
  }
  // Giraffe counts a band as three lines, and gives it the colour of the first.
  const bands = createGroupIDColumn(table, groupKey.filter(key => key !== 'result'))[1].mappings
  const scale = getNominalColorScale({mappings: Array(bands.length * 3)}, colors)
  return {config, series: p.staticLegend?.show || p.legendHide ? [] : seriesOf(bands, i => scale(i * 3))}
}

function heatmap(p, {table, range}) {
  const x = p.xColumn || ['_time', '_start', '_stop'].find(key => has(table, key)) || table.columnKeys[0]
  const y = p.yColumn || (has(table, '_value') ? '_value' : table.columnKeys[0])
  if (!has(table, x) || !has(table, y)) {
    return UNFIT
  }
  const config = {
    ...flatAxes(p, table, x, y),
    xDomain: p.xDomain ?? including(range, extent(table.getColumn(x, 'number'))),
    yDomain: yDomain(p.yDomain, table.getColumn(y, 'number')),
    layers: [{type: 'heatmap', x, y, colors: p.colors?.length ? p.colors : DEFAULT_COLORS, binSize: p.binSize}],
  }
  return {config}
}

function histogram(p, {table}) {
  const x = p.xColumn
  const fill = p.fillColumns ?? []
  if (!has(table, x) || !fill.every(key => has(table, key))) {
    return UNFIT
  }
  const colors = hexes(p.colors)
  const config = {
    ...THEME,
    table,
    xAxisLabel: p.xAxisLabel,
    xDomain: p.xDomain ?? extent(table.getColumn(x, 'number')),
    valueFormatters: {[x]: formatter(table, x)},
    layers: [{type: 'histogram', x, colors, fill, binCount: p.binCount, position: p.position}],
  }
  return {config, series: series(p, table, fill, colors)}
}

function scatter(p, {table, groupKey, range}) {
  const x = p.xColumn || defaultX(table)
  const y = p.yColumn || defaultY(table)
  const group = groupKey.filter(key => key !== 'result')
  const fill = p.fillColumns ?? group
  const symbol = p.symbolColumns ?? group
  if (![x, y, ...fill, ...symbol].every(key => has(table, key))) {
    return UNFIT
  }
  const colors = p.colors?.length ? p.colors : DEFAULT_COLORS
  const xValues = extent(table.getColumn(x, 'number'))
  const config = {
    ...flatAxes(p, table, x, y),
    xDomain: p.xDomain ?? (x === '_time' ? including(range, xValues) : xValues),
    yDomain: yDomain(p.yDomain, table.getColumn(y, 'number')),
    layers: [{type: 'scatter', x, y, colors, fill, symbol}],
  }
  return {config, series: series(p, table, fill, colors)}
}

function mosaic(p, {table, range}) {
  const x = p.xColumn || defaultX(table)
  const y = p.ySeriesColumns ?? []
  const fill = p.fillColumns ?? []
  if (!fill.length || ![x, ...y, ...fill].every(key => has(table, key))) {
    return UNFIT
  }
  const colors = p.colors?.length ? p.colors : DEFAULT_COLORS
  const config = {
    ...THEME,
    ...ticks(p),
    table,
    xAxisLabel: p.xAxisLabel,
    yAxisLabel: p.yAxisLabel,
    xDomain: p.xDomain ?? including(range, extent(table.getColumn(x, 'number'))),
    yDomain: yDomain(p.yDomain, table.getColumn(y[0], 'string')),
    valueFormatters: {[x]: formatter(table, x, {timeFormat: p.timeFormat})},
    layers: [
      {
        type: 'mosaic',
        x,
        y,
        yLabelColumns: p.yLabelColumns,
        yLabelColumnSeparator: p.yLabelColumnSeparator,
        colors,
        fill,
      },
    ],
  }
  return {config, series: series(p, table, fill, colors)}
}

function table(properties, {table, groupKey}) {
  const fluxResponse = csvOf(table, groupKey.filter(key => key !== 'result'))
  const config = {fluxResponse, layers: [{type: 'table', properties, timeZone: 'UTC', tableTheme: 'dark'}]}
  const tables = createGroupIDColumn(table, ['result', 'table'])[1].mappings.length
  return tables > 1 ? {config, flaw: `of its ${tables} tables only one is seen at a time: group() them into one`} : {config}
}

function series({legendHide}, table, keys, colors) {
  const [, map] = createGroupIDColumn(table, keys)
  return legendHide ? [] : seriesOf(map.mappings, getNominalColorScale(map, colors))
}

/** The axes of the views that have them in `axes`. */
function axes(p, table, x, y) {
  const format = key => ({...(key === x ? p.axes.x : p.axes.y), timeFormat: p.timeFormat})
  return {
    ...THEME,
    ...ticks(p),
    table,
    xAxisLabel: p.axes.x.label,
    yAxisLabel: p.axes.y.label,
    valueFormatters: {[x]: formatter(table, x, format(x)), [y]: formatter(table, y, format(y))},
  }
}

/** The axes of the views that have them in properties of their own. The UI gives their numbers no unit. */
function flatAxes(p, table, x, y) {
  const format = {timeFormat: p.timeFormat}
  return {
    ...THEME,
    ...ticks(p),
    table,
    xAxisLabel: p.xAxisLabel,
    yAxisLabel: p.yAxisLabel,
    valueFormatters: {[x]: formatter(table, x, format), [y]: formatter(table, y, format)},
  }
}

function ticks(p) {
  const names = [...(p.generateXAxisTicks ?? []), ...(p.generateYAxisTicks ?? [])]
  return Object.fromEntries(names.map(name => [name, p[name]]))
}

/** The legend that a view has by itself, as a table below the chart. */
function staticLegend({staticLegend: legend, legendOrientationThreshold, position}, table, keys) {
  if (!legend?.show) {
    return {}
  }
  // These are in most group keys, and the same for all series.
  const noisy = ['_start', '_stop', 'result'].filter(key => new Set(table.getColumn(key)).size < 2)
  const {colorizeRows = false, heightRatio, opacity = 1, orientationThreshold = legendOrientationThreshold} = legend
  return {
    legendColumns: [...keys, ...(position === 'stacked' ? STACKED : [])].filter(key => !noisy.includes(key)),
    staticLegend: {
      hide: false,
      colorizeRows,
      heightRatio: heightRatio || 0.2,
      opacity,
      orientationThreshold,
      valueAxis: legend.valueAxis || 'y',
      backgroundColor: 'transparent',
      border: 'none',
      style: {padding: '1em 0 0 1em'},
    },
  }
}

function formatter(table, key, {prefix, suffix, base, timeFormat} = {}) {
  const type = table.getColumnType(key)
  if (type === 'time') {
    const format = TIME_FORMATS.has(timeFormat) ? timeFormat : DEFAULT_TIME_FORMAT
    return timeFormatter({timeZone: 'UTC', format, ...(format.includes('HH') && {hour12: false})})
  }
  const options = {prefix, suffix, significantDigits: 4}
  switch (type === 'number' && base) {
    case '2':
      return binaryPrefixFormatter(options)
    case '10':
      return siPrefixFormatter(options)
    case '':
      return siPrefixFormatter({...options, format: false})
    default:
      return null
  }
}

function hexes(colors) {
  return colors?.length ? colors.map(({hex}) => hex) : DEFAULT_COLORS
}

function has(table, key) {
  return Boolean(key) && table.columnKeys.includes(key)
}

function axisColumns(table) {
  const ofType = type => table.columnKeys.filter(key => !['result', 'table'].includes(key) && table.getColumnType(key) === type)
  return [...ofType('time'), ...ofType('number')]
}

function defaultX(table) {
  const keys = axisColumns(table)
  return ['_time', '_stop', '_start'].find(key => keys.includes(key)) ?? keys[0]
}

function defaultY(table) {
  const keys = axisColumns(table)
  return keys.find(key => key.startsWith('_value')) ?? keys[0]
}

function bounds({bounds}, both = false) {
  const [low, high] = [0, 1].map(i => (bounds?.[i] ? parseFloat(bounds[i]) : NaN))
  const given = [low, high].filter(Number.isFinite).length
  return given === 2 || (given === 1 && !both) ? [low, high].map(n => (Number.isFinite(n) ? n : null)) : null
}

function yDomain(stored, values) {
  const found = extent(values)
  if (!Array.isArray(stored) || stored.every(n => n === null)) {
    return found
  }
  // With one bound alone, the UI lets the axis reach zero at least.
  return stored.includes(null) && found ? [stored[0] ?? found[0], stored[1] ?? Math.max(0, found[1])] : stored
}

function including({start, stop}, found) {
  return found && [Math.min(start, found[0]), Math.max(stop, found[1])]
}

function extent(values) {
  let low = Infinity
  let high = -Infinity
  for (const value of values ?? []) {
    low = value < low ? value : low
    high = value > high ? value : high
  }
  return low <= high && low !== Infinity && high !== -Infinity ? [low, high] : null
}
