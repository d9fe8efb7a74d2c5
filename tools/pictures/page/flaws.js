// Finds text that a reader of the picture cannot read: cut off by an edge, or under other text.

const TABLE_SLACK = 10 // Giraffe's tables run a few pixels of their edge under that of their cell
const MOST = 3 // flaws that are told of one cell
const texts = new Map()
const SLACK = 1.5 // pixels; what is measured is a little more than what is inked

/**
 * From now on, remembers the boxes of all text that is drawn on canvases. The labels of a horizontal axis, which Giraffe
 * lets run over the edge of its canvas, move inside.
 */
export function watchCanvases() {
  const {clearRect, fillText} = CanvasRenderingContext2D.prototype
  CanvasRenderingContext2D.prototype.clearRect = function (...area) {
    texts.delete(this.canvas)
    clearRect.apply(this, area)
  }
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    let box = inked(this, String(text), x, y)
    if (this.canvas.className === 'giraffe-axes' && this.textAlign === 'center') {
      x -= (Math.max(0, box.right - this.canvas.width) + Math.min(0, box.left)) / devicePixelRatio
      box = inked(this, String(text), x, y)
    }
    texts.set(this.canvas, [...(texts.get(this.canvas) ?? []), {text: String(text), ...box}])
    fillText.call(this, text, x, y, ...rest)
  }
}

/** The box of a text, in the canvas's pixels. */
function inked(context, text, x, y) {
  const {actualBoundingBoxLeft, actualBoundingBoxRight, actualBoundingBoxAscent, actualBoundingBoxDescent} =
    context.measureText(text)
  const transform = context.getTransform()
  const corners = [x - actualBoundingBoxLeft, x + actualBoundingBoxRight].flatMap(cx =>
    [y - actualBoundingBoxAscent, y + actualBoundingBoxDescent].map(cy => transform.transformPoint({x: cx, y: cy}))
  )
  const xs = corners.map(corner => corner.x)
  const ys = corners.map(corner => corner.y)
  return {left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys)}
}

export function findFlaws(cells) {
  return cells.flatMap(cell => {
    const element = document.getElementById(`cell-${cell.id}`)
    const finders = [cutOffOnCanvas, cutOffInBoxes, cutOffLegend, cutOffStat]
    const found = [...new Set(finders.flatMap(find => [...find(element)]))]
    const more = found.length > MOST ? [`and ${found.length - MOST} more of this kind`] : []
    return [...found.slice(0, MOST), ...more].map(flaw => ({cell: cell.name, flaw}))
  })
}

function* cutOffOnCanvas(element) {
  const slack = SLACK * devicePixelRatio
  for (const canvas of element.querySelectorAll('canvas')) {
    const boxes = texts.get(canvas) ?? []
    for (const [i, box] of boxes.entries()) {
      const {text, left, right, top, bottom} = box
      if (left < -slack || top < -slack || right > canvas.width + slack || bottom > canvas.height + slack) {
        yield `"${text}" is cut off`
      }
      const over = boxes
        .slice(i + 1)
        .find(b => left < b.right - slack && b.left < right - slack && top < b.bottom - slack && b.top < bottom - slack)
      if (over) {
        yield `"${text}" and "${over.text}" are on top of each other`
      }
    }
  }
}

function* cutOffInBoxes(element) {
  for (const box of element.querySelectorAll('.cell-name, .note, .empty, .legend span, [data-row-index]')) {
    const tooWide = box.scrollWidth > box.clientWidth + SLACK
    const tooHigh = box.scrollHeight > box.clientHeight + SLACK
    if (tooWide || tooHigh) {
      yield `"${box.textContent.trim().replace(/\s+/g, ' ').slice(0, 60)}" is cut off`
    }
  }
  for (const grid of element.querySelectorAll('.ReactVirtualized__Grid')) {
    if (grid.scrollWidth > grid.clientWidth + TABLE_SLACK) {
      yield 'the table is wider than its cell'
    }
  }
}

function* cutOffLegend(element) {
  const legend = element.querySelector('.giraffe-static-legend')
  const {right, bottom} = legend?.getBoundingClientRect() ?? {}
  const columns = [...(legend?.querySelectorAll('.giraffe-static-legend-column') ?? [])]
  if (columns.map(c => c.getBoundingClientRect()).some(box => box.right > right + SLACK || box.bottom > bottom + SLACK)) {
    yield 'its legend is larger than the room for it'
  }
}

function* cutOffStat(element) {
  for (const text of element.querySelectorAll('.giraffe-single-stat--text')) {
    const inner = text.getBoundingClientRect()
    const outer = text.ownerSVGElement.getBoundingClientRect()
    if (inner.left < outer.left - SLACK || inner.right > outer.right + SLACK) {
      yield `"${text.textContent}" is cut off`
    }
  }
}
