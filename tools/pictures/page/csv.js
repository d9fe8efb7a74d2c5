// The answer to a table's queries as the UI hands it on to its chart library: read once, and made into CSV again, by the
// UI's rules (influxdata/ui at OSS-v2.9.0: src/timeMachine/utils/rawFluxDataTable.ts). So a picture shows what these rules
// do to it: a number that is not there becomes "null", a time the present, and a quotation mark tears its row apart.

export function csvOf(table, groupKey) {
  const keys = ['result', 'table', ...table.columnKeys.filter(key => key !== 'result' && key !== 'table')]
  const columns = keys.map(key => ({
    key,
    values: table.getColumn(key),
    type: table.getOriginalColumnType(key),
    group: String(groupKey.includes(key)),
  }))
  const [results, tables] = columns.map(({values}) => values)
  const lines = []
  let present = []
  for (let row = 0; row < table.length; row++) {
    if (row === 0 || results[row] !== results[row - 1] || tables[row] !== tables[row - 1]) {
      // What the first row of a table lacks, all of it lacks.
      present = columns.filter(({values}) => values[row] !== undefined)
      lines.push(
        '',
        ['#group', ...present.map(({group}) => group)],
        ['#datatype', ...present.map(({type}) => type)],
        ['#default', results[row]],
        ['', ...present.map(({key}) => key)]
      )
    }
    lines.push(['', ...present.map(({key, type, values}) => (key === 'result' ? '' : textOf(values[row], type)))])
  }
  return lines.slice(1).map(String).join('\n')
}

function textOf(value, type) {
  if (type === 'dateTime:RFC3339' && Number.isFinite(value)) {
    return new Date(value).toISOString()
  }
  if (isContainer(value)) {
    return `"${value.replaceAll(/['"]+/g, "'")}"`
  }
  return typeof value === 'string' && value.includes(',') ? `"${value}"` : String(value)
}

/** Whether a text is an object or an array in JSON. */
function isContainer(value) {
  try {
    const read = typeof value === 'string' && JSON.parse(value)
    return Boolean(read) && typeof read === 'object'
  } catch {
    return false
  }
}
