// The page's model without a page: any cut, repetition or overlap of frames gives the model of the
// stored events; a lost connection is noticed and tried again.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { Conversation, Connection, dropBytes, kGap, parseDiff, utf8Length, visible } =
    await import(process.env.PAGE_MODULES);

const kThought = 'Zuerst die Prüfung: 3 € ≠ 5 €. 🎉 Then the sum.';
const kPrinted = 'ok 1\nnicht ok 2 – größer\n';

// One run as the server would store it.
function stored() {
  const events = [
    { type: 'start', conversation: '01C' },
    { type: 'turn', turn: 1, text: 'fix it', cause: '01A' },
    { type: 'prefill', turn: 1, step: 1, reused: 0, total: 40, done: 40 },
    { type: 'thinking', turn: 1, step: 1, text: kThought, tokens: 14 },
    { type: 'call', turn: 1, step: 1, call: 1, tool: 'run_command',
      arguments: { command: 'make' } },
    { type: 'outcome', turn: 1, step: 1, call: 1, status: 'ok', exit: 0, text: kPrinted },
    { type: 'step', turn: 1, step: 1, mode_used: 'think' },
    { type: 'thinking', turn: 1, step: 2, text: kThought, tokens: 14 },
    { type: 'text', turn: 1, step: 2, text: 'It is done: **5 €**.' },
    { type: 'step', turn: 1, step: 2, mode_used: 'think' },
    { type: 'result', turn: 1, status: 'answered', steps: 2 },
  ];
  return events.map((event, n) => ({ v: 1, n, t: n * 10, ...event }));
}

// What grows before each stored event.
const kGrowing = { 3: ['t1.s1.think', 'thinking', 0, kThought],
                   5: ['t1.s1.k1.out', 'output', 1, kPrinted],
                   7: ['t1.s2.think', 'thinking', 0, kThought],
                   8: ['t1.s2.text', 'text', 0, 'It is done: **5 €**.'] };

// What is drawn: everything but the counters of change.
function drawn(model) {
  return JSON.parse(JSON.stringify({ turns: model.turns, start: model.start, n: model.n,
                                     open: [...model.open.keys()] },
                                   (key, value) => (key === 'version' ? undefined : value)));
}

function fromFile() {
  const model = new Conversation('01C');
  model.addEvents(stored());
  return model;
}

// A generator of repeatable chance (Lehmer).
function chance(seed) {
  let state = seed * 48271 % 2147483647;
  return (below) => (state = state * 48271 % 2147483647) % below;
}

function characters(text) {
  return [...text];
}

test('any cuts, repetitions and overlaps give the model of the file', () => {
  const whole = drawn(fromFile());
  for (let seed = 1; seed <= 2000; seed++) {
    const random = chance(seed);
    const model = new Conversation('01C');
    const events = stored();
    for (const event of events) {
      const growing = kGrowing[event.n];
      if (growing && random(4) > 0) {
        const [i, kind, call, text] = growing;
        const letters = characters(text);
        for (let at = 0; at < letters.length;) {
          const from = Math.max(0, at - random(4));       // overlaps
          const to = Math.min(letters.length, at + 1 + random(9));
          model.addDeltas([{ i, kind, call, turn: 1, step: 1,
                             at: utf8Length(letters.slice(0, from).join('')),
                             s: letters.slice(from, to).join('') }]);
          at = to;
          if (random(12) === 0) break;  // the connection is cut; the stored event comes after
          assert.equal(model.open.get(i).text, letters.slice(0, to).join(''));
        }
      }
      model.addEvents([event]);
      if (random(3) === 0) model.addEvents(events.slice(random(event.n + 1), event.n + 1));
      if (growing && random(3) === 0) {  // a delta that comes too late
        model.addDeltas([{ i: growing[0], kind: growing[1], at: 0, s: 'late' }]);
      }
    }
    assert.deepEqual(drawn(model), whole, `seed ${seed}`);
  }
});

test('a cursor names what is held, in bytes', () => {
  const model = new Conversation('01C');
  model.addEvents(stored().slice(0, 3));
  model.addDeltas([{ i: 't1.s1.think', kind: 'thinking', at: 0, s: '3 € 🎉' }]);
  const cursor = model.cursor({ thinking: 'full', output: 'full' });
  assert.equal(cursor.n, 2);
  assert.deepEqual(cursor.open, { 't1.s1.think': 10 });
});

test('what was skipped is marked and counted', () => {
  const model = new Conversation('01C');
  model.addDeltas([{ i: 't1.s1.think', kind: 'thinking', at: 0, s: 'abc' }]);
  model.addDeltas([{ i: 't1.s1.think', at: 3, skip: 100, s: 'xyz' }]);
  const item = model.open.get('t1.s1.think');
  assert.equal(item.text, `abc${kGap}xyz`);
  assert.deepEqual([item.bytes, item.skipped], [106, 100]);
});

test('events from beyond a hole are not taken', () => {
  const model = new Conversation('01C');
  const events = stored();
  model.addEvents([events[0], events[2]]);
  assert.equal(model.n, 0);
});

test('earlier events go in front and keep what grows', () => {
  const events = stored();
  const model = new Conversation('01C');
  model.addEvents(events.slice(7, 8));
  model.addDeltas([{ i: 't1.s2.text', kind: 'text', at: 0, s: 'It' }]);
  model.addEarlier(events.slice(0, 7));
  assert.equal(model.open.get('t1.s2.text').text, 'It');
  assert.equal(model.turns[0].steps[1].openText.text, 'It');
  model.addEvents(events.slice(8));
  assert.deepEqual(drawn(model), drawn(fromFile()));
});

test('when nothing runs nothing is left open', () => {
  const model = new Conversation('01C');
  model.addDeltas([{ i: 't1.s1.k1', kind: 'call', call: 1, at: 0, s: 'run_command' }]);
  model.setLive({ phase: 'idle', turn: 1, step: 1 });
  assert.equal(model.open.size, 0);
  assert.equal(model.turns[0].steps[0].calls.length, 0);
});

test('bytes are dropped by whole characters', () => {
  assert.equal(dropBytes('€🎉z', 3), '🎉z');
  assert.equal(dropBytes('€🎉z', 7), 'z');
  assert.equal(dropBytes('abc', 9), '');
});

test('a diff is read with both line numbers', () => {
  const [file] = parseDiff(
      '--- a/x.py\n+++ b/x.py\n@@ -3,2 +3,3 @@\n same\n-old\n+new\n+--- more\n');
  assert.deepEqual([file.path, file.added, file.removed], ['x.py', 2, 1]);
  assert.deepEqual(file.rows.map((row) => [row.mark, row.before, row.after, row.text]),
                   [[' ', 3, 3, 'same'], ['−', 4, undefined, 'old'], ['+', undefined, 4, 'new'],
                    ['+', undefined, 5, '--- more']]);
});

test('a diff may remove and add lines that look like its headers', () => {
  const files = parseDiff(
      '--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1,2 @@\n--- old comment\n+++ new\n x\n');
  assert.equal(files.length, 1);
  assert.deepEqual([files[0].added, files[0].removed], [1, 1]);
});

test('foreign text cannot hide or command', () => {
  assert.equal(visible('\x1b[31mred\x1b[0m\x1b]0;title\x07'), 'red\u241b]0;title\u2407');
  assert.equal(visible('a\u202eb'), 'a[U+202E]b');
});

// A socket and a clock that the test moves.
function bench() {
  const sockets = [];
  const timers = [];
  const states = [];
  const connection = new Connection({
    open: () => {
      const socket = { sent: [], send(text) { this.sent.push(JSON.parse(text)); }, close() {} };
      sockets.push(socket);
      return socket;
    },
    cursors: () => [{ conversation: '01C', n: 4, open: {} }],
    frame: () => {},
    state: (state, retryMs) => states.push([state, Math.round(retryMs)]),
    after: (ms, run) => {
      const timer = { ms, run };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0);
    },
    random: () => 0.5,
  });
  const pass = (ms) => {
    const due = timers.filter((timer) => timer.ms <= ms);
    for (const timer of due) {
      timers.splice(timers.indexOf(timer), 1);
      timer.run();
    }
  };
  return { connection, sockets, timers, states, pass };
}

test('hello carries the cursors', () => {
  const { connection, sockets } = bench();
  connection.connect();
  sockets[0].onopen();
  assert.equal(sockets[0].sent[0].f, 'hello');
  assert.equal(sockets[0].sent[0].resume[0].n, 4);
});

test('a break is tried again, later each time, and at once when asked', () => {
  const { connection, sockets, states, pass } = bench();
  connection.connect();
  for (const wait of [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]) {
    sockets.at(-1).onclose({ code: 1006, reason: '' });
    assert.deepEqual(states.at(-1), ['gone', wait]);
    const tries = sockets.length;
    pass(wait);
    assert.equal(sockets.length, tries + 1);
  }
  sockets.at(-1).onclose({ code: 4503, reason: '' });
  const tries = sockets.length;
  connection.now();
  assert.equal(sockets.length, tries + 1);
  assert.equal(connection.state, 'gone');
  sockets.at(-1).onmessage({ data: '{"f":"hello"}' });
  assert.equal(connection.state, 'live');
  sockets.at(-1).onclose({ code: 1006, reason: '' });
  assert.deepEqual(states.at(-1), ['gone', 250]);
});

test('a server that says nothing is silent, then gone', () => {
  const { connection, sockets, pass } = bench();
  connection.connect();
  sockets[0].onmessage({ data: '{"f":"beat"}' });
  pass(12_000);
  assert.equal(connection.state, 'silent');
  pass(35_000);
  assert.equal(connection.state, 'gone');
});

test('what trying again does not mend is not tried again', () => {
  const { connection, sockets, timers } = bench();
  connection.connect();
  sockets[0].onclose({ code: 4409, reason: '' });
  assert.equal(connection.state, 'ended');
  assert.equal(timers.length, 0);
});
