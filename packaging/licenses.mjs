#!/usr/bin/env node
// The licences of what is linked into the program.
//
//     packaging/licenses.mjs [--target TARGET]            a table: licence, crates
//     packaging/licenses.mjs [--target TARGET] --texts    the texts, as they go into a package with the program
//
// It fails where a crate has a licence that is not known to be fine here, or comes without a text, or from elsewhere than
// crates.io, or in any version.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const FINE = new Set(["MIT", "Apache-2.0", "Unicode-3.0", "Zlib", "BSL-1.0", "Unlicense"]);
const CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index";
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** The crates that are linked into the program on `target`, with their licences, by name. */
export function linked(target) {
  const filter = target ? [`--filter-platform=${target}`] : [];
  const args = ["metadata", "--format-version=1", "--locked", ...filter];
  const json = execFileSync("cargo", args, { cwd: root, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] });
  const { packages, resolve } = JSON.parse(json);
  for (const { id, name, source, dependencies } of packages) {
    if (id === resolve.root) {
      const any = dependencies.find(({ req, path }) => req === "*" && !path);
      if (any) throw new Error(`${any.name}: Cargo.toml takes any version of it`);
    } else if (source !== CRATES_IO) throw new Error(`${name}: it comes from ${source ?? "a folder"}, not from crates.io`);
  }
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]));
  const seen = new Set([resolve.root]);
  // Neither what only builds nor what only tests ends up in the program; a procedural macro only builds.
  const byId = new Map(packages.map((p) => [p.id, p]));
  const isMacro = (id) => byId.get(id).targets.some((t) => t.kind.includes("proc-macro"));
  for (const id of seen) {
    for (const dep of nodes.get(id).deps) {
      if (dep.dep_kinds.some((kind) => kind.kind === null) && !isMacro(dep.pkg)) seen.add(dep.pkg);
    }
  }
  seen.delete(resolve.root);
  return [...seen].map((id) => byId.get(id)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether an SPDX expression can be met by what is fine here. Old manifests write "/" for OR. */
function isFine(expression) {
  const all = expression.replaceAll("/", " OR ").replaceAll(/[()]/g, "").split(" AND ");
  return all.every((any) => any.split(" OR ").some((one) => FINE.has(one.trim())));
}

function textsOf(crate) {
  const folder = path.dirname(crate.manifest_path);
  const names = fs.readdirSync(folder).filter((name) => /^(licen[sc]e|copying|unlicense|notice)/i.test(name));
  return names
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
    .map((name) => fs.readFileSync(path.join(folder, name), "utf8").trim());
}

/** What a package with the program has to carry. */
export function thirdParty(target) {
  const byText = new Map();
  const without = [];
  for (const crate of linked(target)) {
    if (!isFine(crate.license ?? "")) throw new Error(`${crate.name}: is the licence "${crate.license}" fine here?`);
    const line = `${crate.name} ${crate.version} (${crate.license})`;
    const texts = textsOf(crate);
    if (texts.length === 0) without.push(`${line}\n  ${crate.authors.join(", ")}\n  ${crate.repository ?? ""}`);
    for (const text of texts) byText.set(text, [...(byText.get(text) ?? []), line]);
  }
  const parts = [...byText].map(([text, crates]) => `${crates.join("\n")}\n\n${text}`);
  const head =
    "The program contains the following works of others, the Rust standard library (MIT OR Apache-2.0), on Linux the C\n" +
    "library musl (MIT), and SQLite, which is in the public domain.";
  const tail = without.length > 0 ? [`These come without a text of their own:\n\n${without.join("\n")}`] : [];
  return [head, ...parts, ...tail].join(`\n\n${"-".repeat(80)}\n\n`) + "\n";
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf("--target");
  const target = at < 0 ? undefined : args[at + 1];
  try {
    if (args.includes("--texts")) {
      process.stdout.write(thirdParty(target));
    } else {
      const byLicence = new Map();
      for (const { name, license } of linked(target)) {
        if (!isFine(license ?? "")) throw new Error(`${name}: is the licence "${license}" fine here?`);
        const parts = license.replaceAll("/", " OR ").split(" OR ").map((one) => one.trim());
        const key = license.includes("(") ? license : [...new Set(parts)].sort().join(" OR ");
        byLicence.set(key, [...(byLicence.get(key) ?? []), name]);
      }
      for (const [key, names] of [...byLicence].sort()) console.log(`| ${key} | ${names.length} | ${names.join(", ")} |`);
    }
  } catch (error) {
    console.error(`packaging/licenses.mjs: ${error.message}`);
    process.exit(1);
  }
}
