// The page's model of a conversation, built from the frames of `fathom.v1`. Knows no DOM.
//
// Frames may come twice, overlap, or leave gaps where the reader was behind; the model after any
// of that equals the model of the stored events alone, once an item's stored event has come.

export interface StoredEvent {
  n: number;
  t: number;
  type: string;
  turn?: number;
  step?: number;
  call?: number;
  cut?: Record<string, { head?: number; tail?: number; bytes: number }>;
  [field: string]: unknown;
}

export interface Delta {
  i: string;
  at: number;
  s: string;
  skip?: number;
  kind?: string;
  turn?: number;
  step?: number;
  call?: number;
}

export interface Live {
  phase: string;
  turn: number;
  step: number;
  elapsed_ms: number;  // of the phase
  mode?: { used?: string };
  prefill?: {
    done: number; total: number; reused: number; tokens_per_s: number; left_s?: number;
  };
  decode?: { tokens_per_s: number };
  thinking?: { tokens: number };
  context?: { used: number; limit: number };
}

// A text that still grows. `skipped` bytes were left out of `text` at places marked by kGap.
export interface Item {
  id: string;
  kind: string;
  call: number;
  text: string;
  bytes: number;
  skipped: number;
}

export interface Call {
  call: number;
  event?: StoredEvent;     // tool and arguments
  open?: Item;             // arguments as they are written
  output: StoredEvent[];   // what it printed
  openOutput?: Item;       // what it prints
  outcome?: StoredEvent;
}

export interface Step {
  key: string;
  turn: number;
  step: number;
  version: number;  // grows with every change: what is drawn can be kept until it does
  prefill?: StoredEvent;
  thinking?: StoredEvent;
  openThinking?: Item;
  text?: StoredEvent;
  openText?: Item;
  calls: Call[];
  remarks: StoredEvent[];  // notes, denials, errors
  end?: StoredEvent;
}

export interface Turn {
  turn: number;
  version: number;
  event?: StoredEvent;
  steps: Step[];
  remarks: StoredEvent[];
  result?: StoredEvent;
}

export interface Want {
  thinking: 'full' | 'tail' | 'none';
  output: 'full' | 'tail' | 'none';
}

export interface Cursor {
  conversation: string;
  n: number;
  open: Record<string, number>;
  want: Want;
}

export const kGap = '\n…\n';

const encoder = new TextEncoder();

export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}

// `text` without its first `bytes` bytes of UTF-8.
export function dropBytes(text: string, bytes: number): string {
  let dropped = 0;
  let index = 0;
  while (index < text.length && dropped < bytes) {
    const code = text.codePointAt(index) ?? 0;
    dropped += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    index += code < 0x10000 ? 1 : 2;
  }
  return text.slice(index);
}

export class Conversation {
  readonly id: string;
  events: StoredEvent[] = [];  // contiguous n
  turns: Turn[] = [];
  open = new Map<string, Item>();
  live: Live | null = null;
  start?: StoredEvent;
  version = 0;
  #closed = new Set<string>();

  constructor(id: string) {
    this.id = id;
  }

  get n(): number {
    return this.events.at(-1)?.n ?? -1;
  }

  // The first event held: what comes before it can be fetched.
  get first(): number {
    return this.events[0]?.n ?? 0;
  }

  get running(): boolean {
    const phase = this.live?.phase;
    return phase !== undefined && phase !== 'idle';
  }

  cursor(want: Want): Cursor {
    const open: Record<string, number> = {};
    for (const item of this.open.values()) open[item.id] = item.bytes;
    return { conversation: this.id, n: this.n, open, want };
  }

  addEvents(list: StoredEvent[]): void {
    for (const event of list) {
      // Known already, or from beyond a hole that the next frame of this cursor will fill.
      if (this.events.length > 0 && event.n !== this.n + 1) continue;
      this.events.push(event);
      this.#place(event);
    }
    this.version++;
  }

  // Events from before the first one held.
  addEarlier(list: StoredEvent[]): void {
    const earlier = list.filter((event) => event.n < this.first);
    const open = [...this.open.values()];
    const events = [...earlier, ...this.events];
    this.events = [];
    this.turns = [];
    this.open.clear();
    this.#closed.clear();
    this.addEvents(events);
    for (const item of open) this.#attach(item, item.id);
  }

  addDeltas(list: Delta[]): void {
    for (const delta of list) this.#grow(delta);
    this.version++;
  }

  setLive(live: Live): void {
    this.live = live;
    // When nothing runs nothing grows: an item left open was dropped by its process.
    if (live.phase === 'idle') this.#dropOpen();
    this.version++;
  }

  #grow(delta: Delta): void {
    if (this.#closed.has(delta.i)) return;
    let item = this.open.get(delta.i);
    if (!item) {
      item = { id: delta.i, kind: delta.kind ?? kindOf(delta.i), call: delta.call ?? 0, text: '',
               bytes: 0, skipped: 0 };
      this.#attach(item, delta.i);
    }
    const begin = delta.at + (delta.skip ?? 0);
    const end = begin + utf8Length(delta.s);
    if (end > item.bytes) {
      if (begin > item.bytes) {
        item.skipped += begin - item.bytes;
        item.text += kGap;
      }
      item.text += begin < item.bytes ? dropBytes(delta.s, item.bytes - begin) : delta.s;
      item.bytes = end;
    }
    this.#stepOf(item.id).version++;
  }

  #attach(item: Item, id: string): void {
    this.open.set(id, item);
    const step = this.#stepOf(id);
    if (item.kind === 'thinking') step.openThinking = item;
    if (item.kind === 'text') step.openText = item;
    const call = callOf(id);
    if (call > 0 && item.kind === 'output') this.#call(step, call).openOutput = item;
    else if (call > 0) this.#call(step, call).open = item;
    step.version++;
  }

  #dropOpen(): void {
    for (const id of this.open.keys()) this.#close(id);
  }

  #close(id: string): void {
    this.open.delete(id);
    this.#closed.add(id);
    const step = this.#stepOf(id);
    if (step.openThinking?.id === id) delete step.openThinking;
    if (step.openText?.id === id) delete step.openText;
    for (const call of step.calls) {
      if (call.open?.id === id) delete call.open;
      if (call.openOutput?.id === id) delete call.openOutput;
    }
    // A call that was only begun is none.
    step.calls = step.calls.filter((call) => call.event || call.open || call.outcome);
    step.version++;
  }

  #place(event: StoredEvent): void {
    if (event.type === 'start') {
      this.start = event;
      return;
    }
    const turn = this.#turn(event.turn ?? this.turns.at(-1)?.turn ?? 0);
    turn.version++;
    if (event.type === 'turn') turn.event = event;
    else if (event.type === 'result') this.#end(turn, event);
    else if (!event.step) turn.remarks.push(event);
    else this.#placeInStep(this.#step(turn, event.step), event);
  }

  #end(turn: Turn, event: StoredEvent): void {
    turn.result = event;
    this.#dropOpen();
  }

  #placeInStep(step: Step, event: StoredEvent): void {
    const prefix = `t${step.turn}.s${step.step}`;
    step.version++;
    switch (event.type) {
      case 'prefill': step.prefill = event; break;
      case 'thinking': step.thinking = event; this.#close(`${prefix}.think`); break;
      case 'text': step.text = event; this.#close(`${prefix}.text`); break;
      case 'call':
        this.#call(step, event.call ?? 0).event = event;
        this.#close(`${prefix}.k${event.call}`);
        break;
      case 'output':
        this.#call(step, event.call ?? 0).output.push(event);
        this.#close(`${prefix}.k${event.call}.out`);
        break;
      case 'outcome':
        this.#call(step, event.call ?? 0).outcome = event;
        this.#close(`${prefix}.k${event.call}.out`);
        break;
      case 'step': step.end = event; break;
      default: step.remarks.push(event);
    }
  }

  #turn(number: number): Turn {
    let turn = this.turns.find((one) => one.turn === number);
    if (!turn) {
      turn = { turn: number, version: 0, steps: [], remarks: [] };
      this.turns.push(turn);
      this.turns.sort((a, b) => a.turn - b.turn);
    }
    return turn;
  }

  #step(turn: Turn, number: number): Step {
    let step = turn.steps.find((one) => one.step === number);
    if (!step) {
      step = { key: `t${turn.turn}.s${number}`, turn: turn.turn, step: number, version: 0,
               calls: [], remarks: [] };
      turn.steps.push(step);
    }
    turn.version++;
    return step;
  }

  #stepOf(id: string): Step {
    const [, turn = '0', step = '0'] = /^t(\d+)\.s(\d+)/.exec(id) ?? [];
    return this.#step(this.#turn(Number(turn)), Number(step));
  }

  #call(step: Step, number: number): Call {
    let call = step.calls.find((one) => one.call === number);
    if (!call) {
      call = { call: number, output: [] };
      step.calls.push(call);
    }
    return call;
  }
}

function callOf(id: string): number {
  return Number(/\.k(\d+)/.exec(id)?.[1] ?? 0);
}

function kindOf(id: string): string {
  if (id.endsWith('.think')) return 'thinking';
  if (id.endsWith('.text')) return 'text';
  return id.endsWith('.out') ? 'output' : 'call';
}
