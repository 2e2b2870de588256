#!/usr/bin/env node
"use strict";
// Runs the program from the package of this platform as if it had been called itself: same arguments, same terminal,
// same exit code, same signals. Plain CommonJS, since it also has to give its error under an old Node.

const { spawn } = require("child_process");
const { constants } = require("os");

const FAILED = 2; // "could not do it, nothing changed", as the program's own
const platform = `${process.platform}-${process.arch}`;
const name = `opencode-unstick-${platform}`;
const { optionalDependencies: known = {} } = require("../package.json");

function fail(...lines) {
  process.stderr.write(lines.join("\n") + "\n");
  process.exit(FAILED);
}

let program;
try {
  program = require.resolve(`${name}/bin/unstick${process.platform === "win32" ? ".exe" : ""}`);
} catch {
  if (name in known) {
    fail(
      `error: the package ${name}, which holds the program for this platform, is not installed.`,
      "hint: npm leaves it out with --omit=optional or --no-optional, and where node_modules was made on another",
      "platform; install opencode-unstick again here, without these flags"
    );
  }
  const there = Object.keys(known).map((key) => key.replace("opencode-unstick-", ""));
  fail(
    `error: there is no program for ${platform}; there is one for ${there.join(", ")}.`,
    "hint: with Rust it can be built from the sources: cargo install --path . --locked"
  );
}

// A signal to this process alone is the program's, which knows how to stop. From a terminal the program gets Ctrl-C
// itself, too; a second one changes nothing for it. This stands before the start, so that there is no moment in which
// a signal would end this process and leave the program alone.
let child;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) {
  try {
    process.on(signal, () => child.kill(signal));
  } catch {
    // Not every platform has every one of them.
  }
}

child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
child.on("error", (error) => fail(`error: ${program} could not be started: ${error.message}`));
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code);
  // Whoever waits for this process learns how the program ended.
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // Where the signal has not ended it: the shell's way to say the same.
  setTimeout(() => process.exit(128 + (constants.signals[signal] || 0)), 100);
});
