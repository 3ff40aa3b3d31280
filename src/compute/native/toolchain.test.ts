import { describe, expect, it } from "vitest";
import { findCompiler, inParallel, installHint } from "./toolchain.ts";

describe("finding a compiler", () => {
  it("names a CXX that does not run instead of taking another compiler", async () => {
    expect(await findCompiler(["g++"], "no-such-compiler")).toMatch(
      /^CXX is "no-such-compiler", which does not compile C\+\+17: .*ENOENT/,
    );
    expect(await findCompiler(["g++"], "false")).toMatch(/^CXX is "false", which does not compile C\+\+17/);
  });

  it("says what to install when there is none", async () => {
    expect(await findCompiler(["no-such-compiler"], undefined)).toMatch(
      /^no C\+\+17 compiler found \(no-such-compiler\)\. Install /,
    );
  });

  it.each([
    ["linux", 'ID=ubuntu\nID_LIKE=debian\nHOME_URL="https://alpine.example"', "`apt-get install g++`"],
    ["linux", 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"', "`dnf install gcc-c++`"],
    ["linux", "ID=alpine", "`apk add g++`"],
    ["linux", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"', "`zypper install gcc-c++`"],
    ["linux", "ID=arch", "`pacman -S gcc`"],
    ["linux", "ID=nixos", "package manager of this system"],
    ["darwin", "", "`xcode-select --install`"],
  ])("on %s with %j: %s", (platform, release, command) => {
    expect(installHint(platform, release)).toContain(command);
  });
});

it("runs every task once, in order", async () => {
  const seen: number[] = [];
  await inParallel(Array.from({ length: 20 }, (_, i) => async () => void seen.push(i)));
  expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i));
});
