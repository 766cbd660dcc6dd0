// One conversation: turns of steps, drawn again only where something changed.
import { memo } from 'preact/compat';
import { useEffect, useRef, useState } from 'preact/hooks';

import type { App, Pending } from './app';
import { CallCard, Thinking } from './cards';
import { Figures } from './composer';
import { Changes } from './diff';
import { seconds } from './format';
import { Prose } from './text';
import type { Live, Step, StoredEvent, Turn } from './wire';

function Remark({ event }: { event: StoredEvent }) {
  if (event.type === 'denied') {
    return (
      <div class="remark denied">
        <p><strong>⊘ Sandbox stopped this</strong></p>
        <p>{String(event.say ?? `${event.what} ${event.target}`)}</p>
        {event.rule !== undefined && <p class="small">rule {String(event.rule)}</p>}
      </div>
    );
  }
  if (event.type === 'error') {
    return (
      <div class="remark err">
        <p>{String(event.message ?? '')} {String(event.hint ?? '')}</p>
        <p class="small">{String(event.code ?? '')}</p>
      </div>
    );
  }
  return <p class="remark">{String(event.text ?? event.kind ?? event.type)}</p>;
}

function totalSeconds(end: StoredEvent | undefined): number | undefined {
  if (!end?.seconds) return undefined;
  return Object.values(end.seconds as Record<string, number>).reduce((a, b) => a + b, 0);
}

// `version` is what tells memo that the step, which is changed in place, has changed.
const StepView = memo(function StepView({ step, live }:
                                        { step: Step; version: number; live: Live | null }) {
  const text = String(step.text?.text ?? step.openText?.text ?? '');
  const mode = String(step.end?.mode_used ?? live?.mode?.used ?? '');
  const end = step.end;
  const name = `step-${step.key}`;
  return (
    <article class="step" aria-labelledby={name}>
      <h3 id={name}>
        <span class="unseen">Step </span>{step.step}
        {mode !== '' && <span class={`badge ${mode}`}>{mode}</span>}
        {end && <span class="figures">{seconds(totalSeconds(end))} ·{' '}
          <Figures prefilled={Number(end.prefilled ?? 0)} reused={Number(end.reused ?? 0)}
                   sampled={Number(end.sampled ?? 0)} /></span>}
      </h3>
      <Thinking step={step} live={live} />
      {text !== '' && <Prose text={text} />}
      {step.calls.map((call) => <CallCard key={call.call} call={call} />)}
      {step.remarks.map((event) => <Remark key={event.n} event={event} />)}
    </article>
  );
});

const kStatus: Record<string, [string, string, string]> = {
  answered: ['✓', 'ok', 'Answered'], unverified: ['✗', 'failed', 'Answered, but not verified'],
  budget: ['▢', 'failed', 'Stopped at a limit'], cancelled: ['▢', 'stopped', 'Stopped'],
  failure: ['✗', 'failed', 'Failed'], no_sandbox: ['✗', 'failed', 'No sandbox'],
  context_full: ['✗', 'failed', 'The context is full'],
};

function Result({ event }: { event: StoredEvent }) {
  const status = String(event.status);
  const [mark, kind, words] = kStatus[status] ?? ['·', 'stopped', status];
  const error = event.error as { message?: string; hint?: string } | null | undefined;
  const steps = Number(event.steps ?? 0);
  const verified = (event.verify as { exit?: number } | undefined)?.exit === 0 ? ', verified' : '';
  return (
    <>
      {typeof event.patch === 'string' && <Changes patch={event.patch} />}
      <p class={`result ${kind}`}>
        <span class="mark" aria-hidden="true">{mark}</span> {words}{verified}
        <span class="figures"> · {steps} {steps === 1 ? 'step' : 'steps'} ·{' '}
          {seconds(Number(event.seconds ?? 0))}</span>
        {error?.message && <span class="why">{error.message} {error.hint ?? ''}</span>}
      </p>
    </>
  );
}

const TurnView = memo(function TurnView({ turn, live }:
                                        { turn: Turn; version: number; live: Live | null }) {
  return (
    <section class="turn" aria-label={`Turn ${turn.turn}`}>
      {turn.event && <div class="message" dir="auto">
        <span class="who">You</span>{String(turn.event.text ?? '')}</div>}
      {turn.steps.map((step) => (
        <StepView key={step.key} step={step} version={step.version}
                  live={live?.step === step.step ? live : null} />
      ))}
      {turn.remarks.filter((event) => event.type !== 'error' || !turn.result)
        .map((event) => <Remark key={event.n} event={event} />)}
      {turn.result && <Result event={turn.result} />}
    </section>
  );
});

function Waiting({ pending, app }: { pending: Pending; app: App }) {
  const words = pending.status === 'refused' ? pending.error
    : app.state !== 'live' ? 'is sent when the connection is back'
    : app.engine?.stage !== 'ready' ? 'waits for the model' : 'waits for its turn';
  return (
    <div class={`message waiting ${pending.status}`} dir="auto">
      <span class="who">You · {words}</span>{pending.text}
      <button type="button" onClick={() => app.takeBack(pending)}>Remove</button>
    </div>
  );
}

const kNearEnd = 48;

// Follows the end until the reader turns upward; elsewhere nothing moves under the eyes. What
// grows moves no reader: only a way up ends it, and coming to the end resumes it.
function useFollowing() {
  const box = useRef<HTMLElement>(null);
  const [following, setFollowing] = useState(true);
  const now = useRef(true);
  const change = (value: boolean) => {
    now.current = value;
    setFollowing(value);
  };
  const toEnd = () => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  };
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let last = element.scrollTop;
    const look = () => {
      const left = element.scrollHeight - element.scrollTop - element.clientHeight;
      if (left < kNearEnd) change(true);
      else if (element.scrollTop < last) change(false);
      last = element.scrollTop;
    };
    const grown = new ResizeObserver(() => {
      if (now.current) toEnd();
    });
    element.addEventListener('scroll', look, { passive: true });
    for (const child of element.children) grown.observe(child);
    grown.observe(element);
    return () => {
      element.removeEventListener('scroll', look);
      grown.disconnect();
    };
  }, []);
  return { box, following, follow: () => {
    change(true);
    toEnd();
  } };
}

const kExamples = ['The tests fail. Fix them.', 'Where is the configuration read?',
                   'How many lines does each source file have?'];

function Start({ app }: { app: App }) {
  return (
    <div class="start">
      <h2>What should be done here?</h2>
      <ul>{kExamples.map((text) => (
        <li key={text}><button type="button" disabled={app.role !== 'control'}
                               onClick={() => app.send(text)}>{text}</button></li>
      ))}</ul>
    </div>
  );
}

export function Run({ app }: { app: App }) {
  const shown = app.shown;
  const waiting = app.waitingHere;
  const { box, following, follow } = useFollowing();
  const stale = app.state === 'gone' || app.state === 'ended';
  return (
    <main ref={box} id="run" tabIndex={-1} class={stale ? 'stale' : ''}>
      <div class="feed" role="feed" aria-busy={shown?.running ?? false}
           aria-label="Conversation">
        {app.problem !== '' && <p class="remark err">{app.problem}</p>}
        {shown && shown.first > 0 && <button type="button" class="earlier"
            disabled={app.loadingEarlier} onClick={() => void app.loadEarlier()}>
          Show earlier steps</button>}
        {shown?.turns.map((turn) => (
          <TurnView key={turn.turn} turn={turn} version={turn.version}
                    live={shown.live?.turn === turn.turn && shown.running ? shown.live : null} />
        ))}
        {waiting.map((pending) => <Waiting key={pending.id} pending={pending} app={app} />)}
        {!shown && waiting.length === 0 && <Start app={app} />}
      </div>
      {!following && <button type="button" class="follow" onClick={follow}>▾ To the end</button>}
    </main>
  );
}
