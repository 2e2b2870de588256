#!/usr/bin/env node
// Packs the npm packages: `opencode-unstick`, whose command starts the program, and one package for each platform with
// the program itself, which npm installs where it fits. Nothing is published.
//
//     packaging/npm/build.mjs [--out FOLDER] PLATFORM=PROGRAM …
//     packaging/npm/build.mjs linux-x64=target/x86_64-unknown-linux-musl/release/unstick
//
// PLATFORM is Node's name (process.platform-process.arch). The packages are written to target/npm, or FOLDER.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { thirdParty } from "../licenses.mjs";

const NAME = "opencode-unstick";
/** Node's name of a platform, and Rust's of the target whose program goes there. */
const PLATFORMS = {
  "linux-x64": "x86_64-unknown-linux-musl",
  "linux-arm64": "aarch64-unknown-linux-musl",
  "darwin-x64": "x86_64-apple-darwin",
  "darwin-arm64": "aarch64-apple-darwin",
  "win32-x64": "x86_64-pc-windows-msvc",
};
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

function fail(message) {
  console.error(`packaging/npm/build.mjs: ${message}`);
  process.exit(2);
}

function read(args) {
  const programs = new Map();
  let out = path.join(root, "target/npm");
  while (args.length > 0) {
    const arg = args.shift();
    if (arg === "--out") {
      out = path.resolve(args.shift() ?? fail("--out wants a folder"));
      continue;
    }
    const [, platform, program] = arg.match(/^([^=]+)=(.+)$/) ?? fail(`${arg} is no PLATFORM=PROGRAM`);
    if (!(platform in PLATFORMS)) fail(`${platform} is not one of ${Object.keys(PLATFORMS).join(", ")}`);
    if (!fs.existsSync(program)) fail(`${program} is not there; build it first (docs/releasing.md)`);
    programs.set(platform, path.resolve(program));
  }
  if (programs.size === 0) fail("name at least one PLATFORM=PROGRAM");
  return { programs, out };
}

/** What Cargo.toml says of the program. */
function crate() {
  const json = execFileSync("cargo", ["metadata", "--no-deps", "--format-version=1", "--locked"], { cwd: root });
  return JSON.parse(json).packages.find((p) => p.name === NAME);
}

function pack(folder, manifest, out) {
  fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify(manifest, null, 2) + "\n");
  fs.copyFileSync(path.join(root, "LICENSE"), path.join(folder, "LICENSE"));
  const json = execFileSync("npm", ["pack", "--json", "--pack-destination", out], { cwd: folder });
  const [{ filename, size }] = JSON.parse(json);
  console.log(`${path.join(out, filename)}  ${size} bytes`);
}

const { programs, out } = read(process.argv.slice(2));
const { version, description, license } = crate();
fs.mkdirSync(out, { recursive: true });
const work = fs.mkdtempSync(path.join(os.tmpdir(), "unstick-npm-"));
try {
  const common = { version, description, license, keywords: ["opencode", "sqlite", "repair", "prefill"] };
  for (const [platform, program] of programs) {
    const folder = path.join(work, platform);
    const file = platform.startsWith("win32") ? "unstick.exe" : "unstick";
    fs.mkdirSync(path.join(folder, "bin"), { recursive: true });
    fs.copyFileSync(program, path.join(folder, "bin", file));
    fs.chmodSync(path.join(folder, "bin", file), 0o755);
    fs.writeFileSync(path.join(folder, "THIRD-PARTY.txt"), thirdParty(PLATFORMS[platform]));
    const [system, cpu] = platform.split("-");
    const manifest = { name: `${NAME}-${platform}`, ...common, os: [system], cpu: [cpu], preferUnplugged: true };
    pack(folder, { ...manifest, files: ["bin", "LICENSE", "THIRD-PARTY.txt"] }, out);
  }
  const folder = path.join(work, NAME);
  fs.cpSync(path.join(root, "packaging/npm", NAME), folder, { recursive: true });
  const optionalDependencies = Object.fromEntries([...programs.keys()].sort().map((p) => [`${NAME}-${p}`, version]));
  const bin = { unstick: "bin/unstick.js", [NAME]: "bin/unstick.js" };
  const manifest = { name: NAME, ...common, bin, engines: { node: ">=16" }, optionalDependencies };
  pack(folder, { ...manifest, files: ["bin", "LICENSE", "README.md"] }, out);
} finally {
  fs.rmSync(work, { recursive: true });
}
