// The foot of the page: what the engine is doing, in figures of its own clock, and the message.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

import type { App } from './app';
import { bytes, count, rate, seconds, share, thousands } from './format';
import type { Live } from './wire';

const kPhases: Record<string, string> = {
  idle: 'ready', loading: 'loading', prefill: 'reading', thinking: 'thinking', writing: 'writing',
  calling: 'writing a call', running: 'running a call', stopping: 'stopping',
};

function Bar({ part, whole, label }: { part: number; whole: number; label: string }) {
  return <progress value={part} max={Math.max(whole, 1)} aria-label={label} />;
}

function EngineLine({ app }: { app: App }) {
  const engine = app.engine;
  if (!engine || engine.stage === 'ready') return null;
  if (engine.stage === 'failed') {
    return <p class="trouble">The model could not be loaded: {engine.error}</p>;
  }
  return (
    <p class="loading">Loading the model
      {engine.total > 0 && ` ${bytes(engine.bytes)} of ${bytes(engine.total)} `}
      <Bar part={engine.bytes} whole={engine.total} label="Loading the model" />
      {' '}You can type already.
    </p>
  );
}

function Prefill({ prefill }: { prefill: NonNullable<Live['prefill']> }) {
  return (
    <span class="field wide">
      {thousands(prefill.done)} of {thousands(prefill.total)} · {rate(prefill.tokens_per_s)} tok/s
      {prefill.left_s !== undefined && ` · ${seconds(prefill.left_s)} left`}
      {' '}<Bar part={prefill.done} whole={prefill.total} label="Reading the prompt" />
      {prefill.reused > 0 && ` reused ${thousands(prefill.reused)}`}
    </span>
  );
}

function Strip({ app }: { app: App }) {
  const live = app.shown?.live;
  const phase = app.state === 'live' ? live?.phase ?? 'idle' : 'idle';
  const used = live?.context?.used || app.rows.get(app.shown?.id ?? '')?.context_used || 0;
  const limit = live?.context?.limit || app.engine?.context || 0;
  return (
    <div class="strip">
      <span class={phase === 'idle' ? 'field phase' : 'field phase busy'}>
        <span class="mark" aria-hidden="true">{phase === 'idle' ? '○' : '◐'}</span>
        {' '}{kPhases[phase] ?? phase}
      </span>
      {phase === 'prefill' && live?.prefill ? <Prefill prefill={live.prefill} />
        : <span class="field rate">{rate(live?.decode?.tokens_per_s)} tok/s</span>}
      <span class="field context">ctx {thousands(used)}/{limit > 0 ? thousands(limit) : '–'}
        {' '}<Bar part={used} whole={limit} label="Context used" /> {share(used, limit)}</span>
      {app.engine?.sandbox && <span class="field extra">sandbox {app.engine.sandbox}</span>}
      {app.engine?.model && <span class="field extra">{app.engine.model}</span>}
    </div>
  );
}

const kRowsMax = 10;

export function Composer({ app }: { app: App }) {
  const [text, setText] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  const running = app.shown?.running ?? false;
  const mayWrite = app.role === 'control';

  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = 'auto';
    const line = parseFloat(getComputedStyle(element).lineHeight);
    element.style.height = `${Math.min(element.scrollHeight + 2, line * kRowsMax)}px`;
  }, [text]);

  useEffect(() => {
    const escape = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && app.shown?.running && mayWrite) app.stop();
    };
    document.addEventListener('keydown', escape);
    return () => document.removeEventListener('keydown', escape);
  }, [app, mayWrite]);

  const send = () => {
    if (text.trim() === '' || !mayWrite) return;
    app.send(text.trim());
    setText('');
    field.current?.focus();
  };
  return (
    <footer>
      <EngineLine app={app} />
      <Strip app={app} />
      {mayWrite ? (
        <form class="composer" onSubmit={(event) => {
          event.preventDefault();
          send();
        }}>
          <label class="unseen" for="message">Message</label>
          <textarea id="message" ref={field} rows={1} value={text} dir="auto"
                    placeholder={app.shown ? 'Message' : 'What should be done here?'}
                    onInput={(event) => setText(event.currentTarget.value)}
                    onKeyDown={(event) => {
                      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
                      event.preventDefault();
                      send();
                    }} />
          <button type="submit" class="primary" disabled={text.trim() === ''}>
            {running ? 'Queue' : 'Send'} <kbd aria-hidden="true">⏎</kbd></button>
          {running && <button type="button" onClick={() => app.stop()}>
            Stop <kbd aria-hidden="true">Esc</kbd></button>}
        </form>
      ) : app.state === 'live' && <p class="loading">This address may only watch.</p>}
    </footer>
  );
}

export function Figures({ prefilled, reused, sampled }:
                        { prefilled: number; reused: number; sampled: number }) {
  return <>{count(sampled)} tok · {count(prefilled)} read
    {' '}· reused {share(reused, reused + prefilled)}</>;
}
