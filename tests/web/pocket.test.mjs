// The whole program in Chromium: `fathom serve` with the embedded model repairs the example
// project, seen on the page. Nothing is scripted.
//   FATHOM, MODEL, PROJECT, PLAYWRIGHT: paths; SCREENSHOTS: a folder for pictures, optional.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { launch, open, picture, send, skipWithoutBrowser } from './browser.mjs';
import { Client, start } from './socket.mjs';

skipWithoutBrowser();
if (!existsSync(join(process.env.MODEL, 'config.json')) || !existsSync(process.env.PROJECT)) {
  console.log('skipped: the embedded model or the example project is not here');
  process.exit(77);
}

let browser;
let folder;
let server;

function serve() {
  const env = { ...process.env, XDG_STATE_HOME: join(folder, 'state'),
                FATHOM_MODEL: process.env.MODEL };
  delete env.FATHOM_SERVE_TOKEN;
  return start(process.env.FATHOM,
               ['serve', '--listen', '127.0.0.1:0', '-C', join(folder, 'project'),
                '--store', join(folder, 'memory.sqlite')], 1, { env });
}

before(async () => {
  browser = await launch();
  folder = mkdtempSync(join(tmpdir(), 'fathom-page-'));
  cpSync(process.env.PROJECT, join(folder, 'project'), { recursive: true });
  server = await serve();
});
after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('a turn is sent, and thinking, a call and the answer are seen', async () => {
  const { page, faults, close } = await open(browser, server.urls[0].origin);
  page.setDefaultTimeout(120_000);
  await page.goto(server.urls[0].href);
  await send(page, 'The tests fail. Fix them.');

  await page.locator('.thinking').first().waitFor();
  await page.locator('.card .tool').first().waitFor();
  await page.reload();
  await page.locator('.message').getByText('The tests fail. Fix them.').waitFor();
  await page.locator('.card .ending').first().waitFor();
  await page.locator('.result').waitFor();

  assert.equal(await page.locator('.result').getByText('Answered').count(), 1);
  assert.ok((await page.locator('.prose').last().textContent()).length > 0);
  await picture(page, 'pocket.png');
  assert.deepEqual(faults, []);
  await close();
});

test('after a restart the key still opens and the conversation is still there', async () => {
  const { key } = server;
  await server.stop();
  server = await serve();
  assert.equal(server.key, key);
  const { page, close } = await open(browser, server.urls[0].origin);
  await page.goto(server.urls[0].href);
  await page.getByRole('navigation').getByText('The tests fail. Fix them.').click();
  await page.locator('.result').waitFor();
  await close();
});

test('a command that began a conversation is known again after a restart', async () => {
  const answer = async (wanted) => {
    const client = await Client.open(server.port, server.key);
    client.send({ f: 'hello', v: 1, client: { name: 'test' } });
    client.send({ f: 'cmd', id: '01TWICE', do: 'turn', text: 'What is in kettle.py?' });
    return client.until((frame) => frame.f === 'ack' && wanted(frame));
  };
  const first = await answer((ack) => ack.n !== null);
  await server.stop();
  server = await serve();

  const again = await answer(() => true);

  assert.deepEqual([again.status, again.conversation, again.n],
                   ['duplicate', first.conversation, first.n]);
});
