// A WebSocket client on a plain socket: what a browser hides from a test, and its own cuts.
import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

// Starts a server that prints its addresses; resolves to them and to how to end it.
export async function start(program, args = [], lines = 2, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  const urls = [];
  for await (const line of createInterface({ input: child.stdout })) {
    urls.push(new URL(line));
    if (urls.length === lines) break;
  }
  const ended = new Promise((resolve) => {
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
  return { child, urls, port: Number(urls[0].port), key: urls[0].hash.slice(3),
           viewKey: urls[1]?.hash.slice(3), ended,
           stop: () => { child.kill('SIGTERM'); return ended; } };
}

// One HTTP request with exactly these headers; resolves to status, headers and body.
export function get(port, path, headers, method = 'GET') {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: false },
                          (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers,
                                       body: Buffer.concat(chunks) }));
    });
    asked.on('upgrade', (answer, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: answer.headers, body: Buffer.alloc(0) });
    });
    asked.on('error', reject);
    asked.end();
  });
}

// Sends bytes as they are and resolves to all that is answered before the server closes. `ends`:
// says at once that no more will come.
export function exchange(port, bytes, ends = false) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => {
      if (ends) socket.end(bytes, 'latin1'); else socket.write(bytes, 'latin1');
    });
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('latin1'));
    });
    socket.on('error', reject);
  });
}

export function upgradeHeaders(port, key, extra = {}) {
  return { Host: `127.0.0.1:${port}`, Origin: `http://127.0.0.1:${port}`, Connection: 'Upgrade',
           Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
           'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
           'Sec-WebSocket-Protocol': `fathom.v1, k.${key}`, ...extra };
}

export class Client {
  frames = [];
  closeCode = null;
  #waiting = [];
  #rest = Buffer.alloc(0);
  #message = [];

  static open(port, key) {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path: '/ws', agent: false,
                              headers: upgradeHeaders(port, key) });
      asked.on('upgrade', (answer, socket, head) => resolve(new Client(socket, head)));
      asked.on('response', (answer) => reject(new Error(`status ${answer.statusCode}`)));
      asked.on('error', reject);
      asked.end();
    });
  }

  constructor(socket, head) {
    this.socket = socket;
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('close', () => this.#wake());
    socket.on('error', () => {});
    if (head.length > 0) this.#read(head);
  }

  send(frame) {
    this.sendRaw(0x1, Buffer.from(typeof frame === 'string' ? frame : JSON.stringify(frame)));
  }

  // A masked frame, as a client must send it.
  sendRaw(opcode, payload) {
    const mask = randomBytes(4);
    const length = payload.length;
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(length));
    const header = length < 126 ? Buffer.from([0x80 | opcode, 0x80 | length])
        : length < 65536 ? Buffer.from([0x80 | opcode, 0x80 | 126, length >> 8, length & 255])
        : Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 127]), long]);
    const masked = Buffer.from(payload);
    for (let i = 0; i < masked.length; i++) masked[i] ^= mask[i % 4];
    this.socket.write(Buffer.concat([header, mask, masked]));
  }

  // The first frame, past or to come, that satisfies `wanted`; undefined if the socket closes.
  async until(wanted) {
    for (let seen = 0; ; seen++) {
      while (seen >= this.frames.length) {
        if (this.socket.destroyed || this.closeCode !== null) return undefined;
        await new Promise((resolve) => this.#waiting.push(resolve));
      }
      if (wanted(this.frames[seen])) return this.frames[seen];
    }
  }

  async closed() {
    while (!this.socket.destroyed && this.closeCode === null) {
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    return this.closeCode;
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #read(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#takeFrame());
    this.#wake();
  }

  #takeFrame() {
    const rest = this.#rest;
    if (rest.length < 2) return false;
    let length = rest[1] & 0x7f;
    let at = 2;
    if (length === 126) {
      if (rest.length < 4) return false;
      length = rest.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (rest.length < 10) return false;
      length = Number(rest.readBigUInt64BE(2));
      at = 10;
    }
    if (rest.length < at + length) return false;
    const payload = rest.subarray(at, at + length);
    this.#rest = rest.subarray(at + length);
    this.#takePayload(rest[0], payload);
    return true;
  }

  #takePayload(first, payload) {
    const opcode = first & 0x0f;
    if (opcode === 0x9) this.sendRaw(0xa, payload);
    if (opcode === 0x8) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      this.sendRaw(0x8, payload.subarray(0, 2));
      this.socket.end();
    }
    if (opcode > 0x2) return;
    this.#message.push(Buffer.from(payload));
    if ((first & 0x80) === 0) return;
    this.frames.push(JSON.parse(Buffer.concat(this.#message.splice(0)).toString('utf8')));
  }
}
