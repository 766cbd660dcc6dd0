// A unified diff as a table with both line numbers, `+` and `−` in text as well as in colour.
import { count, visible } from './format';

interface Row {
  mark: ' ' | '+' | '−' | '@';
  before?: number;
  after?: number;
  text: string;
}

export interface FileDiff {
  path: string;
  added: number;
  removed: number;
  rows: Row[];
}

const kRowsShown = 400;

// A hunk's header counts its lines, so a line that looks like a header inside it is none.
export function parseDiff(patch: string): FileDiff[] {
  const files: FileDiff[] = [];
  let before = 0;
  let after = 0;
  let beforeLeft = 0;
  let afterLeft = 0;
  let oldPath = '';
  for (const line of patch.split('\n')) {
    const file = files.at(-1);
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
    if (file && beforeLeft + afterLeft > 0) {
      const text = line.slice(1);
      if (line.startsWith('+')) {
        file.rows.push({ mark: '+', after: after++, text });
        file.added++;
        afterLeft--;
      } else if (line.startsWith('-')) {
        file.rows.push({ mark: '−', before: before++, text });
        file.removed++;
        beforeLeft--;
      } else if (!line.startsWith('\\')) {
        file.rows.push({ mark: ' ', before: before++, after: after++, text });
        beforeLeft--;
        afterLeft--;
      }
    } else if (hunk && file) {
      [before, after] = [Number(hunk[1]), Number(hunk[3])];
      [beforeLeft, afterLeft] = [Number(hunk[2] ?? 1), Number(hunk[4] ?? 1)];
      if (file.rows.length > 0) file.rows.push({ mark: '@', text: '' });
    } else if (line.startsWith('--- ')) {
      oldPath = path(line.slice(4));
    } else if (line.startsWith('+++ ')) {
      const newPath = path(line.slice(4));
      files.push({ path: newPath === '/dev/null' ? oldPath : newPath, added: 0, removed: 0,
                   rows: [] });
    }
  }
  return files;
}

function path(text: string): string {
  return text.replace(/\t.*$/, '').replace(/^[ab]\//, '');
}

const kClass = { ' ': 'same', '+': 'added', '−': 'removed', '@': 'between' };

export function Diff({ file }: { file: FileDiff }) {
  const rows = file.rows.slice(0, kRowsShown);
  return (
    <div class="diff" tabIndex={0} role="region" aria-label={`Changes in ${file.path}`}>
      <table>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i} class={kClass[row.mark]}>
              <td class="number old">{row.before ?? ''}</td>
              <td class="number">{row.after ?? ''}</td>
              <td class="mark">{row.mark === '@' ? '…' : row.mark}</td>
              <td class="line">{visible(row.text)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {file.rows.length > kRowsShown &&
        <p class="more">… {count(file.rows.length - kRowsShown)} more lines</p>}
    </div>
  );
}

export function Sums({ file }: { file: FileDiff }) {
  return <span class="sums"><span class="plus">+{file.added}</span>{' '}
    <span class="minus">−{file.removed}</span></span>;
}

export function Changes({ patch }: { patch: string }) {
  const files = parseDiff(patch);
  if (files.length === 0) return null;
  const name = files.length === 1 ? '1 file changed' : `${files.length} files changed`;
  return (
    <details class="card changes">
      <summary><span class="tool">{name}</span>
        <span class="what">{files.map((file) => file.path).join(', ')}</span></summary>
      {files.map((file) => (
        <section key={file.path}>
          <p class="file">{file.path} <Sums file={file} /></p>
          <Diff file={file} />
        </section>
      ))}
    </details>
  );
}
