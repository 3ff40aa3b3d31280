import { InvalidArgumentError } from "commander";
import { expect, it } from "vitest";
import { collect, positiveNumber, wholeNumber } from "./options.ts";

it("reads whole numbers", () => {
  expect(wholeNumber("0")).toBe(0);
  expect(wholeNumber("4096")).toBe(4096);
  for (const text of ["", "-1", "1.5", "1e3", "x", "99999999999999999999"]) {
    expect(() => wholeNumber(text)).toThrow(InvalidArgumentError);
    expect(() => wholeNumber(text)).toThrow("expected a whole number.");
  }
});

it("reads positive numbers", () => {
  expect(positiveNumber("0.5")).toBe(0.5);
  for (const text of ["", "0", "-1", "x", "Infinity"]) {
    expect(() => positiveNumber(text)).toThrow("expected a positive number.");
  }
});

it("collects the values of a repeated option", () => {
  expect(collect("b", ["a"])).toEqual(["a", "b"]);
});
