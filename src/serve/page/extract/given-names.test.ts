import { describe, expect, it } from "vitest";
import { namesOf, withName } from "./given-names.ts";

describe("names of a field", () => {
  it("are read with other forms and types, and joined", () => {
    expect(namesOf("远山集团|远山 #公司\n\n  近水公司 \r\n远山集团｜远山控股\n|\n#1 大楼\n")).toEqual([
      { name: "远山集团", aliases: ["远山", "远山控股"], type: "公司" },
      { name: "近水公司" },
      { name: "#1 大楼" },
    ]);
  });

  it("get one more", () => {
    expect(withName("", " 远山集团 ")).toBe("远山集团");
    expect(withName("远山集团|远山 #公司\n", "远山")).toBe("远山集团|远山 #公司\n");
    expect(withName("远山集团\n", "近水\n公司")).toBe("远山集团\n近水公司");
    expect(withName("远山集团", "  ")).toBe("远山集团");
  });
});
