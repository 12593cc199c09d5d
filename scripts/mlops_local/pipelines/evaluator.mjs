// One process that evaluates many CI files: gitlab-ci-local is loaded once, and its own main function is
// called for each request. Loading it, and compiling the JSON schema of a CI file, is most of what a start costs.
//
// A line of standard input is a request {folder, environment, arguments}; a line of standard output is its
// answer {code, stdout, stderr}. The end of the input ends the process.
//
// Each call gets the folder, environment and arguments of a process of its own. The program resets what it keeps
// between calls only when a call succeeds, and a failed call may leave work behind: so the process ends after one.

import { realpathSync } from "node:fs";
import { registerHooks } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"];
const script = realpathSync(process.argv[2]); // as a module's URL is, whatever links lead to it
const program = pathToFileURL(script).href;

// The program runs when it is imported. From the declaration of its jobs on, it becomes a function.
const MAIN = /var \w+=\[\],(\w+)=null;async function \w+\(\w+\)\{if\(\1\)return \1;/g;
// A compiled schema keeps nothing but the errors of its last use.
const SCHEMA = /new \w+\.default\(\{[^{}]*keywords:\["markdownDescription"\]\}\)\.compile\(\w+\)/g;

const shared = (globalThis[Symbol.for("mlops.evaluator")] = {});
const SHARED = 'globalThis[Symbol.for("mlops.evaluator")]';

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (url !== program) return loaded;
    let text = String(loaded.source);
    for (const place of [MAIN, SCHEMA]) {
      if (text.match(place)?.length !== 1) throw new Error(`${script} is another release than evaluator.mjs knows`);
    }
    text = text.replace(SCHEMA, (found) => `(${SHARED}.schema??=${found})`);
    text = text.replace(MAIN, (found) => `${SHARED}.main=()=>{${found}`);
    return { ...loaded, source: `${text}\n}` };
  },
});
await import(program);
if (!shared.main) throw new Error(`${script} was not loaded as ${program}`);

const exit = process.exit.bind(process);
const write = process.stdout.write.bind(process.stdout);

function evaluate({ folder, environment, arguments: given }) {
  return new Promise((resolve) => {
    const answer = { code: null, stdout: "", stderr: "" };
    const end = (code) => {
      if (answer.code === null) resolve(Object.assign(answer, { code }));
    };
    const collect = (stream) => (text) => {
      if (answer.code === null) answer[stream] += text;
      return true;
    };
    process.stdout.write = collect("stdout");
    process.stderr.write = collect("stderr");
    process.exit = (code) => end(code ?? 0);
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => {
      process.stderr.write(`${error?.stack ?? error}\n`);
      end(1);
    });
    for (const name of Object.keys(process.env)) delete process.env[name];
    Object.assign(process.env, environment);
    process.argv.splice(1, Infinity, script, ...given);
    process.chdir(folder);
    shared.main();
  });
}

const requests = createInterface({ input: process.stdin });
requests.on("close", () => exit(0));
requests.on("line", async (line) => {
  const answer = await evaluate(JSON.parse(line));
  for (const signal of SIGNALS) process.removeAllListeners(signal);
  process.chdir("/");
  write(`${JSON.stringify(answer)}\n`, () => {
    if (answer.code !== 0) exit(0);
  });
});
