// The colours that a number takes from a view's thresholds, by the UI's rules.

const DEFAULT_TEXT = '#00C9FF'

export function thresholdColors(colors, value) {
  if (!colors?.length) {
    return {text: DEFAULT_TEXT}
  }
  const base = colors.find(({id}) => id === 'base')?.hex ?? DEFAULT_TEXT
  if (!value && value !== 0) {
    return {text: base}
  }
  const hex = colors.length === 1 ? base : crossed(colors, Number(value) || 0) ?? base
  return colors.some(({type}) => type === 'text') ? {text: hex} : {text: legibleOn(hex), background: hex}
}

/** The last threshold at or below the value; of those with the same value, the one that stands last. */
function crossed(colors, value) {
  const sorted = [...colors].sort((a, b) => a.value - b.value)
  // The UI shows what is below zero in the lowest colour.
  return (value < 0 ? sorted[0] : sorted.filter(color => value >= color.value).pop())?.hex
}

function legibleOn(hex) {
  const [red, green, blue] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16))
  return (red + green + blue) / 3 > 128 ? '#292933' : '#ffffff'
}
