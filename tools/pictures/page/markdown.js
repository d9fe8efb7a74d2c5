// Markdown as the UI reads it: CommonMark without tables and other extensions, and without HTML.

const {Marked} = window.marked

const escape = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

const reader = new Marked({gfm: false, renderer: {html: ({text}) => escape(text)}})

export function markdown(text) {
  return reader.parse(text.replaceAll('&gt;', '>').replaceAll('&#39;', "'"))
}
