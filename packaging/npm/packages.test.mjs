// The npm packages as a person gets them: packed, installed from the files into an empty folder, and run there.
//
//     node --test packaging/npm/packages.test.mjs
//
// needs npm and a built program: target/debug/unstick, or what UNSTICK_PROGRAM names. It needs no network.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const program = path.resolve(root, process.env.UNSTICK_PROGRAM ?? "target/debug/unstick");
const platform = `${process.platform}-${process.arch}`;
const sdk = ["--sdk", "mock=@ai-sdk/anthropic"];
let place;

before(() => {
  place = fs.mkdtempSync(path.join(os.tmpdir(), "unstick-npm-test-"));
  const packed = path.join(place, "packed");
  execFileSync(path.join(root, "packaging/npm/build.mjs"), ["--out", packed, `${platform}=${program}`]);
  const files = fs.readdirSync(packed).map((file) => path.join(packed, file));
  assert.equal(files.length, 2);
  fs.writeFileSync(path.join(place, "package.json"), "{}");
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", ...files], { cwd: place, stdio: "pipe" });
});

after(() => fs.rmSync(place, { recursive: true, force: true }));

/** A copy of a store that a real opencode wrote: five sessions are stuck. */
function store(name) {
  const folder = fs.mkdtempSync(path.join(place, `${name}-`));
  const file = path.join(folder, "opencode.db");
  fs.copyFileSync(path.join(root, "fixtures/stores/1.18.33/opencode.db"), file);
  return { file, journal: path.join(folder, "undo"), flags: ["--db", file, ...sdk] };
}

function npx(...args) {
  return spawnSync("npx", ["--no-install", "opencode-unstick", ...args], { cwd: place, encoding: "utf8" });
}

/** The command as a shell finds it, without npx in between. */
const command = () => path.join(place, "node_modules/.bin/unstick");

test("npx runs the program, and hands its output and exit codes on", () => {
  const { flags, journal } = store("codes");
  assert.match(npx("--version").stdout, /^unstick \d+\.\d+\.\d+\n$/);
  const scan = npx("scan", "--quiet", ...flags);
  assert.equal(scan.status, 1);
  assert.match(scan.stdout, /^5 sessions are stuck/);
  assert.equal(npx("repair", "--yes", "--journal", journal, ...flags).status, 0);
  assert.equal(npx("scan", "--quiet", ...flags).status, 0);
  assert.equal(npx("undo", "--yes", "--journal", journal, ...flags).status, 0);
  assert.equal(npx("scan", "--quiet", ...flags).status, 1);
  const missing = npx("scan", "--db", path.join(place, "nothing.db"));
  assert.equal(missing.status, 2);
  assert.match(missing.stderr, /nothing\.db/);
});

test("a terminal is passed through: the question is asked and the answer heard", (t) => {
  if (spawnSync("script", ["--version"]).status !== 0) return t.skip("there is no `script` of util-linux here");
  const { flags, journal } = store("terminal");
  const line = [command(), "repair", "--journal", journal, ...flags].map((word) => `'${word}'`).join(" ");
  const run = spawnSync("script", ["-qec", line, "/dev/null"], { input: "y\n", encoding: "utf8", timeout: 60_000 });
  assert.match(run.stdout, /Repair all 5\?/);
  assert.match(run.stdout, /Repaired 5 sessions/);
  assert.equal(run.status, 0);
});

/** How the shim ends when it gets `signal` while the program waits for a store that this process has open. */
async function interrupted(signal) {
  const { file, flags, journal } = store("signals");
  const held = fs.openSync(file, "r+");
  const args = ["repair", "--yes", "--wait", "60", "--journal", journal, ...flags];
  const child = spawn(command(), args, { stdio: ["ignore", "pipe", "pipe"] });
  const started = () => {
    const at = `/proc/${child.pid}/task/${child.pid}/children`;
    const [pid] = fs.readFileSync(at, "utf8").split(" ");
    // It listens for Ctrl-C once that signal is in its mask of caught ones.
    return pid && /SigCgt:\s*0*[0-9a-f]*[2367abef]$/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
  };
  while (!started()) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill(signal);
  const end = await new Promise((resolve) => child.on("exit", (code, by) => resolve({ code, by })));
  fs.closeSync(held);
  return end;
}

test("signals reach the program, and how it ended is handed on", { timeout: 60_000 }, async (t) => {
  if (process.platform !== "linux") return t.skip("looks for the program in /proc");
  assert.deepEqual(await interrupted("SIGINT"), { code: 130, by: null });
  assert.deepEqual(await interrupted("SIGTERM"), { code: null, by: "SIGTERM" });
});

test("without the platform's package it says what to do, with exit code 2", () => {
  const folder = path.join(place, "node_modules", `opencode-unstick-${platform}`);
  fs.renameSync(folder, path.join(place, "hidden"));
  const left = spawnSync(command(), ["scan"], { encoding: "utf8" });
  fs.renameSync(path.join(place, "hidden"), folder);
  assert.equal(left.status, 2);
  assert.match(left.stderr, new RegExp(`opencode-unstick-${platform}.* is not installed`));
  assert.match(left.stderr, /--omit=optional/);
});

test("on a platform without a package it says which there are", () => {
  const shim = path.join(place, "node_modules/opencode-unstick/bin/unstick.js");
  const other = `Object.defineProperty(process, "arch", { value: "mips" }); require(${JSON.stringify(shim)})`;
  const run = spawnSync(process.execPath, ["-e", other], { encoding: "utf8" });
  assert.equal(run.status, 2);
  assert.match(run.stderr, new RegExp(`no program for ${process.platform}-mips; there is one for ${platform}`));
});
