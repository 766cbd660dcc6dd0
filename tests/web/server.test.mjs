// The server as a process, over real sockets: who is let in, what a resumed client ends with, that
// a client who does not read holds nobody up, and how it ends.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Client, exchange, get, start, upgradeHeaders } from './socket.mjs';

const { Conversation } = await import(process.env.PAGE_MODULES);
const kServer = process.env.SCRIPTED_SERVER;

let server;
before(async () => { server = await start(kServer, ['2', '60']); });
after(async () => { await server.stop(); });

const kHello = { f: 'hello', v: 1, client: { name: 'test' } };
const kWant = { thinking: 'full', output: 'full' };

async function beginTurn(client, id) {
  client.send({ f: 'cmd', id, do: 'turn', text: 'fix it' });
  const ack = await client.until((frame) => frame.f === 'ack' && frame.id === id &&
                                            frame.conversation !== undefined);
  return ack.conversation;
}

async function events(port, key, id) {
  const answer = await get(port, `/v1/conversations/${id}/events`,
                           { Host: `127.0.0.1:${port}`, Authorization: `Bearer ${key}` });
  assert.equal(answer.status, 200);
  return answer.body.toString('utf8').trim().split('\n').map((line) => JSON.parse(line));
}

// What is drawn: without counters of change.
function drawn(model) {
  const kept = (key, value) => (key === 'version' ? undefined : value);
  return JSON.parse(JSON.stringify({ turns: model.turns, n: model.n }, kept));
}

test('Host, Origin and token decide, in that order', async () => {
  const { port, key, viewKey } = server;
  const table = [
    [{}, 101],
    [{ Host: `localhost:${port}`, Origin: `http://localhost:${port}` }, 101],
    [{ 'Sec-WebSocket-Protocol': `fathom.v1, k.${viewKey}` }, 101],
    [{ Host: 'rebound.example' }, 403],
    [{ Host: `127.0.0.1:${port + 1}` }, 403],
    [{ Origin: 'http://evil.example' }, 403],
    [{ Origin: `http://127.0.0.1:${port + 1}` }, 403],
    [{ Origin: 'null' }, 403],
    [{ Origin: 'http://evil.example', 'Sec-WebSocket-Protocol': 'fathom.v1, k.wrong' }, 403],
    [{ 'Sec-WebSocket-Protocol': 'fathom.v1' }, 401],
    [{ 'Sec-WebSocket-Protocol': 'fathom.v1, k.wrong' }, 401],
  ];
  for (const [headers, status] of table) {
    const answer = await get(port, '/ws', upgradeHeaders(port, key, headers));
    assert.equal(answer.status, status, JSON.stringify(headers));
    if (status === 101) assert.equal(answer.headers['sec-websocket-protocol'], 'fathom.v1');
  }
  const query = await get(port, `/ws?k=${key}`,
                          upgradeHeaders(port, '', { 'Sec-WebSocket-Protocol': 'fathom.v1' }));
  assert.notEqual(query.status, 101);
});

test('every answer carries the headers that confine the page', async () => {
  const { port } = server;
  for (const path of ['/', '/ui.js', '/health', '/nothing']) {
    const { headers } = await get(port, path, { Host: `127.0.0.1:${port}` });
    assert.match(headers['content-security-policy'], /default-src 'none'.*require-trusted-types/);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'no-referrer');
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin');
    assert.equal(headers['cache-control'], 'no-cache');
    assert.equal(headers['set-cookie'], undefined);
  }
});

test('what is no HTTP request is told so, then closed', async () => {
  const { port } = server;
  const head = `POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  const table = [
    ['no request at all\r\n\r\n', 400],
    ['\x16\x03\x01\x02\x00\x01\x00\x01', 400],
    ['GET / HTTP/9.9\r\n\r\n', 400],
    [`GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n`, 400],
    [`${head}Content-Length: many\r\n\r\n`, 400],
    [`${head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`, 400],
    [`${head}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    [`${head}Content-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`, 413],
    [`${head}Transfer-Encoding: chunked\r\n\r\n18000\r\n${'x'.repeat(0x18000)}\r\n0\r\n\r\n`, 413],
    [`${head}Content-Length: 9\r\n\r\nhalf`, 400, true],
  ];
  for (const [request, status, ends] of table) {
    const answer = await exchange(port, request, ends);
    const found = answer.match(/^HTTP\/1\.1 (\d+) /)?.[1];
    const [headers, body] = answer.split('\r\n\r\n');
    assert.equal(Number(found), status, request.slice(0, 60));
    assert.match(headers, /Connection: close/);
    assert.match(headers, /Content-Security-Policy: default-src 'none'/);
    assert.match(JSON.parse(body).error.message, /^[A-Z][^.]*\.$/);
  }
  assert.equal(await exchange(port, '', true), '');
});

test('frames that are not understood end with their code', async () => {
  const { port, key } = server;
  const table = [['{"f":"hello","v":7}', 4409], ['no json', 4400], ['{"f":"unsub"}', 4400],
                 [`{"f":"hello","v":1,"x":${'['.repeat(40)}${']'.repeat(40)}}`, 4400],
                 [' '.repeat((1 << 20) + 1), 4413]];
  for (const [frame, code] of table) {
    const client = await Client.open(port, key);
    client.send(frame);
    assert.equal(await client.closed(), code, frame.slice(0, 40));
  }
  const raw = [[0x2, Buffer.from('{}')], [0x1, Buffer.from([0x22, 0xff, 0x22])],
               [0x1, Buffer.from([0xed, 0xa0, 0x80])], [0x1, Buffer.from([0x22, 0xe2, 0x82])]];
  for (const [opcode, bytes] of raw) {
    const client = await Client.open(port, key);
    client.send(kHello);
    await client.until((frame) => frame.f === 'hello');
    client.sendRaw(opcode, bytes);
    assert.equal(await client.closed(), 4400, bytes.toString('hex'));
  }
});

test('the code of a close arrives while much is on its way in both directions', async (t) => {
  const busy = await start(kServer, ['2', '4000']);
  t.after(() => busy.stop());
  const first = await Client.open(busy.port, busy.key);
  first.send(kHello);
  const id = await beginTurn(first, '01BUSY');
  const bad = Buffer.alloc(1000, 0x20);
  bad[999] = 0xff;
  for (let i = 0; i < 30; i++) {
    const client = await Client.open(busy.port, busy.key);
    client.send({ ...kHello, resume: [{ conversation: id, n: -1 }] });
    await client.until((frame) => frame.f === 'd');
    client.sendRaw(0x1, bad);
    for (let more = 0; more < 20; more++) client.sendRaw(0x1, Buffer.alloc(60_000, 0x20));
    assert.equal(await client.closed(), 4400);
  }
  first.socket.destroy();
});

test('a client that is cut off again and again ends with the model of the file', async () => {
  const { port, key } = server;
  const first = await Client.open(port, key);
  first.send(kHello);
  const id = await beginTurn(first, '01CUT');
  first.socket.destroy();

  const model = new Conversation(id);
  let cuts = 0;
  for (let bytes = 1; !model.turns[0]?.result; bytes = (bytes * 7) % 39989 + 1) {
    const client = await Client.open(port, key);
    client.send({ ...kHello, resume: [model.cursor(kWant)] });
    let left = bytes;
    client.socket.on('data', (chunk) => {
      left -= chunk.length;
      if (left < 0) client.socket.destroy();
    });
    let taken = 0;
    await client.until((frame) => {
      taken++;
      if (frame.f === 'ev') model.addEvents(frame.list);
      if (frame.f === 'd') model.addDeltas(frame.list);
      return model.turns[0]?.result !== undefined;
    });
    client.socket.destroy();
    cuts++;
    assert.ok(cuts < 5000, `no end after ${taken} frames`);
  }

  const file = new Conversation(id);
  file.addEvents(await events(port, key, id));
  assert.deepEqual(drawn(model), drawn(file));
  assert.ok(cuts > 3, `only ${cuts} cuts`);
});

test('a client that does not read holds nobody up', async () => {
  const { port, key } = server;
  const deaf = await Client.open(port, key);
  deaf.send(kHello);
  const id = await beginTurn(deaf, '01DEAF');
  deaf.send({ f: 'sub', conversation: id, n: -1 });
  deaf.socket.pause();

  const reader = await Client.open(port, key);
  reader.send({ ...kHello, resume: [{ conversation: id, n: -1 }] });
  const end = await reader.until((frame) => frame.f === 'ev' &&
                                            frame.list.at(-1).type === 'result');

  assert.equal(end.list.at(-1).status, 'answered');
  deaf.socket.destroy();
  reader.socket.destroy();
});

test('a view key may watch and nothing else', async () => {
  const { port, viewKey } = server;
  const client = await Client.open(port, viewKey);
  client.send(kHello);
  client.send({ f: 'cmd', id: '01V', do: 'turn', text: 'x' });
  const ack = await client.until((frame) => frame.f === 'ack');
  assert.equal(ack.status, 'refused');
  assert.equal(ack.error.code, 'forbidden');
  client.socket.destroy();
});

test('stop ends a turn with its result', async () => {
  const slow = await start(kServer, ['20', '2000']);
  const client = await Client.open(slow.port, slow.key);
  client.send(kHello);
  const id = await beginTurn(client, '01STOP');
  client.send({ f: 'sub', conversation: id, n: -1 });
  await client.until((frame) => frame.f === 'd');
  client.send({ f: 'cmd', id: '01S2', conversation: id, do: 'stop' });
  const end = await client.until((frame) => frame.f === 'ev' &&
                                            frame.list.at(-1).type === 'result');
  assert.equal(end.list.at(-1).status, 'cancelled');
  assert.deepEqual(await slow.stop(), { code: 0, signal: null });
  assert.equal(await client.closed(), 4503);
});

test('SIGTERM lets the running turn end, then closes with 4503', async () => {
  const slow = await start(kServer, ['20', '2000']);
  const client = await Client.open(slow.port, slow.key);
  client.send(kHello);
  const id = await beginTurn(client, '01TERM');
  client.send({ f: 'sub', conversation: id, n: -1 });
  await client.until((frame) => frame.f === 'd');

  assert.deepEqual(await slow.stop(), { code: 0, signal: null });

  assert.equal(await client.closed(), 4503);
  assert.ok(client.frames.some((frame) => frame.f === 'ev' && frame.list.at(-1).type === 'result'));
});

test('ten wrong tokens close the door, also for the right one', async () => {
  const other = await start(kServer);
  const bearer = (key) => ({ Host: `127.0.0.1:${other.port}`, Authorization: `Bearer ${key}` });
  for (let i = 0; i < 10; i++) {
    assert.equal((await get(other.port, '/v1/conversations', bearer(`wrong${i}`))).status, 401);
  }
  assert.equal((await get(other.port, '/v1/conversations', bearer(other.key))).status, 429);
  await other.stop();
});

test('items and steps can be fetched', async () => {
  const { port, key } = server;
  const client = await Client.open(port, key);
  client.send(kHello);
  const id = await beginTurn(client, '01ITEM');
  client.send({ f: 'sub', conversation: id, n: -1 });
  await client.until((frame) => frame.f === 'ev' && frame.list.at(-1).type === 'result');
  client.socket.destroy();
  const headers = { Host: `127.0.0.1:${port}`, Authorization: `Bearer ${key}` };

  const whole = await get(port, `/v1/items/t1.s1.think?conversation=${id}`, headers);
  const part = await get(port, `/v1/items/t1.s1.think?conversation=${id}`,
                         { ...headers, Range: 'bytes=0-7' });
  const index = JSON.parse((await get(port, `/v1/conversations/${id}/index`, headers)).body);

  assert.match(whole.body.toString(), /^thought0 thought1 /);
  assert.deepEqual([part.status, part.body.toString()], [206, 'thought0']);
  assert.deepEqual(index.turn, [1, 1, 1]);
});
