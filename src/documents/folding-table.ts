/** Ranges of characters with a compatible form that is one character: Kangxi radicals, the full-width space, compatibility ideographs, full- and half-width forms. */
const COMPATIBLE: readonly [number, number][] = [
  [0x2f00, 0x2fd5],
  [0x3000, 0x3000],
  [0xf900, 0xfaff],
  [0xff01, 0xffee],
];
const UNITS = 0x10000;

/**
 * For every UTF-16 unit the unit that it is compared as: full- and half-width forms as the usual ones, traditional Chinese characters as
 * simplified ones, by the text of OpenCC's TSCharacters.txt (the first form where it has several). One unit becomes one unit, so offsets hold.
 * Characters beyond U+FFFF stay as they are.
 */
export function foldingTableOf(characters: string): Uint16Array {
  const made = Uint16Array.from({ length: UNITS }, (_, unit) => unit);
  for (const [first, last] of COMPATIBLE) {
    for (let unit = first; unit <= last; unit++) {
      const form = String.fromCharCode(unit).normalize("NFKC");
      if (form.length === 1) made[unit] = form.charCodeAt(0);
    }
  }
  const simplified = new Map(simplifiedPairs(characters));
  // A compatibility ideograph may be a traditional character.
  for (let unit = 0; unit < UNITS; unit++) made[unit] = simplified.get(made[unit]) ?? made[unit];
  return made;
}

function simplifiedPairs(characters: string): [number, number][] {
  const pairs: [number, number][] = [];
  for (const line of characters.split("\n")) {
    const [traditional, forms = ""] = line.trim().split("\t");
    const [simplified] = forms.split(" ");
    if (traditional.length === 1 && simplified.length === 1)
      pairs.push([traditional.charCodeAt(0), simplified.charCodeAt(0)]);
  }
  return pairs;
}
