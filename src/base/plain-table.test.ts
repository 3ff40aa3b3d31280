import { expect, it } from "vitest";
import { plainTable } from "./plain-table.ts";

it("aligns columns, wide characters too, without borders", () => {
  expect(
    plainTable(
      ["name", "rows"],
      [
        ["收购", "12"],
        ["a", "3"],
      ],
    ),
  ).toBe("name  rows\n收购    12\na        3");
});

it("keeps more columns left when told", () => {
  expect(plainTable(["gold", "taken for", "rows"], [["a", "b", "1"]], 2)).toBe(
    "gold  taken for  rows\na     b             1",
  );
});
