# Node.js: worker threads, child processes, watching a directory, streams, sockets, npm on a local package.
set -euo pipefail
export HOME=$PWD/home npm_config_cache=$PWD/home/npm npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
mkdir home
cat > workers.mjs <<'JS'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
if (isMainThread) {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const results = await Promise.all(Array.from({ length: 8 }, (_, n) => new Promise((done, fail) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { n, shared } });
    worker.on('message', done); worker.on('error', fail);
  })));
  console.log('workers', results.join(), 'atomics', Atomics.load(shared, 0));
} else {
  const { n, shared } = workerData;
  for (let i = 0; i < 1000; i++) Atomics.add(shared, 0, 1);
  let [a, b] = [0n, 1n];
  for (let i = 0; i < 100 * n; i++) [a, b] = [b, a + b];
  parentPort.postMessage(String(a).length);
}
JS
node workers.mjs
cat > children.mjs <<'JS'
import { spawn, execFile, fork, execSync } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
if (process.argv[2] === 'child') {
  process.on('message', m => { process.send({ answer: m.ask * 2 }); });
} else {
  const cat = spawn('tr', ['a-z', 'A-Z']);
  cat.stdin.end('through a child\n');
  for await (const text of cat.stdout) process.stdout.write(text);
  console.log((await promisify(execFile)('sh', ['-c', 'echo out; echo err >&2'])).stderr.trim());
  try { execSync('exit 5', { stdio: 'pipe' }); } catch (e) { console.log('status', e.status); }
  const sleeper = spawn('sleep', ['100']); sleeper.kill();
  console.log('ended by', (await once(sleeper, 'exit'))[1]);
  const child = fork(fileURLToPath(import.meta.url), ['child']);
  child.send({ ask: 21 });
  console.log('ipc', (await once(child, 'message'))[0].answer);
  child.disconnect(); await once(child, "exit");
  await once(spawn('/no/such/program'), 'error').then(([e]) => console.log(e.code));
}
JS
node children.mjs
cat > files.mjs <<'JS'
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import zlib from 'node:zlib';
import { pipeline } from 'node:stream/promises';
import crypto from 'node:crypto';
fs.mkdirSync('watched');
const seen = new Set();
const all = new Promise(done => {
  const watcher = fs.watch('watched', (event, name) => {
    seen.add(`${event} ${name}`);
    if (seen.has('rename a') && seen.has('change a') && seen.has('rename b')) { watcher.close(); done(); }
  });
});
await fsp.writeFile('watched/a', 'one'); await fsp.appendFile('watched/a', 'two'); await fsp.rename('watched/a', 'watched/b');
await all;
console.log('watched', fs.readdirSync('watched').join());
await fsp.writeFile('big', Buffer.alloc(3_000_000, 'abcdefg'));
await pipeline(fs.createReadStream('big'), zlib.createGzip(), zlib.createGunzip(), fs.createWriteStream('copy'));
console.log(crypto.createHash('sha256').update(fs.readFileSync('copy')).digest('hex').slice(0, 16));
await Promise.all(Array.from({ length: 200 }, (_, i) => fsp.writeFile(`watched/f${i}`, String(i))));
console.log((await fsp.readdir('watched')).length);
fs.rmSync('watched', { recursive: true });
JS
node files.mjs
cat > net.mjs <<'JS'
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
const server = http.createServer((q, r) => r.end(`you asked for ${q.url}`));
await new Promise(done => server.listen('http.sock', done));
const get = path => new Promise((done, fail) => http.get({ socketPath: 'http.sock', path }, async r => {
  let text = ''; for await (const c of r) text += c; done(text);
}).on('error', fail));
console.log((await Promise.all(['/a', '/b', '/c'].map(get))).join('; '));
server.close(); server.closeAllConnections?.();
process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2'); await sleep(20);
JS
node net.mjs
mkdir -p lib app
cat > lib/package.json <<'J'
{ "name": "local-lib", "version": "1.2.3", "main": "index.js", "bin": { "greet": "greet.js" } }
J
echo 'exports.twice = x => 2 * x;' > lib/index.js
printf '#!/usr/bin/env node\nconsole.log("greetings", process.argv[2]);\n' > lib/greet.js
(cd lib && npm pack --silent)
cd app
cat > package.json <<'J'
{ "name": "app", "version": "1.0.0", "scripts": { "test": "node test.js && greet you" } }
J
echo 'console.log("twice", require("local-lib").twice(21));' > test.js
npm install --silent --offline ../lib/local-lib-1.2.3.tgz
npm test --silent
npm ls --parseable | sed "s,$PWD,.,"
cd ..
node -e 'process.exit(12)' || echo "exit $?"
node -e 'throw new Error("x")' 2>/dev/null || echo "exit $?"
echo 'console.log([1,2,3].map(x=>x*x).join())' | node
rm -rf home app/node_modules app/package-lock.json big copy
