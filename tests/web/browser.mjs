// Headless Chromium for the page's tests, and a page that reports every fault.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const kChromium = '/usr/bin/chromium';

// Ends the process as skipped where the browser or its driver cannot run.
export function skipWithoutBrowser() {
  const major = Number(process.versions.node.split('.')[0]);
  const missing = major < 18 ? `playwright needs node 18, this is ${process.version}`
      : !existsSync(kChromium) ? `there is no ${kChromium}` : '';
  if (missing === '') return;
  console.log(`skipped: ${missing}`);
  process.exit(77);
}

export function launch() {
  const { chromium } = createRequire(join(process.env.PLAYWRIGHT, 'package.json'))(
      'playwright-core');
  return chromium.launch({
    executablePath: kChromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
           '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

// A page that notes any error of its own, anything that the policy forbade, and any request to
// anyone but `origin`.
export async function open(browser, origin, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  const requests = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
  });
  page.on('request', (request) => {
    const url = request.url();
    requests.push(url);
    if (new URL(url).origin !== origin && !url.startsWith('data:')) faults.push(`asked ${url}`);
  });
  return { page, faults, requests, close: () => context.close() };
}

export async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, name) });
}

export async function send(page, text) {
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await page.keyboard.press('Enter');
}
