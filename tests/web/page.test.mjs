// The page in headless Chromium: opens the printed address, sends a turn, sees thinking, a call
// and the answer, goes on after a reload in mid-run, and asks nobody else for anything.
//   SCRIPTED_SERVER, PLAYWRIGHT: paths; SCREENSHOTS: a folder for pictures, optional.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, open as openPage, picture, send, skipWithoutBrowser } from './browser.mjs';
import { start } from './socket.mjs';

skipWithoutBrowser();

let browser;
let server;
before(async () => {
  browser = await launch();
  server = await start(process.env.SCRIPTED_SERVER, ['15', '120']);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (from = server) => openPage(browser, from.urls[0].origin);

test('a turn from the printed address to the answer', async () => {
  const { page, faults, close } = await open();
  await page.goto(server.urls[0].href);
  assert.equal(new URL(page.url()).hash, '', 'the key left the address');
  await page.getByText('live').waitFor();

  await send(page, 'The tests fail. Fix them.');
  await page.getByText('Thinking', { exact: false }).first().waitFor();
  await page.getByText('python3 test_add.py').first().waitFor();
  await page.locator('.card').getByText('exit 1').first().waitFor();
  await page.locator('.diff .added').getByText('return a + b').first().waitFor();
  await page.getByText('and the test passes', { exact: false }).waitFor();
  await page.locator('.result').getByText('Answered').waitFor();
  assert.equal(await page.locator('.thinking[open]').count(), 0, 'thinking has folded');
  await page.locator('.thinking summary').first().click();
  assert.equal(await page.locator('.thinking[open]').count(), 1, 'and opens by hand');
  await picture(page, 'answered-light.png');
  assert.deepEqual(faults, []);
  await close();
});

test('a reload in mid-run goes on where it was', async () => {
  const slow = await start(process.env.SCRIPTED_SERVER, ['15', '20000']);
  const { page, faults, close } = await open(slow);
  await page.goto(slow.urls[0].href);
  await send(page, 'Think long.');
  await page.locator('.thoughts').getByText('thought9 ').waitFor();
  const earlier = await page.locator('.thoughts').textContent();
  await picture(page, 'thinking-light.png');

  await page.reload();

  await page.locator('.thoughts').getByText('thought9 ').waitFor();
  const later = await page.locator('.thoughts').textContent();
  assert.ok(later.startsWith(earlier.trimEnd()), 'the same words');
  assert.ok(later.length > earlier.length, 'and more');
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('.result').getByText('Stopped').waitFor();
  assert.deepEqual(faults, []);
  await close();
  await slow.stop();
});

test('stop ends the turn, and the list shows it', async () => {
  const { page, faults, close } = await open();
  await page.goto(server.urls[0].href);
  await send(page, 'Count the lines.');
  await page.locator('.thoughts').getByText('thought2').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('.result').getByText('Stopped').waitFor();
  await page.getByRole('navigation', { name: 'Conversations' }).getByText('stopped').waitFor();
  assert.deepEqual(faults, []);
  await close();
});

test('a message sent while a turn runs waits visibly and can be taken back', async () => {
  // Thinks long, so that the first turn is still running when the second is taken back.
  const slow = await start(process.env.SCRIPTED_SERVER, ['15', '20000']);
  const { page, close } = await open(slow);
  await page.goto(slow.urls[0].href);
  await send(page, 'First.');
  await page.locator('.thoughts').first().waitFor();
  await send(page, 'Second.');
  await page.locator('.waiting').getByText('waits for its turn').waitFor();
  await page.locator('.waiting').getByRole('button', { name: 'Remove' }).click();
  await page.locator('.waiting').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('.result').getByText('Stopped').waitFor();
  assert.equal(await page.locator('.message').count(), 1);
  await close();
  await slow.stop();
});

test('without its key the page says what to do', async () => {
  const { page, close } = await open();
  await page.goto(server.urls[0].origin);
  await page.getByText('This page needs its key').waitFor();
  await close();
});

test('with the view key one may only watch', async () => {
  const { page, close } = await open();
  await page.goto(server.urls[1].href);
  await page.getByText('This address may only watch').waitFor();
  assert.equal(await page.getByRole('textbox').count(), 0);
  await close();
});

test('a lost server is seen within 1.5 s and found again', async () => {
  const other = await start(process.env.SCRIPTED_SERVER, ['15', '2000']);
  const { page, close } = await open(other);
  await page.goto(other.urls[0].href);
  await page.locator('.connection.live').waitFor();
  await send(page, 'Go.');
  await page.locator('.thoughts').first().waitFor();
  other.child.kill('SIGKILL');
  const killed = Date.now();
  await page.locator('.connection.gone').waitFor({ timeout: 1500 });
  assert.ok(Date.now() - killed <= 1500);
  assert.equal(await page.locator('main.stale').count(), 1);
  await close();
});

test('few requests, small files, no sideways scrolling', async () => {
  const { page, requests, close } = await open();
  await page.goto(server.urls[0].href);
  await page.locator('.connection.live').waitFor();
  await page.getByRole('navigation').getByRole('link').first().click();
  await page.locator('.result').first().waitFor();
  assert.ok(requests.length <= 6, requests.join(' '));
  const bytes = await page.evaluate(() => performance.getEntriesByType('resource')
      .filter((entry) => entry.name.endsWith('.js')).map((entry) => entry.encodedBodySize)[0]);
  assert.ok(bytes > 0 && bytes <= 40 * 1024, `${bytes} bytes of script`);
  for (const width of [1440, 900, 390, 320]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme });
      const over = await page.evaluate(() =>
          document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(over, 0, `sideways at ${width}`);
      await picture(page, `run-${width}-${colorScheme}.png`);
    }
  }
  await page.getByRole('link', { name: 'Conversations' }).click();
  await picture(page, 'list-320-dark.png');
  await close();
});
