// What the page knows: the list, the conversation that is shown, and messages on their way.
import { Connection } from './connection';
import type { Frame, Socket, State } from './connection';
import { Conversation } from './wire';
import type { Cursor, Delta, Live, StoredEvent, Want } from './wire';

export interface Row {
  id: string;
  title: string;
  state: string;
  turns: number;
  steps: number;
  context_used: number;
  updated_ms: number;
  workspace: string;
}

export interface Engine {
  stage: string;
  bytes: number;
  total: number;
  model: string;
  family: string;
  backend: string;
  threads: number;
  context: number;
  sandbox: string;
  error: string;
}

// A message from Send until the event that it causes has come.
export interface Pending {
  id: string;
  conversation: string;  // empty: begins one
  text: string;
  status: 'sending' | 'queued' | 'refused';
  error: string;
  n: number;  // the event that it caused, -1: not known yet
}

const kAnnounceEveryMs = 3_000;
const kTokenName = 'fathom.token';

export class App {
  rows = new Map<string, Row>();
  engine: Engine | null = null;
  role = 'view';
  state: State = 'connecting';
  retryAt = 0;
  shown: Conversation | null = null;
  pending: Pending[] = [];
  announcement = '';
  problem = '';  // why there is nothing to show, in words
  hasToken = false;
  listComplete = false;
  loadingEarlier = false;
  newer = false;  // the server is of another build than the page
  #token = '';
  #epoch = '';
  #build = '';
  #announced = 0;
  #connection: Connection;
  #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
    this.#connection = new Connection({
      open: () => this.#openSocket(),
      cursors: () => this.#cursors(),
      frame: (frame) => this.#take(frame),
      state: (state, retryMs) => this.#setState(state, retryMs),
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      random: Math.random,
    });
  }

  // Takes the key out of the address before anything else can see it there.
  start(): void {
    const key = /^#k=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
    if (key !== undefined) {
      sessionStorage.setItem(kTokenName, key);
      history.replaceState(null, '', location.pathname);
    }
    this.#token = sessionStorage.getItem(kTokenName) ?? '';
    this.hasToken = this.#token !== '';
    window.addEventListener('popstate', () => this.#route());
    window.addEventListener('online', () => this.#connection.now());
    window.addEventListener('focus', () => this.#connection.now());
    document.addEventListener('visibilitychange', () => this.#visibility());
    this.#route();
    if (this.hasToken) this.#connection.connect();
  }

  retry(): void {
    this.#connection.now();
  }

  go(path: string): void {
    history.pushState(null, '', path);
    this.#route();
  }

  // Sends a message; the same id goes out again after a break, and is carried out once.
  send(text: string): void {
    const pending: Pending = { id: ulid(), conversation: this.shown?.id ?? '', text,
                               status: 'sending', error: '', n: -1 };
    this.pending.push(pending);
    this.#sendTurn(pending);
    this.#changed();
  }

  stop(): void {
    if (!this.shown) return;
    this.#connection.send({ f: 'cmd', id: ulid(), conversation: this.shown.id, do: 'stop' });
  }

  takeBack(pending: Pending): void {
    // One that is still on its way may have arrived.
    if (pending.status !== 'refused') {
      this.#connection.send({ f: 'cmd', id: ulid(), conversation: pending.conversation,
                              do: 'unqueue', text: pending.id });
    }
    this.pending = this.pending.filter((one) => one !== pending);
    this.#changed();
  }

  async loadEarlier(): Promise<void> {
    const shown = this.shown;
    if (!shown || shown.first === 0 || this.loadingEarlier) return;
    this.loadingEarlier = true;
    this.#changed();
    const from = Math.max(0, shown.first - 400);
    const answer = await this.#fetch(
        `/v1/conversations/${shown.id}/events?from=${from}&to=${shown.first - 1}`);
    this.loadingEarlier = false;
    const lines = (await answer.text()).split('\n').filter((line) => line !== '');
    shown.addEarlier(lines.map((line) => JSON.parse(line) as StoredEvent));
    this.#changed();
  }

  get waitingHere(): Pending[] {
    const here = this.shown?.id ?? '';
    return this.pending.filter((one) => one.conversation === here);
  }

  #fetch(path: string): Promise<Response> {
    return fetch(path, { headers: { Authorization: `Bearer ${this.#token}` } });
  }

  #openSocket(): Socket {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    return new WebSocket(`${scheme}://${location.host}/ws`,
                         ['fathom.v1', `k.${this.#token}`]) as unknown as Socket;
  }

  get #want(): Want {
    return document.hidden ? { thinking: 'tail', output: 'tail' }
                           : { thinking: 'full', output: 'full' };
  }

  #cursors(): Cursor[] {
    return this.shown ? [this.shown.cursor(this.#want)] : [];
  }

  #visibility(): void {
    if (!document.hidden) this.#connection.now();
    if (this.shown) {
      this.#connection.send({ f: 'want', conversation: this.shown.id, want: this.#want });
    }
  }

  #route(): void {
    const id = /^\/c\/([^/]+)$/.exec(location.pathname)?.[1] ?? '';
    if (this.shown?.id === id || (!this.shown && id === '')) {
      this.#changed();
      return;
    }
    if (this.shown) this.#connection.send({ f: 'unsub', conversation: this.shown.id });
    this.shown = id === '' ? null : new Conversation(id);
    this.problem = '';
    if (this.shown) this.#connection.send({ f: 'sub', ...this.shown.cursor(this.#want) });
    this.#changed();
  }

  #setState(state: State, retryMs: number): void {
    this.state = state;
    this.retryAt = retryMs > 0 ? Date.now() + retryMs : 0;
    if (state === 'gone' && this.#connection.closeCode === 1006) void this.#askWhy();
    this.#changed();
  }

  // A refused upgrade tells a page nothing, a refused request does.
  async #askWhy(): Promise<void> {
    try {
      const answer = await this.#fetch('/v1/conversations?limit=1');
      if (answer.status === 401 || answer.status === 403) {
        this.hasToken = false;
        sessionStorage.removeItem(kTokenName);
        this.#changed();
      }
    } catch {
      // Nobody answers: the connection goes on trying.
    }
  }

  async #loadList(): Promise<void> {
    const answer = await this.#fetch('/v1/conversations?limit=200');
    if (!answer.ok) return;
    const { rows } = await answer.json() as { rows: Row[] };
    for (const row of rows) this.rows.set(row.id, row);
    this.listComplete = true;
    this.#changed();
  }

  #take(frame: Frame): void {
    const here = this.shown !== null && frame.conversation === this.shown.id;
    switch (frame.f) {
      case 'hello': this.#greet(frame); break;
      case 'ev':
        if (here) this.#addEvents(frame.list as StoredEvent[]);
        break;
      case 'd':
        if (here) this.shown?.addDeltas(frame.list as Delta[]);
        break;
      case 'live':
        if (frame.engine) this.engine = frame.engine as Engine;
        else if (here) this.shown?.setLive(frame as unknown as Live);
        break;
      case 'list':
        for (const row of frame.rows as Row[]) this.rows.set(row.id, row);
        break;
      case 'ack': this.#acknowledge(frame); break;
      case 'error':
        if (String(frame.code).startsWith('sub.') || frame.code === 'store.damaged') {
          this.problem = String(frame.message);
        }
        break;
    }
    this.#changed();
  }

  #greet(frame: Frame): void {
    this.engine = frame.engine as Engine;
    this.role = String(frame.role);
    // The first server that answers is the one that served the page.
    const build = String((frame.server as { build?: string } | undefined)?.build ?? '');
    this.#build ||= build;
    this.newer = this.#build !== build;
    if (this.#epoch !== frame.epoch || !this.listComplete) void this.#loadList();
    this.#epoch = String(frame.epoch);
    for (const pending of this.pending) {
      if (pending.status !== 'refused') this.#sendTurn(pending);
    }
  }

  #sendTurn(pending: Pending): void {
    this.#connection.send({ f: 'cmd', id: pending.id, conversation: pending.conversation,
                            do: 'turn', text: pending.text });
  }

  #acknowledge(frame: Frame): void {
    const pending = this.pending.find((one) => one.id === frame.id);
    if (!pending) return;
    if (frame.status === 'refused') {
      pending.status = 'refused';
      pending.error = String((frame.error as { message?: string } | undefined)?.message ?? '');
      return;
    }
    pending.status = 'queued';
    if (typeof frame.n === 'number') pending.n = frame.n;
    const conversation = String(frame.conversation ?? '');
    if (pending.conversation === '' && conversation !== '') {
      pending.conversation = conversation;
      if (!this.shown) this.go(`/c/${conversation}`);
    }
    this.#settle();
  }

  // A message has arrived when the turn that it caused is here.
  #settle(): void {
    const causes = new Set(this.shown?.events.map((event) => event.cause));
    const here = (one: Pending) => one.conversation === this.shown?.id && one.n >= 0 &&
                                   one.n <= this.shown.n;
    this.pending = this.pending.filter((one) => !causes.has(one.id) && !here(one));
  }

  #addEvents(list: StoredEvent[]): void {
    this.shown?.addEvents(list);
    this.#settle();
    const last = list.findLast((event) => event.type === 'step' || event.type === 'result');
    if (!last || !this.shown?.running || Date.now() - this.#announced < kAnnounceEveryMs) return;
    this.#announced = Date.now();
    this.announcement = last.type === 'result' ? `Turn ended: ${String(last.status)}`
                                               : `Step ${last.step} done`;
  }
}

const kCrockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

// 48 bits of time, 80 of chance: later ones sort later.
export function ulid(): string {
  let time = Date.now();
  let id = '';
  for (let i = 0; i < 10; i++) {
    id = kCrockford.charAt(time % 32) + id;
    time = Math.floor(time / 32);
  }
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) id += kCrockford.charAt(byte & 31);
  return id;
}
