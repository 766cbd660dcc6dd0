// The list of conversations.
import type { App, Row } from './app';
import { ago, thousands } from './format';

const kMarks: Record<string, [string, string]> = {
  running: ['●', 'running'], queued: ['◌', 'waiting'], answered: ['✓', 'answered'],
  stopped: ['▢', 'stopped'], failed: ['✗', 'not done'], idle: ['·', 'empty'],
};

function RowView({ row, app, now }: { row: Row; app: App; now: number }) {
  const [mark, words] = kMarks[row.state] ?? ['·', row.state];
  const parts = [words, row.steps > 0 ? `${row.steps} ${row.steps === 1 ? 'step' : 'steps'}` : '',
                 row.context_used > 0 ? `${thousands(row.context_used)} tokens` : '',
                 ago(row.updated_ms, now)];
  const here = app.shown?.id === row.id;
  return (
    <li>
      <a class="row" href={`/c/${row.id}`} aria-current={here ? 'page' : undefined}
         onClick={(event) => {
           if (event.ctrlKey || event.metaKey || event.shiftKey) return;
           event.preventDefault();
           app.go(`/c/${row.id}`);
         }}>
        <span class={`mark ${row.state}`} aria-hidden="true">{mark}</span>
        <span class="title" dir="auto">{row.title || 'New conversation'}</span>
        <span class="about">{parts.filter((part) => part !== '').join(' · ')}</span>
      </a>
    </li>
  );
}

export function List({ app }: { app: App }) {
  const rows = [...app.rows.values()].sort((a, b) => b.updated_ms - a.updated_ms);
  const now = Date.now();
  return (
    <nav class="list" aria-label="Conversations">
      <div class="head">
        <h2>Conversations</h2>
        <button type="button" onClick={() => app.go('/')}>+ New</button>
      </div>
      {rows.length === 0 && app.listComplete && <p class="none">None yet.</p>}
      <ul>{rows.map((row) => <RowView key={row.id} row={row} app={app} now={now} />)}</ul>
    </nav>
  );
}
