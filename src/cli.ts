#!/usr/bin/env node
import { runProgram } from "./cli/program.ts";

export { main } from "./cli/program.ts";

await runProgram();
