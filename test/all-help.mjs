// Prints the help of every command of the built program as JSON, {"data stats": "Usage: …"}, from one process: node test/all-help.mjs
let printed = "";
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (text) => {
  printed += text;
  return true;
};

// The program runs when it is imported: it prints its own help then.
process.argv.splice(2, Infinity, "--help");
const { main } = await import("../dist/cli.js");
const helps = { "": printed };

async function addHelpsUnder(path) {
  const listed = /^Commands:\n([\s\S]*)/m.exec(helps[path.join(" ")])?.[1] ?? "";
  for (const [, name] of listed.matchAll(/^ {2}(\S+)/gm)) {
    if (name === "help") continue;
    printed = "";
    const code = await main([...path, name, "--help"]);
    if (code !== 0) throw new Error(`cre ${[...path, name].join(" ")} --help: exit code ${code}, expected 0.`);
    helps[[...path, name].join(" ")] = printed;
    await addHelpsUnder([...path, name]);
  }
}

await addHelpsUnder([]);
write(JSON.stringify(helps));
