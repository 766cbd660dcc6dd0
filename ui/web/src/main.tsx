// Starts the page: one tree, drawn at most once per frame.
import { render } from 'preact';

import { App } from './app';
import { Composer } from './composer';
import { List } from './list';
import { Run } from './run';

function ConnectionState({ app }: { app: App }) {
  switch (app.state) {
    case 'live': return <span class="connection live"><span aria-hidden="true">●</span> live
      {app.newer && <button type="button" onClick={() => location.reload()}>
        The server has a newer page · Reload</button>}</span>;
    case 'silent': return <span class="connection silent">
      <span aria-hidden="true">◌</span> no word from the server</span>;
    case 'connecting': return <span class="connection">
      <span aria-hidden="true">○</span> connecting</span>;
    case 'ended': return <span class="connection gone">
      <span aria-hidden="true">○</span> The server is newer than this page. Reload.</span>;
    default: return (
      <span class="connection gone"><span aria-hidden="true">○</span> not connected · trying again
        {' '}<button type="button" onClick={() => app.retry()}>now</button></span>
    );
  }
}

function Locked() {
  return (
    <main class="locked">
      <h1>Fathom</h1>
      <p>This page needs its key. Open the address that <code>fathom serve</code> printed; it ends
        with <code>#k=…</code></p>
      <p>Was the key replaced? <code>fathom serve</code> prints the new one when it starts.</p>
    </main>
  );
}

function Page({ app }: { app: App }) {
  if (!app.hasToken) return <Locked />;
  const title = app.rows.get(app.shown?.id ?? '')?.title || (app.shown ? 'Conversation' : 'Fathom');
  const gone = app.state === 'gone' || app.state === 'ended';
  return (
    <div class={app.shown ? 'page run' : 'page home'}>
      <a class="skip" href="#run">Skip to the conversation</a>
      <header>
        <a class="menu" href="/" aria-label="Conversations" onClick={(event) => {
          event.preventDefault();
          app.go('/');
        }}>☰</a>
        <h1 dir="auto">{title}</h1>
        <ConnectionState app={app} />
      </header>
      <List app={app} />
      <Run key={app.shown?.id ?? ''} app={app} />
      <Composer key={app.shown?.id ?? ''} app={app} />
      <p class="unseen" role="status">{app.announcement}</p>
      <p class="unseen" role="alert">{gone ? 'The connection is lost.' : ''}</p>
    </div>
  );
}

const root = document.getElementById('app');
if (root) {
  root.replaceChildren();
  let asked = false;
  const draw = () => {
    asked = false;
    const title = app.rows.get(app.shown?.id ?? '')?.title;
    document.title = (app.shown?.running ? '● ' : '') + (title ? `${title} · Fathom` : 'Fathom');
    render(<Page app={app} />, root);
  };
  const app = new App(() => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(draw);
  });
  app.start();
  draw();
}
