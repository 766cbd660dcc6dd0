// Numbers, times and foreign text as a person reads them. What is unknown is "–", never 0.

export function count(value: number | undefined): string {
  return value === undefined ? '–' : value.toLocaleString('en-US');
}

export function seconds(value: number | undefined): string {
  if (value === undefined) return '–';
  if (value < 0.1) return `${Math.round(value * 1000)} ms`;
  if (value < 1) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.floor(value / 60);
  return `${minutes} m ${Math.floor(value % 60)} s`;
}

export function rate(value: number | undefined): string {
  return value === undefined || value <= 0 ? '–' : value.toFixed(value < 100 ? 1 : 0);
}

export function share(part: number, whole: number): string {
  return whole > 0 ? `${Math.floor((100 * part) / whole)} %` : '–';
}

export function thousands(value: number): string {
  if (value < 1000) return String(value);
  if (value < 1e6) return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(1)}M`;
}

export function bytes(value: number): string {
  if (value < 1e3) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}

export function ago(ms: number, nowMs: number): string {
  const minutes = Math.floor((nowMs - ms) / 60_000);
  if (minutes < 1) return 'now';
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  return new Date(ms).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
}

export function lines(value: number): string {
  return value === 1 ? '1 line' : `${count(value)} lines`;
}

export function firstWords(text: string, most = 80): string {
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length <= most ? line : `${line.slice(0, most).replace(/\s\S*$/, '')} …`;
}

// What a command printed, safe to show: colours dropped, every other control character as its
// symbol, so that nothing is hidden and nothing is obeyed.
export function visible(text: string): string {
  return text
    .replace(/\x1b\[[0-9;]*m/g, '')
    .replace(/\r\n/g, '\n')
    .replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\x7f/g, '\u2421')
    .replace(/[\u0080-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
             (c) => `[U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`);
}
