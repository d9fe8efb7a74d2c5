// Draws dashboards in headless Chromium. The page and its libraries are read from this folder; the browser gets no
// other file and no network.

import {existsSync} from 'node:fs'
import {fileURLToPath} from 'node:url'
import path from 'node:path'

import {chromium} from 'playwright-core'
import sharp from 'sharp'

import {Refusal} from './refusal.mjs'

const HERE = path.dirname(fileURLToPath(import.meta.url))
const ORIGIN = 'http://pictures.invalid'
const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export class Painter {
  /** Starts Chromium with a new, empty profile. `width` is the page's, in CSS pixels; `scale` is how many real ones each has. */
  static async start({width, scale}) {
    const executablePath = process.env.CHROMIUM || PATHS.find(existsSync)
    if (!executablePath || !existsSync(executablePath)) {
      throw new Refusal('Chromium is missing: apt-get install chromium, or set CHROMIUM to the path of its program')
    }
    const browser = await chromium.launch({executablePath, chromiumSandbox: false, args: FLAGS})
    const context = await browser.newContext({
      viewport: {width, height: 100}, // a picture is as high as its dashboard
      deviceScaleFactor: scale,
      locale: 'en-US',
      timezoneId: 'UTC',
    })
    await context.route('**/*', route => {
      const {origin, pathname} = new URL(route.request().url())
      const file = path.join(HERE, pathname)
      return origin === ORIGIN && existsSync(file) ? route.fulfill({path: file}) : route.abort()
    })
    return new Painter(browser, await context.newPage())
  }

  constructor(browser, page) {
    this.browser = browser
    this.page = page
  }

  /** Draws a dashboard; what it tells for each cell is what a reader would miss in it. */
  async draw(dashboard) {
    const failures = []
    this.page.removeAllListeners('pageerror')
    this.page.on('pageerror', e => failures.push(e))
    await this.page.goto(`${ORIGIN}/page/index.html`)
    const flaws = await this.page.evaluate(d => window.draw(d), dashboard)
    if (failures.length) {
      throw failures[0]
    }
    return flaws
  }

  async picture(file) {
    await save(await this.page.screenshot({fullPage: true}), file)
  }

  async cellPicture(id, file) {
    await save(await this.page.locator(`#cell-${id}`).screenshot(), file)
  }

  async stop() {
    await this.browser.close()
  }
}

/** A palette of 256 colours makes a third of the size, and shows no difference. */
function save(png, file) {
  return sharp(png).png({palette: true, effort: 10, compressionLevel: 9, dither: 0}).toFile(file)
}
