// One WebSocket to the server, kept alive: says hello with cursors, tries again after a break,
// and notices when the server has fallen silent. Knows no DOM; socket and clock are given.

import type { Cursor } from './wire';

export type Frame = { f: string; [field: string]: unknown };
export type State = 'connecting' | 'live' | 'silent' | 'gone' | 'ended';

export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((message: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface Options {
  open(): Socket;
  cursors(): Cursor[];            // what the page holds, for `resume`
  frame(frame: Frame): void;
  state(state: State, retryMs: number): void;
  after(ms: number, run: () => void): () => void;  // returns how to cancel
  random(): number;
}

const kSilentMs = 12_000;  // two beats and a breath
const kGoneMs = 35_000;
const kFirstRetryMs = 250;
const kLastRetryMs = 15_000;

// Closed for a reason that trying again does not mend.
const kFinal = new Set([4400, 4401, 4403, 4409, 4413]);

export class Connection {
  state: State = 'connecting';
  closeCode = 0;
  #options: Options;
  #socket: Socket | null = null;
  #retryMs = kFirstRetryMs;
  #cancelRetry = () => {};
  #cancelSilence = () => {};

  constructor(options: Options) {
    this.#options = options;
  }

  connect(): void {
    this.#cancelRetry();
    this.#drop();
    // After a break it stays one until the server has answered.
    if (this.state !== 'gone') this.#set('connecting', 0);
    const socket = this.#options.open();
    this.#socket = socket;
    socket.onopen = () => {
      socket.send(JSON.stringify({ f: 'hello', v: 1, client: { name: 'page' },
                                   resume: this.#options.cursors() }));
    };
    socket.onmessage = ({ data }) => {
      if (typeof data !== 'string' || this.#socket !== socket) return;
      this.#heard();
      this.#options.frame(JSON.parse(data) as Frame);
    };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.closeCode = code;
      this.#lost(code);
    };
    this.#listen();
  }

  // Tries at once: on `online`, on focus, or when asked.
  now(): void {
    if (this.state === 'gone') this.connect();
  }

  send(frame: object): boolean {
    if (this.state !== 'live' && this.state !== 'silent') return false;
    this.#socket?.send(JSON.stringify(frame));
    return true;
  }

  #heard(): void {
    this.#retryMs = kFirstRetryMs;
    if (this.state !== 'live') this.#set('live', 0);
    this.#listen();
  }

  #listen(): void {
    this.#cancelSilence();
    this.#cancelSilence = this.#options.after(kSilentMs, () => {
      if (this.state === 'live') this.#set('silent', 0);
      this.#cancelSilence = this.#options.after(kGoneMs - kSilentMs, () => {
        this.#drop();
        this.#lost(0);
      });
    });
  }

  #lost(code: number): void {
    this.#cancelSilence();
    if (kFinal.has(code)) {
      this.#set('ended', 0);
      return;
    }
    const wait = this.#retryMs * (0.7 + 0.6 * this.#options.random());
    this.#retryMs = Math.min(kLastRetryMs, this.#retryMs * 2);
    this.#set('gone', wait);
    this.#cancelRetry = this.#options.after(wait, () => this.connect());
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #set(state: State, retryMs: number): void {
    this.state = state;
    this.#options.state(state, retryMs);
  }
}
