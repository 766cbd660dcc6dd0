// The model's text as paragraphs, lists, headings and code. It builds nodes, never markup, so
// whatever the text holds stays text; nothing in it is ever fetched.
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { memo } from 'preact/compat';

// Emphasis and code inside a line. An unclosed mark is plain text until it closes.
function inline(text: string): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  const pattern = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/g;
  let last = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(last, match.index));
    parts.push(match[1] !== undefined ? <code>{match[1]}</code> : <strong>{match[2]}</strong>);
    last = match.index + match[0].length;
  }
  parts.push(text.slice(last));
  return parts;
}

interface Block {
  kind: 'code' | 'list' | 'heading' | 'paragraph';
  lines: string[];
}

const kFence = /^\s*```/;
const kItem = /^\s*(?:[-*]|\d+[.)])\s+/;
const kHeading = /^#{1,6}\s+/;

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | null = null;
  const begin = (kind: Block['kind']): Block => {
    open = { kind, lines: [] };
    blocks.push(open);
    return open;
  };
  for (const line of text.split('\n')) {
    const current = open as Block | null;
    if (current?.kind === 'code') {
      if (kFence.test(line)) open = null;
      else current.lines.push(line);
    } else if (kFence.test(line)) {
      begin('code');
    } else if (line.trim() === '') {
      open = null;
    } else if (kHeading.test(line)) {
      begin('heading').lines.push(line.replace(kHeading, ''));
      open = null;
    } else if (kItem.test(line)) {
      (current?.kind === 'list' ? current : begin('list')).lines.push(line.replace(kItem, ''));
    } else if (current?.kind === 'list') {
      current.lines[current.lines.length - 1] += `\n${line.trim()}`;
    } else {
      (current?.kind === 'paragraph' ? current : begin('paragraph')).lines.push(line);
    }
  }
  return blocks;
}

const BlockView = memo(function BlockView({ kind, text }: { kind: Block['kind']; text: string }) {
  switch (kind) {
    case 'code':
      return (
        <pre class="code" tabIndex={0} role="region" aria-label="Code"><code>{text}</code></pre>
      );
    case 'heading':
      return <p class="heading">{inline(text)}</p>;
    case 'list':
      return <ul>{text.split('\u0000').map((item, i) => <li key={i}>{inline(item)}</li>)}</ul>;
    default:
      return <p>{inline(text)}</p>;
  }
});

// Blocks that have closed keep their text, so only the last one is drawn again while it grows.
export function Prose({ text }: { text: string }) {
  return (
    <div class="prose" dir="auto">
      {blocksOf(text).map((block, i) => (
        <BlockView key={i} kind={block.kind}
                   text={block.lines.join(block.kind === 'list' ? '\u0000' : '\n')} />
      ))}
    </div>
  );
}

// A text that grows at its end: one text node, appended to, scrolled to its end while the reader
// is there.
export function Growing({ text, label, className }:
                        { text: string; label: string; className: string }) {
  const box = useRef<HTMLDivElement>(null);
  const node = useRef<Text | null>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 48;
    if (!node.current) {
      node.current = document.createTextNode('');
      element.append(node.current);
    }
    const shown = node.current.data;
    if (text.startsWith(shown)) node.current.appendData(text.slice(shown.length));
    else node.current.data = text;
    if (atEnd) element.scrollTop = element.scrollHeight;
  }, [text]);
  return <div ref={box} class={className} dir="auto" tabIndex={0} role="region"
              aria-label={label} />;
}
