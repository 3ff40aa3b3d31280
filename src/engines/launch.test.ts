import { describe, expect, it } from "vitest";
import { quoted, trainerCommand, usualLaunch, wordsOf } from "./launch.ts";

describe("--launch", () => {
  it("is cut into words as a shell cuts them, and runs no shell", () => {
    expect(wordsOf("torchrun --nnodes 2  --rdzv-endpoint=a:1")).toEqual([
      "torchrun",
      "--nnodes",
      "2",
      "--rdzv-endpoint=a:1",
    ]);
    expect(wordsOf(`srun 'my env/python' --x="a b"c $HOME;ls`)).toEqual([
      "srun",
      "my env/python",
      "--x=a bc",
      "$HOME;ls",
    ]);
  });

  it("that is empty or has an open quote is an error", () => {
    expect(() => wordsOf("  ")).toThrow("--launch: is empty");
    expect(() => wordsOf("torchrun 'a")).toThrow("has an open quote");
  });
});

describe("the trainer's command", () => {
  it("is one process for each GPU of this machine", () => {
    const gpu = { name: "G", memoryBytes: 1 };
    expect(usualLaunch({ program: "python3", gpus: [] })).toEqual(["python3"]);
    expect(usualLaunch({ program: "python3", gpus: [gpu] })).toEqual(["python3"]);
    expect(usualLaunch({ program: "p", gpus: [gpu, gpu] }).join(" ")).toBe(
      "p -m torch.distributed.run --standalone --nproc-per-node 2",
    );
  });

  it("ends with the folders and the way", () => {
    const command = trainerCommand(["torchrun"], "h/train.py", "h", "h/out", "fsdp");
    expect(command.join(" ")).toBe("torchrun h/train.py h --output h/out --parallel fsdp");
  });

  it("is printed so that a shell reads the same words", () => {
    expect(["a/b.py", "--x=1", "a b", "it's", "$x"].map(quoted)).toEqual([
      "a/b.py",
      "--x=1",
      "'a b'",
      "'it'\\''s'",
      "'$x'",
    ]);
  });
});
