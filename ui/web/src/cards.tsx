// Thinking and calls: open while they run, folded when they are done, opened again by hand.
import { useState } from 'preact/hooks';

import { Diff, parseDiff, Sums } from './diff';
import type { FileDiff } from './diff';
import { bytes, count, firstWords, lines, seconds, visible } from './format';
import { Growing } from './text';
import { kGap } from './wire';
import type { Call, Item, Live, Step, StoredEvent } from './wire';

// A head's folded state: by itself, until a hand decides.
function useFold(openByItself: boolean): [boolean, (event: Event) => void] {
  const [byHand, setByHand] = useState<boolean | null>(null);
  const open = byHand ?? openByItself;
  return [open, (event) => {
    event.preventDefault();
    setByHand(!open);
  }];
}

// The text of a stored event with its gap, where the wire left out the middle.
function textOf(event: StoredEvent, field = 'text'): string {
  const text = String(event[field] ?? '');
  const cut = event.cut?.[field];
  if (cut?.head === undefined) return text;
  const head = new TextDecoder().decode(new TextEncoder().encode(text).slice(0, cut.head));
  const left = cut.bytes - cut.head - (cut.tail ?? 0);
  return `${head}\n… ${bytes(left)} left out …\n${text.slice(head.length)}`;
}

const kEnded: Record<string, string> = {
  budget: ' · budget', user: ' · stopped by you', stop: ' · stopped',
};

export function Thinking({ step, live }: { step: Step; live: Live | null }) {
  const { thinking: done, openThinking: open } = step;
  const over = done !== undefined || step.openText !== undefined || step.calls.length > 0;
  const [unfolded, toggle] = useFold(!over);
  const text = done ? textOf(done) : open?.text ?? '';
  if (text === '' && !open) return null;
  const tokens = Number(done?.tokens ?? live?.thinking?.tokens ?? 0);
  const passed = done?.seconds === undefined
    ? (live?.phase === 'thinking' ? live.elapsed_ms / 1000 : undefined) : Number(done.seconds);
  const time = passed === undefined ? '' : ` ${seconds(passed)}`;
  const ended = kEnded[String(done?.ended ?? '')] ?? '';
  return (
    <details class={over ? 'thinking' : 'thinking now'} open={unfolded}>
      <summary onClick={toggle}>
        <span class="state">{over ? 'Thought' : 'Thinking'}{time}</span>
        {tokens > 0 && <span class="figures"> · {count(tokens)} tokens{ended}</span>}
        {!unfolded && <span class="words"> — {firstWords(text)}</span>}
      </summary>
      {unfolded && <Growing text={text} label="Thinking" className="thoughts" />}
    </details>
  );
}

const kVerbs: Record<string, string> = {
  run_command: 'run', read_file: 'read', write_file: 'write', edit_file: 'edit',
  search_files: 'search',
};

function whatOf(call: StoredEvent): string {
  const given = (call.arguments ?? {}) as Record<string, unknown>;
  const name = (key: string): string => (given[key] === undefined ? '' : String(given[key]));
  switch (call.tool) {
    case 'run_command': return name('command');
    case 'read_file':
      return name('path') + (given.from === undefined ? '' : ` ${name('from')}–${name('to')}`);
    case 'search_files':
      return [name('pattern'), name('glob'), name('path')].filter((part) => part !== '').join('  ');
    case 'write_file': case 'edit_file': return name('path');
    default: return JSON.stringify(given);
  }
}

function diffsOf(outcome: StoredEvent | undefined): FileDiff[] {
  const files = (outcome?.files ?? []) as { diff?: string }[];
  return files.flatMap((file) => parseDiff(file.diff ?? ''));
}

interface Ending {
  mark: string;
  kind: 'ok' | 'failed' | 'denied' | 'running';
  words: string;
}

function endingOf(call: Call): Ending {
  const outcome = call.outcome;
  if (!outcome) return { mark: '◐', kind: 'running', words: call.event ? 'running' : 'writing' };
  const time = outcome.seconds === undefined ? '' : ` · ${seconds(Number(outcome.seconds))}`;
  const exit = outcome.exit === undefined ? '' : `exit ${outcome.exit}`;
  switch (outcome.status) {
    case 'ok': return { mark: '✓', kind: 'ok', words: (exit || 'done') + time };
    case 'denied': return { mark: '⊘', kind: 'denied', words: `denied${time}` };
    case 'timeout': return { mark: '✗', kind: 'failed', words: `out of time${time}` };
    case 'invalid': return { mark: '✗', kind: 'failed', words: 'not run' };
    default: return { mark: '✗', kind: 'failed', words: (exit || 'failed') + time };
  }
}

const kTailLines = 12;

// Failed commands end with what went wrong, so their last lines are shown first.
function Output({ text, tail }: { text: string; tail: boolean }) {
  const [whole, setWhole] = useState(false);
  const all = visible(text).split('\n');
  const hidden = Math.max(0, all.length - kTailLines);
  if (!tail || whole || hidden < 4) {
    return (
      <pre class="output" tabIndex={0} role="region" aria-label="Outcome">{all.join('\n')}</pre>
    );
  }
  return (
    <>
      <button type="button" class="more" onClick={() => setWhole(true)}>
        … {lines(hidden)} above</button>
      <pre class="output" tabIndex={0} role="region" aria-label="Outcome">
        {all.slice(-kTailLines).join('\n')}</pre>
    </>
  );
}

// The header says tool and result, so the outcome's own first line is dropped where it repeats it.
function bodyOf(outcome: StoredEvent): string {
  const text = textOf(outcome);
  const header = text.indexOf('\n');
  return header >= 0 && /run_command|^(read|edit|write|search)_/.test(text.slice(0, header))
    ? text.slice(header + 1) : text;
}

function writtenBy(call: StoredEvent | undefined): string {
  return String((call?.arguments as { text?: string } | undefined)?.text ?? '');
}

function LiveOutput({ item }: { item: Item }) {
  const size = item.skipped > 0 ? `, ${bytes(item.skipped)} left out` : '';
  return <Growing text={visible(item.text.replaceAll(kGap, '\n…\n'))} className="output live"
                  label={`Output so far${size}`} />;
}

export function CallCard({ call }: { call: Call }) {
  const ending = endingOf(call);
  const diffs = diffsOf(call.outcome);
  const failed = ending.kind === 'failed' || ending.kind === 'denied';
  const [open, toggle] = useFold(!call.outcome || failed || diffs.length > 0);
  const tool = String(call.event?.tool ?? call.open?.text.trim() ?? '');
  const what = call.event ? whatOf(call.event) : '';
  const written = call.event?.tool === 'write_file' && diffs.length === 0;
  return (
    <details class={`card ${ending.kind}`} open={open}>
      <summary onClick={toggle}>
        <span class="tool">{kVerbs[tool] ?? tool}</span>
        <span class="what">{visible(what)}</span>
        {diffs[0] && <Sums file={diffs[0]} />}
        <span class="ending"><span class="mark" aria-hidden="true">{ending.mark}</span>
          {' '}{ending.words}</span>
      </summary>
      {open && <div class="body">
        {diffs.map((file) => <Diff key={file.path} file={file} />)}
        {written && <Output text={writtenBy(call.event)} tail={false} />}
        {!call.outcome && call.openOutput && <LiveOutput item={call.openOutput} />}
        {call.outcome && diffs.length === 0 && !written &&
          <Output text={bodyOf(call.outcome)} tail={failed} />}
      </div>}
    </details>
  );
}
