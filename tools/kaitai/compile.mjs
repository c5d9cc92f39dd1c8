// Compiles messageu_v2.ksy for Python: how the parser in tests/tools/compiled was made.
//
//   npm install kaitai-struct-compiler@0.11.0 js-yaml@5
//   node tools/kaitai/compile.mjs
//
// The first lines of what it writes name the bytes that it was made from, and those that follow; a test
// compares both.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages are those of the folder that it is called in.
const require = createRequire(join(process.cwd(), "package.json"));
const compiler = require("kaitai-struct-compiler");
const yaml = require("js-yaml");

const root = new URL("../../", import.meta.url);
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const source = readFileSync(new URL("tools/kaitai/messageu_v2.ksy", root));
const files = await compiler.compile("python", yaml.load(source.toString("utf8")), null, false);
const parser = files["messageu_v2.py"];
writeFileSync(
  new URL("tests/tools/compiled/messageu_v2.py", root),
  `# By kaitai-struct-compiler ${compiler.version}; SHA-256 of messageu_v2.ksy, and of what follows:\n` +
    `# ${digest(source)}\n# ${digest(parser)}\n${parser}`,
);
