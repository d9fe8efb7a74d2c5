// The legend under a chart. InfluxDB shows it when the pointer is over the chart; a picture needs it all the time.

const {createElement: h, useLayoutEffect, useRef, useState} = window.React

const MOST = 8
const ROWS = 2

/** Name and colour of each series. A name is no longer than it has to be: only what tells the series apart. */
export function seriesOf(mappings, colorOf) {
  const keys = distinguishing(mappings)
  const series = mappings.map((mapping, i) => ({
    name: keys.map(key => mapping[key]).filter(Boolean).join(' · '),
    color: colorOf(i),
  }))
  // Between the answers to two queries the UI finds a row without values, which takes a colour and has no name.
  return series.length > 1 ? series.filter(({name}) => name) : series
}

function distinguishing(mappings) {
  const names = keys => new Set(mappings.map(mapping => JSON.stringify(keys.map(key => mapping[key] ?? ''))))
  const keys = Object.keys(mappings[0] ?? {}).filter(key => key !== '_start' && key !== '_stop')
  const all = names(keys).size
  // What has few values tells the least, and is the first to go.
  const order = [...keys].reverse().sort((a, b) => names([a]).size - names([b]).size)
  return order.reduce((kept, key) => {
    const rest = kept.filter(other => other !== key)
    return rest.length && names(rest).size === all ? rest : kept
  }, keys)
}

/** As many of the series as there is room for, and how many there are more. */
export function Legend({series}) {
  const [shown, setShown] = useState(Math.min(series.length, MOST))
  const box = useRef()
  useLayoutEffect(() => {
    const rows = new Set([...box.current.children].map(({offsetTop}) => offsetTop))
    if (rows.size > ROWS && shown > 1) {
      setShown(shown - 1)
    }
  }, [shown])
  const more = series.length - shown
  return h(
    'div',
    {className: 'legend', ref: box},
    series.slice(0, shown).map(({name, color}, i) => h('span', {key: i}, h('i', {style: {background: color}}), name)),
    more > 0 && h('span', {className: 'more'}, `+${more} more`)
  )
}
